"""What the terminal shows of a study: tables that fit 100 columns, and 80 with less space.

Every function returns a renderable of rich's; nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from autoprune.pruning.allocations.spec import split_spec
from autoprune.report.doctor import latency_rows, readable
from autoprune.report.words import NONE, Entry, Summary, count, duration, percent, plus_minus
from autoprune.search.engine import by_reason

KIND_MARKS = {"weights": "", "units": " ■", "low_rank": " ◆"}


def _table(title: str = "", caption: str = "") -> Table:
    return Table(
        title=Text(title) if title else None,
        caption=Text(caption, style="dim") if caption else None,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def _numbers(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


def _cells(*values: object) -> list[Text]:
    """Make cells of plain text, in which rich looks for no markup."""
    return [Text(NONE if value is None or value == "" else str(value)) for value in values]


def front_table(summary: Summary) -> RenderableType:
    """Return the front, least sparse first: accuracies in percent with their 95 % half-widths."""
    front = sorted(summary["front"], key=lambda e: float(e["sparsity"]))
    if not front:
        return Text(f"{summary['study']}: no point on the front yet")
    seeds = sorted({int(entry.get("seeds") or 1) for entry in front})
    level = summary["dense"].get("test_accuracy")
    dense = summary["dense"]["val_accuracy"] if level is None else level
    split = "val" if level is None else "test"
    number = " or ".join(map(str, seeds))
    legend = "  ■ units  ◆ low rank" if any(e["kind"] != "weights" for e in front) else ""
    table = _table(
        f"{summary['study']}: front of {len(front)} point{'s' if len(front) > 1 else ''}",
        f"dense {percent(dense)} % {split}, {_dense_cost(summary)}; "
        f"n = {number} seed{'' if seeds == [1] else 's'}; accuracies in %{legend}{_timed(summary)}",
    )
    cost, column = _cost_column(summary)
    _numbers(table, "sparsity", "val acc", "test ±95 %", column)
    recipes = [_recipe(entry) for entry in front]
    longest = max(len(word) for text in recipes for word in text.split() or [""])
    table.add_column("method", no_wrap=True)
    # On a narrow terminal it wraps, but never within a name.
    table.add_column("lr, alloc", overflow="fold", min_width=max(longest, len("lr, alloc")))
    table.add_column("trial", no_wrap=True)
    for entry, recipe in zip(front, recipes, strict=True):
        test = plus_minus(entry.get("test_accuracy"), entry.get("test_ci95"))
        table.add_row(
            *_cells(
                f"{percent(entry['sparsity'])} %",
                percent(entry["val_accuracy"]),
                test,
                cost(entry),
                entry["method"] + KIND_MARKS.get(entry["kind"], ""),
                recipe,
                entry["trial"],
            )
        )
    return table


def _recipe(entry: Entry) -> str:
    """Return a point's schedule and allocation, as a front has room for them."""
    allocation = split_spec(entry.get("allocation") or "")[0]
    return ", ".join(filter(None, (entry.get("lr_schedule"), allocation)))


def _dense_cost(summary: Summary) -> str:
    """Return what the front's cost column says of the dense model."""
    if _cost_column(summary)[1] == "params":
        return f"{summary['dense']['params']:,} parameters"
    return f"{count(summary['dense']['macs'])} MACs"


def _timed(summary: Summary) -> str:
    """Say what latencies were measured with, where they were."""
    how = summary.get("latency")
    if not how:
        return ""
    dense = next((e["dense_latency_ms"] for e in summary["front"] if "dense_latency_ms" in e), None)
    threads = f"{how['threads']} thread{'' if how['threads'] == 1 else 's'}"
    place = f"{how['runtime']}, {how['device']}, {threads}, batch {how['batch']}"
    return f"\nlatency: {place}" + ("" if dense is None else f"; dense {dense:.3g} ms")


