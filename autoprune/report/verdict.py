"""Whether the front beats the baselines, in plain words and by the intervals alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.metrics.statistics import Outcome, unpaired
from autoprune.report.words import TIMES, Entry, Summary, measured, percent, plus_minus
from autoprune.space.objectives import gains

NAMES = {
    "random": "random masks",
    "magnitude": "one-shot magnitude",
    "scratch_e": "the same net from scratch",
}
DENSITY_TOLERANCE = 1.03  # two points within 3 % of each other's density count as equally sparse
CLEARLY_SPARSER = 1.25  # from here on the difference in density is part of the verdict


@dataclass(frozen=True)
class Against:
    """One front point against one baseline.

    `difference` is front minus baseline, `low` and `high` its 95 % interval; all fractions.
    `fewer` is the baseline's density over the point's: 2 means that the point holds half as many
    weights.
    """

    baseline: str
    text: str
    outcome: Outcome
    difference: float
    low: float | None
    high: float | None
    fewer: float


@dataclass(frozen=True)
class Comparison:
    """What the front offers at one sparsity against every baseline there."""

    sparsity: float
    trial: str | None
    text: str
    against: tuple[Against, ...]


def difference(front: Entry, baseline: Entry) -> tuple[float, float | None, float | None, Outcome]:
    """Compare two accuracies through their intervals.

    Notes
    -----
    Both accuracies are read on the same images, which makes `unpaired` cautious.
    """
    (a, of_a, split_a), (b, of_b, split_b) = measured(front), measured(baseline)
    if of_a is None or of_b is None or split_a != split_b:
        return a - b, None, None, "no interval"
    found = unpaired((a, of_a[0], of_a[1]), (b, of_b[0], of_b[1]))
    return found.difference, found.low, found.high, found.outcome


def at_least_as_sparse(front: Sequence[Entry], density: float) -> Entry | None:
    """Return the front's best point by validation accuracy at or below a density."""
    fitting = [e for e in front if 1 - e["sparsity"] <= density * DENSITY_TOLERANCE]
    return max(fitting, key=lambda e: float(e["val_accuracy"]), default=None)


def _against(front: Entry, baseline: Entry) -> Against:
    gap, low, high, outcome = difference(front, baseline)
    accuracy, interval, _ = measured(baseline)
    name = NAMES.get(baseline["baseline"], baseline["baseline"])
    if low is None or high is None:
        words = "no interval, so no verdict"
    elif outcome == "better":
        words = f"better by {100 * gap:.1f} points, at least {100 * low:.1f}"
    elif outcome == "worse":
        words = f"worse by {-100 * gap:.1f} points, at least {-100 * high:.1f}"
    else:
        words = "within noise"
    fewer = (1 - baseline["sparsity"]) / (1 - front["sparsity"])
    if outcome == "within noise" and fewer >= CLEARLY_SPARSER:
        words += f", with {fewer:.1f}{TIMES} fewer weights"
    text = f"{name} {plus_minus(accuracy, interval)} ({words})"
    return Against(baseline["baseline"], text, outcome, gap, low, high, fewer)


def _clusters(baselines: Sequence[Entry]) -> list[list[Entry]]:
    """Group baselines that are equally sparse."""
    groups: list[list[Entry]] = []
    for entry in sorted(baselines, key=lambda e: float(e["sparsity"])):
        density = 1 - entry["sparsity"]
        if groups and 1 - groups[-1][0]["sparsity"] <= density * DENSITY_TOLERANCE:
            groups[-1].append(entry)
        else:
            groups.append([entry])
    return groups


def _compare(front: Sequence[Entry], group: list[Entry]) -> Comparison:
    sparsity = group[0]["sparsity"]
    point = at_least_as_sparse(front, 1 - sparsity)
    if point is None:
        text = f"At {percent(sparsity)} %: the front has no point this sparse."
        return Comparison(sparsity, None, text, ())
    order = list(NAMES)
    group = sorted(
        group, key=lambda e: order.index(e["baseline"]) if e["baseline"] in order else 99
    )
    against = tuple(_against(point, baseline) for baseline in group)
    accuracy, interval, _ = measured(point)
    where, own = percent(sparsity), percent(point["sparsity"])
    at = "" if own == where else f" (at {own} %)"
    head = f"At {where} %: {point['method']}{at} {plus_minus(accuracy, interval)}"
    text = f"{head} against {', '.join(a.text for a in against)}."
    return Comparison(sparsity, point["trial"], text, against)


def comparisons(summary: Summary) -> tuple[Comparison, ...]:
    """Compare the front with the baselines at every sparsity that has baselines.

    A study of speed alone has no use for baselines of single weights, which make nothing faster.
    """
    pruned = [b for b in summary.get("baselines", ()) if b["baseline"] != "dense"]
    if _speed_alone(summary):
        pruned = [b for b in pruned if b["kind"] != "weights"]
    return tuple(_compare(summary["front"], group) for group in _clusters(pruned))


def _speed_alone(summary: Summary) -> bool:
    """Whether the study trades accuracy for nothing that masks of single weights change."""
    return not gains("weights", summary.get("objectives", ("accuracy", "sparsity")))


def conclusion(summary: Summary) -> str:
    """Say in one sentence what the search bought over one-shot magnitude."""
    if not summary["front"]:
        return "There is no front yet."
    found = [
        a
        for comparison in comparisons(summary)
        for a in comparison.against
        if a.baseline == "magnitude" and a.outcome != "no interval"
    ]
    if not found and _speed_alone(summary):
        return (
            "No verdict against one-shot magnitude pruning: it removes single weights, which saves "
            "none of this study's objectives."
        )
    if not found:
        return "There is no confirmed one-shot magnitude baseline to compare with."
    better = sum(a.outcome == "better" for a in found)
    worse = sum(a.outcome == "worse" for a in found)
    sparser = sum(a.outcome == "within noise" and a.fewer >= CLEARLY_SPARSER for a in found)
    noise = len(found) - better - worse - sparser
    counted = (
        (better, "more accurate beyond the 95 % intervals"),
        (sparser, "equally accurate within noise with clearly fewer weights"),
        (noise, "within noise of it"),
        (worse, "less accurate"),
    )
    parts = [f"{words} at {number}" for number, words in counted if number]
    advice = ""
    if noise + worse == len(found):
        advice = " The search bought nothing here: take the simpler method."
    elif worse:
        advice = " Where it is less accurate, take the baseline."
    total = f"{len(found)} {'sparsity' if len(found) == 1 else 'sparsities'}"
    return (
        f"Against one-shot magnitude pruning with a good learning rate, at {total}, the front is "
        f"{', '.join(parts)}.{advice}"
    )


def free_sparsity(summary: Summary) -> Entry | None:
    """Return the sparsest front point that is within noise of the dense model, or better."""
    dense = next((b for b in summary.get("baselines", ()) if b["baseline"] == "dense"), None)
    if dense is None:
        return None
    equal = [e for e in summary["front"] if difference(e, dense)[3] in ("better", "within noise")]
    return max(equal, key=lambda e: float(e["sparsity"]), default=None)
