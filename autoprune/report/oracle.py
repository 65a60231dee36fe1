"""An Oracle study: the best peak learning rate of every cycle, and how close SILO comes to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.text import Text

from autoprune.report.experiments import (
    LEADS,
    caveats,
    compared,
    csv_text,
    points,
    rate,
    replicates,
    span,
)
from autoprune.report.tables import _cells, _numbers, _table
from autoprune.report.words import NONE, Entry, Summary, percent, plus_minus

LABELS = {
    "oracle": "the Oracle",
    "silo": "SILO",
    "silo_fitted": "the fitted SILO",
    "fixed_peak": "the best fixed peak",
}
FEWEST_CYCLES = 5  # with four, no order of the peaks is unlikely enough: 2 in 4! is 1 in 12
SIGNIFICANT = 0.05
CSV_COLUMNS = (
    *("study", "data", "model", "method", "part", "cycle", "sparsity", "schedule", "label"),
    *("peak", "inside", "seed", "val_accuracy", "val_std", "test_accuracy", "test_low"),
    *("test_high", "status"),
)


def _inside(peak: float | None, cycle: Entry) -> bool | None:
    """Whether a peak lies in a cycle's interval; rounding of the ends does not count."""
    if peak is None:
        return None
    low, high = cycle["interval"]
    return bool(low * (1 - 1e-9) <= peak <= high * (1 + 1e-9))


def _yes(answer: bool | None) -> str | None:
    return None if answer is None else "yes" if answer else "no"


def _gap(cycle: Entry) -> float | None:
    """Return SILO's test accuracy minus the Oracle's."""
    ours, theirs = cycle.get("silo_accuracy"), cycle.get("oracle_accuracy")
    return None if ours is None or theirs is None else ours - theirs


def oracle_setting(summary: Summary) -> str:
    """Say what was run, and on how many seeds."""
    epochs = f"{summary['epochs']:g} epoch{'s' * (summary['epochs'] != 1)}"
    return (
        f"{summary['model']} on {summary['data']}, {summary['method']}, {epochs} per cycle; "
        f"{replicates([len(summary['seeds'])])}"
    )


def tolerance_words(summary: Summary) -> str:
    """Say how near the best is as good."""
    return f"{100 * summary['tolerance']:g} points"


def oracle_table(summary: Summary) -> RenderableType:
    """Return the Oracle and SILO cycle by cycle: peaks, the Oracle's interval, test accuracies.

    Parameters
    ----------
    summary : mapping
        What an Oracle study leaves; accuracies and sparsities are fractions.
    """
    cycles = summary["cycles"]
    if not cycles:
        return Text(f"{summary['study']}: no cycle is finished yet")
    table = _table(
        f"{summary['study']}: the Oracle's peak in {_cycles(len(cycles))}, and SILO's",
        f"{oracle_setting(summary)}; interval: the peaks within "
        f"{tolerance_words(summary)} of the cycle's "
        "best on validation data; test: accuracy in %, the difference in points",
    )
    _numbers(table, "cycle", "sparsity", "Oracle\npeak", "\ninterval", "SILO\npeak", "\ninside")
    _numbers(table, "Oracle\ntest", "SILO\ntest", "SILO -\nOracle")
    for cycle in cycles:
        table.add_row(
            *_cells(
                cycle["cycle"],
                f"{percent(cycle['sparsity'])} %",
                rate(cycle["oracle_peak"]),
                span(*cycle["interval"]),
                rate(cycle.get("silo_peak")),
                _yes(cycle.get("inside")),
                percent(cycle.get("oracle_accuracy")),
                percent(cycle.get("silo_accuracy")),
                points(_gap(cycle)),
            )
        )
    return table


def _cycles(number: int) -> str:
    return f"{number} cycle{'' if number == 1 else 's'}"


def finished(summary: Summary) -> list[Entry]:
    """Return the schedules that have results."""
    return [s for s in summary["schedules"] if s["test_accuracy"]]


def _at(values: Sequence[Any], index: int) -> Any:
    """Return a value per cycle, None where the schedule has not come that far."""
    return values[index] if index < len(values) else None


def schedules_table(summary: Summary, columns: int = 3) -> RenderableType:
    """Return test accuracies and peaks of all schedules at a few cycles, the last among them.

    Parameters
    ----------
    summary : mapping
        What an Oracle study leaves.
    columns : int
        How many cycles to show, >= 1, spread evenly; three fit 80 columns.
    """
    cycles, schedules = summary["cycles"], finished(summary)
    if not cycles or not schedules:
        return Text(f"{summary['study']}: no schedule is finished yet")
    shares = np.linspace(0, 1, columns + 1)[1:]
    shown = sorted({max(round(len(cycles) * share), 1) - 1 for share in shares.tolist()})
    table = _table(
        f"{summary['study']}: test accuracy of {len(schedules)} schedules",
        f"{oracle_setting(summary)}; accuracies in % ± 95 %, after @ the cycle's peak",
    )
    table.add_column("schedule", overflow="fold", min_width=12)
    for index in shown:
        cycle = cycles[index]
        _numbers(table, f"cycle {cycle['cycle']}\n{percent(cycle['sparsity'])} % sparse")
    for schedule in schedules:
        table.add_row(*_cells(schedule["label"], *(_reached(schedule, i) for i in shown)))
    left_out = [Text(f"left out: {line}", style="dim") for line in _left_out(summary)]
    return Group(table, *left_out) if left_out else table


