"""One self-contained page that shows a study: it works from a file and inside MLflow's viewer."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from autoprune.pruning.allocations.spec import split_spec
from autoprune.report.conventions import convention_rows, physical
from autoprune.report.importance import Knob, knob_importance
from autoprune.report.verdict import NAMES, comparisons, conclusion, free_sparsity
from autoprune.report.words import (
    Entry,
    Summary,
    any_config,
    chosen,
    count,
    duration,
    percent,
    plus_minus,
    proves_plumbing_only,
)

KINDS = {"weights": "weights", "units": "units", "low_rank": "low rank"}
MAX_RECORDS = 800  # drawn; the rest, worst first, would only slow the page
MAX_LAYERS = 40_000  # layer shares embedded for search records; beyond, the front's only
SHAPES = {"weights": "●", "units": "■", "low_rank": "◆"}


def _clean(value: Any) -> Any:
    """Turn what JSON cannot say (NaN, infinity) into null, and round to what a pixel shows."""
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(v) for v in value]
    return value


def _embed(value: Any) -> str:
    """Write JSON that may stand inside a script element."""
    text = json.dumps(_clean(value), separators=(",", ":"), allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _share(part: float | None, whole: float) -> float | None:
    return None if part is None or not whole else part / whole


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _point(entry: Entry, group: str, dense: Mapping[str, Any], names: Sequence[str]) -> Any:
    layers = entry.get("layers") or {}
    return {
        "group": group,
        "trial": entry["trial"],
        "baseline": NAMES.get(entry.get("baseline", ""), entry.get("baseline")),
        "method": entry["method"],
        "kind": entry["kind"],
        "lr": entry.get("lr_schedule") or "none",
        "allocation": split_spec(entry.get("allocation") or "none")[0],
        "sparsity": entry["sparsity"],
        "val": entry.get("val_accuracy"),
        "valCI": entry.get("val_ci95"),
        "test": entry.get("test_accuracy"),
        "testCI": entry.get("test_ci95"),
        "seeds": entry.get("seeds"),
        "epochs": entry.get("epochs"),
        "params": entry.get("params"),
        "nonzero": entry.get("params_nonzero"),
        "macs": _share(entry.get("macs"), dense["macs"]),
        "effective": _share(entry.get("macs_effective"), dense["macs"]),
        "latency": entry.get("latency_ms"),
        "config": chosen(entry["config"]),
        "layers": [_rounded(layers.get(name)) for name in names] if layers else [],
        "physical": physical(entry, dense) if group != "record" else None,
    }


def _drawn(summary: Summary) -> list[Entry]:
    """Return the search records to draw: finished, not on the front, the best if they are many."""
    confirmed = {entry["trial"] for entry in summary["front"]}
    finished = [
        r
        for r in summary["records"]
        if r.get("val_accuracy") is not None and r["trial"] not in confirmed
    ]
    best = sorted(finished, key=lambda r: (r.get("pareto_rank") is None, r.get("pareto_rank") or 0))
    kept = best[:MAX_RECORDS]
    if sum(len(r.get("layers") or {}) for r in kept) > MAX_LAYERS:
        return [{**record, "layers": {}} for record in kept]
    return kept


def _chart_data(summary: Summary) -> dict[str, Any]:
    dense = summary["dense"]
    groups = (
        ("record", _drawn(summary)),
        ("baseline", [b for b in summary["baselines"] if b["baseline"] != "dense"]),
        ("front", sorted(summary["front"], key=lambda e: float(e["sparsity"]))),
    )
    rows = [(row, group) for group, members in groups for row in members]
    names = list(dict.fromkeys(n for row, _ in rows for n in row.get("layers") or {}))
    return {
        "study": shlex.quote(summary["study"]),
        "dense": {"val": dense["val_accuracy"], "test": dense.get("test_accuracy")},
        "layerNames": names,
        "points": [_point(row, group, dense, names) for row, group in rows],
        "curve": summary["hypervolume_curve"],
        "confirmed": summary.get("confirmed_hypervolume"),
    }


def _facts(summary: Summary) -> list[tuple[str, str, str]]:
    """Return the headline numbers: label, value, explanation."""
    dense, costs = summary["dense"], summary["costs"]
    test = dense.get("test_accuracy")
    accuracy, split = (test, "test") if test is not None else (dense["val_accuracy"], "validation")
    facts = [
        (
            "dense model",
            percent(accuracy) + ("" if accuracy is None else " %"),
            f"{split} accuracy, {count(dense['params'])} parameters, {count(dense['macs'])} MACs",
        )
    ]
    free = free_sparsity(summary)
    if free is not None:
        facts.append(
            (
                "no loss seen up to",
                f"{percent(free['sparsity'])} %",
                f"sparsest point within noise of the dense model ({free['method']})",
            )
        )
    hypervolume = summary.get("confirmed_hypervolume")
    facts += [
        (
            "search",
            f"{summary['trials']} trials",
            f"{summary['jobs']} jobs, {summary['failed']} failed, {duration(summary['wall_s'])}",
        ),
        (
            "work reused",
            f"{percent(_reused(costs), 0)} %",
            f"{summary['epochs_trained']:.0f} epochs trained, "
            f"{summary['epochs_reused']:.0f} taken from stages already done",
        ),
        (
            "hypervolume",
            f"{summary['hypervolume']:.3f}",
            "of the search on validation data"
            + ("" if hypervolume is None else f"; {hypervolume:.3f} confirmed"),
        ),
    ]
    return facts


def _reused(costs: Mapping[str, Any]) -> float:
    total = costs["epochs_trained"] + costs["epochs_reused"]
    return costs["epochs_reused"] / total if total else 0.0


def _purposes(costs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cost bars, widest first, widths in percent of the widest."""
    rows = [
        {
            "name": name,
            "trained": float(cost.get("epochs_trained", 0.0)),
            "reused": float(cost.get("epochs_reused", 0.0)),
        }
        for name, cost in costs.get("by_purpose", {}).items()
    ]
    widest = max((row["trained"] + row["reused"] for row in rows), default=0.0) or 1.0
    for row in rows:
        row["trained_width"] = 100 * row["trained"] / widest
        row["reused_width"] = 100 * row["reused"] / widest
    return sorted(rows, key=lambda row: -(row["trained"] + row["reused"]))