def _cost_column(summary: Summary) -> tuple[Callable[[Entry], object], str]:
    """Return what a front shows beside accuracy and sparsity, its own objective first."""
    objective = next(
        (o for o in summary.get("objectives", ())[1:] if o not in ("sparsity", "macs")), "macs"
    )
    if objective == "macs" or any(objective not in e for e in summary["front"]):
        return (lambda entry: count(entry["macs"])), "MACs"
    if objective == "latency_ms":
        return (lambda entry: f"{entry['latency_ms']:.3g}"), "ms"
    return (lambda entry: _said(objective, entry[objective])), _heading(objective)


def profile_table(summary: Summary) -> RenderableType:
    """Return the best confirmed point at or above each band of sparsity."""
    if not summary["profile"]:
        return Text("no confirmed point in any sparsity band yet")
    second = _heading(next(iter(summary.get("objectives", ())[1:]), "sparsity"))
    own = second == "sparsity"
    table = _table(
        f"best confirmed at each {'sparsity' if own else f'reduction of {second}'} or more"
    )
    _numbers(table, "sparsity >=" if own else "reduction >=", "test acc", "sparsity")
    table.add_column("trial", no_wrap=True)
    for row in summary["profile"]:
        cells = (
            f"{percent(row['band'], 0)} %",
            f"{percent(row['test_accuracy'])} %",
            f"{percent(row['sparsity'])} %",
            row["trial"],
        )
        table.add_row(*_cells(*cells))
    return table


def list_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows as a table: numbers stand right and are worded by their key, long texts wrap."""
    if not rows:
        return Text("nothing here")
    names = list(dict.fromkeys(name for row in rows for name in row))
    table = _table()
    for name in names:
        values = [row.get(name) for row in rows]
        numeric = all(isinstance(v, (int, float)) or v is None for v in values)
        table.add_column(
            Text(_heading(name)),
            justify="right" if numeric else "left",
            no_wrap=max(len(str(v)) for v in values) <= 24,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*_cells(*(_said(name, row.get(name)) for name in names)))
    return table


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_said(str(k), v)}" for k, v in value.items())
    return value


def studies_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return the studies of a home: ``study``, ``status`` and whatever else the rows hold."""
    return list_table(rows) if rows else Text("no studies in this home")


def _facts(title: str, facts: Mapping[str, object]) -> RenderableType:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(*_cells(name, value))
    return Group(Text(title, style="bold"), table)


def _heading(name: str) -> str:
    """Name a key for a person: no unit suffix, since the value carries it."""
    for suffix in ("_s", "_ms", "_bytes"):
        name = name.removesuffix(suffix)
    return name.removeprefix("num_").replace("_", " ")