def _left_out(summary: Summary) -> list[str]:
    return [f"{s['label']}: {s['reason']}" for s in summary["schedules"] if s.get("reason")]


def _reached(schedule: Entry, index: int) -> str:
    accuracy = _at(schedule["test_accuracy"], index)
    if accuracy is None:
        return NONE
    text = plus_minus(accuracy, _at(schedule["test_ci95"], index))
    peak = _at(schedule["peaks"], index)
    return f"{text} @ {rate(peak):<6}" if peak is not None else f"{text}{' ' * 9}"


def rank_trend(values: Sequence[float]) -> tuple[float, float]:
    """Return Spearman's rank correlation of values with their order, and its p-value.

    Parameters
    ----------
    values : sequence of float
        At least three, not all equal.

    Returns
    -------
    rho : float
        In [-1, 1]; ties share the mean of their ranks.
    p_value : float
        Two-sided; exact over all orders of up to eight values, Student's approximation beyond.

    References
    ----------
    C. Spearman, "The proof and measurement of association between two things", American Journal
    of Psychology 15, 1904.
    """
    from scipy.stats import rankdata, spearmanr

    order = np.arange(len(values))
    if len(values) > 8:
        found = spearmanr(order, values)
        return float(found.statistic), float(found.pvalue)
    ranks = rankdata(values)
    centred = (order - order.mean()) / np.linalg.norm(order - order.mean())
    spread = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    rho = float(centred @ spread)
    every = np.array(list(permutations(spread))) @ centred
    return rho, float((np.abs(every) >= abs(rho) - 1e-9).mean())


def _trend(summary: Summary) -> str:
    peaks = [cycle["oracle_peak"] for cycle in summary["cycles"]]
    number = len(peaks)
    if number < FEWEST_CYCLES:
        return (
            f"Whether the Oracle's peak rises with sparsity cannot be told from "
            f"{_cycles(number)}: it takes at least {FEWEST_CYCLES}."
        )
    if len(set(peaks)) == 1:
        return f"The Oracle's peak is {rate(peaks[0])} in all {number} cycles: it does not rise."
    rho, p_value = rank_trend(peaks)
    chance = "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"
    facts = (
        f"Spearman's rho {rho:+.2f} between cycle and log peak, n = {number} cycles, {chance}; "
        "each cycle starts from the one before, so p is a guide only"
    )
    if p_value >= SIGNIFICANT:
        return f"The Oracle's peak has no clear trend over the cycles ({facts})."
    return f"The Oracle's peak {'rises' if rho > 0 else 'falls'} with sparsity ({facts})."


def _room(summary: Summary) -> list[str]:
    """Say whether one peak would fit every interval, and where the grid was too short."""
    cycles, grid = summary["cycles"], summary["peaks"]
    if len(cycles) < 2:
        return []
    low = max(cycle["interval"][0] for cycle in cycles)
    high = min(cycle["interval"][1] for cycle in cycles)
    common = [peak for peak in grid if low <= peak <= high]
    if common:
        which = rate(common[0])
        which += f" to {rate(common[-1])}" if len(common) > 1 else ""
        said = [
            f"A peak of {which} lies in the interval of every cycle: at this tolerance one "
            "constant peak is not ruled out."
        ]
    else:
        said = ["No peak of the grid lies in the interval of every cycle."]
    edge = sum(cycle["oracle_peak"] in (grid[0], grid[-1]) for cycle in cycles)
    if edge:
        said.append(
            f"In {edge} of {_cycles(len(cycles))} the Oracle's peak is an end of the grid: "
            "a better one may lie beyond."
        )
    return said


def _fit(summary: Summary) -> list[str]:
    """Say how often SILO's peaks, and those of its fit, lie in the Oracle's interval."""
    cycles = summary["cycles"]
    known = [cycle["inside"] for cycle in cycles if cycle.get("inside") is not None]
    if not known:
        return []
    said = [
        f"SILO's peak is inside the Oracle's interval (within {tolerance_words(summary)} of the "
        f"cycle's best on validation data) in {sum(known)} of {_cycles(len(known))}."
    ]
    return [*said, *_fit_beyond(summary)]


def _fit_beyond(summary: Summary) -> list[str]:
    """Say how often SILO's fit lies in the interval of cycles that it was not fitted on."""
    found = next((s for s in finished(summary) if s["name"] == "silo_fitted"), None)
    if found is None or not summary.get("fitted"):
        return []
    first = summary["fitted"]["cycles_used"]
    pairs = list(zip(found["peaks"], summary["cycles"], strict=False))
    parts = [
        [answer for pair in part if (answer := _inside(*pair)) is not None]
        for part in (pairs[first:], pairs[:first])
    ]
    beyond, within = (f"{sum(part)} of {_cycles(len(part))}" for part in parts)
    return [
        f"{found['label']}: inside in {beyond} that it was not fitted on, and in {within} that it "
        "was."
    ]