def _knob_rows(found: Sequence[Knob]) -> list[dict[str, Any]]:
    top = max((max(k.importance, k.chance) for k in found), default=0.0) or 1.0
    return [
        {"knob": k, "width": 100 * k.importance / top, "chance": 100 * k.chance / top}
        for k in found
    ]


def _notes(summary: Summary) -> list[str]:
    """Return what a reader must know before believing a number."""
    notes = []
    if proves_plumbing_only(summary):
        size = summary.get("task", {}).get("num_val", 360)
        notes.append(
            f"This study ran on digits. Its {size} validation images prove that the plumbing works "
            "and nothing else: take no claim about methods from it."
        )
    if summary["status"] != "complete":
        notes.append(
            f"The study is {summary['status']}: numbers will move until its front is confirmed."
        )
    missing = len(summary["records"]) - MAX_RECORDS
    if missing > 0:
        notes.append(
            f"The charts show the best {MAX_RECORDS} search records; {missing} are left out."
        )
    seeds = {entry.get("seeds", 1) for entry in summary["front"]}
    if summary["front"] and all(e.get("test_accuracy") is None for e in summary["front"]):
        notes.append("The front is not confirmed yet: accuracies are validation, one run each.")
    elif seeds and min(seeds) < 2:
        notes.append("Points with one seed: the interval holds the test set's sampling error only.")
    return notes


def _method_colours(summary: Summary) -> list[tuple[str, int]]:
    """Give each method a number in the order of first trials, so that colours stay put."""
    rows = [*summary["records"], *summary["front"]]
    return [(name, i) for i, name in enumerate(dict.fromkeys(row["method"] for row in rows))]


def render(summary: Summary) -> str:
    """Return the study's report as one HTML page of less than 6 MB.

    Parameters
    ----------
    summary : mapping
        What `autoprune.search.summary.summarize` returns.

    Notes
    -----
    Scripts and styles are inlined (plotly.js once) and nothing is loaded from anywhere; no
    storage, cookie or parent window is touched, so a sandboxed frame shows it whole.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("autoprune.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "count": count,
        "duration": duration,
        "whole": partial(percent, digits=0),
    }
    task = any_config(summary).get("task", {})
    front = sorted(summary["front"], key=lambda e: float(e["sparsity"]))
    whole = summary["dense"]["params"]
    return environment.get_template("page.html.j2").render(
        summary=summary,
        task=task.get("task_file") or f"{task.get('model', '?')} on {task.get('data', '?')}",
        front=front,
        holders=[e for e in front if e["params"] >= whole],
        smaller=[e for e in front if e["params"] < whole],
        baselines=sorted(summary["baselines"], key=lambda e: float(e["sparsity"])),
        plus_minus=plus_minus,
        physical=physical,
        names=NAMES | {"dense": "dense"},
        kinds=KINDS,
        shapes=SHAPES,
        methods=_method_colours(summary),
        facts=_facts(summary),
        notes=_notes(summary),
        conclusion=conclusion(summary),
        comparisons=comparisons(summary),
        knobs=_knob_rows(knob_importance(summary["records"])),
        purposes=_purposes(summary["costs"]),
        conventions=convention_rows(summary),
        quoted=shlex.quote(summary["study"]),
        data=_embed(_chart_data(summary)),
        plotly=get_plotlyjs(),
    )