def _said(name: str, value: object) -> object:
    """Word one value by the suffix of its key."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _plain(value)
    if name.startswith("sparsity") or name.endswith("accuracy"):
        return f"{percent(value)} %"
    if name.endswith("_s"):
        return duration(value)
    if name.endswith("_ms"):
        return f"{value:.2f} ms"
    if name.endswith("bytes"):
        return f"{count(value)}B"
    if name.endswith("macs"):
        return count(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _described(title: str, content: Mapping[str, Any]) -> RenderableType:
    """Show a nested mapping: a line per value, a table per list of rows."""
    facts: dict[str, object] = {}
    tables: list[RenderableType] = []
    for name, value in content.items():
        rows = _rows(value)
        if rows:
            tables.append(Group(Text(_heading(name), style="bold"), list_table(rows)))
        elif isinstance(value, Mapping):
            inner = [f"{_heading(str(k))} {_said(str(k), v)}" for k, v in value.items()]
            facts[_heading(name)] = ", ".join(inner)
        else:
            facts[_heading(name)] = _said(name, value)
    return Group(_facts(title, facts), *([Text()] if tables else []), *tables)


def _rows(value: object) -> list[Mapping[str, Any]]:
    """Return the rows of a list of mappings or of a mapping of mappings, else nothing."""
    if isinstance(value, Mapping) and value and all(isinstance(v, Mapping) for v in value.values()):
        return [{"name": name, **row} for name, row in value.items()]
    if isinstance(value, (list, tuple)) and value and all(isinstance(v, Mapping) for v in value):
        return list(value)
    return []


def forecast_table(forecast: Mapping[str, Any]) -> RenderableType:
    """Return a search's forecast.

    Parameters
    ----------
    forecast : mapping
        Plain values by name, worded by their suffix (``_s``, ``_ms``, ``_bytes``, ``macs``); a
        nested mapping becomes a line of its own values, a list of mappings a table.
    """
    said = dict(forecast)
    if "objectives" in said:
        said["objectives"] = ", ".join(said["objectives"])
    said["kinds"] = [
        {
            "kind": str(row["kind"]).replace("_", " "),
            "methods": row["methods"],
            "up to": f"{percent(row['most'])} %",
            "buys": row["buys"],
        }
        for row in said.get("kinds", ())
    ]
    reasons = by_reason(said.pop("left_out", {}))
    if reasons:
        said["left out"] = "; ".join(f"{', '.join(n)} ({why})" for why, n in reasons.items())
    return _described("forecast", {key: value for key, value in said.items() if value != []})


def export_table(report: Mapping[str, Any]) -> RenderableType:
    """Return an export's report: its numbers, and its files without their hashes."""
    content = {key: value for key, value in report.items() if value is not None}
    if "files" in content:
        content["files"] = {
            name: {key: value for key, value in file.items() if key != "sha256"}
            for name, file in content["files"].items()
        }
    if isinstance(content.get("latency"), list):
        content["latency"] = latency_rows(content["latency"])
        if not content.get("latency_left_out"):
            content.pop("latency_left_out", None)
    if isinstance(content.get("front"), Mapping):
        keys = ("trial", "sparsity", "val_accuracy", "test_accuracy", "seeds")
        content["front"] = {key: content["front"].get(key) for key in keys}
    return _described("exported", content)


def latency_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return dense and pruned side by side, as measured when a folder was exported."""
    return Group(
        Text("latency, measured at the export", style="bold"), list_table(latency_rows(rows))
    )


def doctor_tables(found: Mapping[str, Any]) -> list[RenderableType]:
    """Return what the examination found: single values, then a block per section in its order."""
    said = readable(found)
    single = {k: v for k, v in said.items() if not isinstance(v, Mapping) and not _rows(v)}
    blocks = [
        Group(Text(_heading(name), style="bold"), list_table(_rows(value)))
        if isinstance(value, list)
        else _described(_heading(name), value)
        for name, value in said.items()
        if name not in single
    ]
    return [*([_described("doctor", single)] if single else []), *blocks]


def trial_table(result: Mapping[str, Any]) -> RenderableType:
    """Return what `autoprune run` measured, worded for a person."""
    allocation, schedule = result.get("allocation"), result.get("lr_schedule")
    seeds = result.get("seeds")
    latency = result.get("latency_ms")
    facts: dict[str, object] = {
        "status": result.get("status"),
        "method": f"{result['method']} ({result['kind'].replace('_', ' ')})",
        "lr": schedule,
        "alloc": allocation,
        "sparsity": f"{percent(result['sparsity'])} %",
        "dense val acc": _share(result.get("dense_val_accuracy")),
        "val acc": _share(result.get("val_accuracy"), result.get("val_ci95")),
        "test acc": _share(result.get("test_accuracy"), result.get("test_ci95")),
        "seeds": seeds,
        "params": f"{count(result['params'])}, {count(result['params_nonzero'])} non-zero",
        "MACs": f"{count(result['macs'])}, {count(result['macs_effective'])} effective",
        "latency": None if latency is None else f"{latency:.2f} ms",
        "epochs": None
        if result.get("epochs_trained") is None
        else f"{result['epochs_trained']:g} trained, {result.get('epochs_reused', 0):g} reused",
        "time": None if result.get("wall_s") is None else duration(result["wall_s"]),
    }
    return _facts(f"trial {result['trial']}", facts)


def _share(value: float | None, interval: list[float] | None = None) -> str | None:
    if value is None:
        return None
    return f"{plus_minus(value, interval)} %"