def _called(summary: Summary, name: str) -> str:
    labels = {s["name"]: s["label"] for s in summary["schedules"]}
    return LABELS.get(name) or labels.get(name, name)


def _verdicts(summary: Summary) -> list[str]:
    """Say each pair's comparison at the last cycle, SILO against the best fixed peak first."""
    pairs: dict[tuple[str, str], list[Entry]] = {}
    for found in summary["comparisons"]:
        pairs.setdefault((found["name"], found["against"]), []).append(found)
    wanted = ("silo", "fixed_peak")
    said = [] if wanted in pairs else ["SILO has not been compared with the best fixed peak."]
    for pair in sorted(pairs, key=lambda p: p != wanted):
        group = sorted(pairs[pair], key=lambda c: int(c["cycle"]))
        where = f"At cycle {group[-1]['cycle']} ({percent(group[-1]['sparsity'])} % sparsity)"
        one, other = (_called(summary, name) for name in pair)
        said.append(f"{where}, {compared(group[-1], one, other)}{_tally(group)}.")
    return said


def _tally(group: Sequence[Entry]) -> str:
    """Count the outcomes of one pair's comparisons, if there are several."""
    if len(group) < 2:
        return ""
    found = Counter(c["outcome"] for c in group)
    counts = ", ".join(f"{name} {found[name]}" for name in LEADS if found[name])
    return f"; over {len(group)} cycles from {group[0]['cycle']} on: {counts}"


def _cost(summary: Summary) -> list[str]:
    ratio, costs = summary.get("cost_ratio"), summary["costs"]
    if not ratio:
        return []
    text = f"SILO takes {percent(ratio)} % of the whole Oracle's epochs (1 in {1 / ratio:.3g})"
    if summary["status"] == "complete":
        text += f": {costs['silo_epochs']:,.0f} against {costs['oracle_epochs']:,.0f}"
    return [text + "."]


def oracle_words(summary: Summary) -> list[str]:
    """Say in plain sentences what an Oracle study found and what it cannot tell.

    Parameters
    ----------
    summary : mapping
        What an Oracle study leaves.
    """
    if not summary["cycles"]:
        return [*caveats(summary), "No cycle is finished yet."]
    return [
        *caveats(summary),
        _trend(summary),
        *_room(summary),
        *_fit(summary),
        *_verdicts(summary),
        *_cost(summary),
        "Peaks were chosen on validation data; the accuracies are read on the test split, of the "
        "runs that were chosen among: that flatters the Oracle and the best fixed peak a little, "
        "and SILO not at all. Cosine and one-cycle have the best fixed peak, not one of their own.",
    ]


def _grid_rows(summary: Summary) -> Iterator[dict[str, Any]]:
    for cycle in summary["cycles"]:
        for cell in cycle["grid"]:
            yield {
                "part": "grid",
                "cycle": cycle["cycle"],
                "sparsity": cycle["sparsity"],
                "peak": cell["peak"],
                "inside": _inside(cell["peak"], cycle),
                "val_accuracy": cell.get("val_accuracy"),
                "val_std": cell.get("val_std"),
                "status": cell.get("status"),
            }


def _schedule_rows(summary: Summary) -> Iterator[dict[str, Any]]:
    for schedule in finished(summary):
        for index, cycle in enumerate(summary["cycles"]):
            peak = _at(schedule["peaks"], index)
            low, high = _at(schedule["test_ci95"], index) or (None, None)
            row = {
                "part": "schedule",
                "cycle": cycle["cycle"],
                "sparsity": cycle["sparsity"],
                "schedule": schedule["name"],
                "label": schedule["label"],
                "peak": peak,
                "inside": _inside(peak, cycle),
            }
            yield row | {
                "val_accuracy": _at(schedule["val_accuracy"], index),
                "test_accuracy": _at(schedule["test_accuracy"], index),
                "test_low": low,
                "test_high": high,
            }
            pairs = (_at(schedule["val"], index) or (), _at(schedule["test"], index) or ())
            for seed, val, test in zip(summary["seeds"], *pairs, strict=False):
                yield row | {"seed": seed, "val_accuracy": val, "test_accuracy": test}


def oracle_csv(summary: Summary) -> str:
    """Return the grid and the schedules in long form.

    Parameters
    ----------
    summary : mapping
        What an Oracle study leaves.

    Returns
    -------
    str
        CSV with the columns `CSV_COLUMNS`. ``part`` is ``grid`` or ``schedule``; a row without a
        seed is a mean over the seeds; ``inside`` says whether the peak lies in the Oracle's
        interval. Accuracies and sparsities are fractions.
    """
    whole = {key: summary[key] for key in ("study", "data", "model", "method")}
    rows = (*_grid_rows(summary), *_schedule_rows(summary))
    return csv_text(CSV_COLUMNS, (whole | row for row in rows))
