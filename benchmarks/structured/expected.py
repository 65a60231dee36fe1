"""What the cards expect of units and rank, and whether it was seen."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from autoprune.metrics.statistics import paired
from benchmarks.methods.effects import Finding, above, grows
from benchmarks.methods.table import Gap
from benchmarks.structured.found import Found

Measure = Callable[[Found], Finding]


def at(one: str, other: str, *targets: float) -> Measure:
    """Expect `one` not below `other` on average."""
    return lambda found: above(one, other, targets)(found.table)


def wider(one: str, other: str) -> Measure:
    """Expect the lead of `one` to be greater at 4x."""
    return lambda found: grows(one, other, 0.5, 0.75)(found.table)


def collapses(label: str) -> Measure:
    """Expect a trained net to fall to chance when it is cut in half and not retrained."""

    def measure(found: Found) -> Finding:
        before = statistics.fmean(found.before(label, 0.5))
        return Finding(before < 15.0, f"{before:.1f} % before retraining at 50%")

    return measure


def near(one: str, other: str, points: float, *targets: float) -> Measure:
    """Expect `one` no more than some points below `other`."""

    def measure(found: Found) -> Finding:
        both = (t for t in targets if found.table.has(one, t) and found.table.has(other, t))
        gaps = {target: found.table.gap(one, other, target) for target in both}
        if not gaps:
            raise KeyError(one, other)
        told = "; ".join(f"{gap} at {target:.0%}" for target, gap in gaps.items())
        return Finding(min(gap.mean for gap in gaps.values()) >= -points, told)

    return measure


def degenerate(found: Found) -> Finding:
    """Expect i-SpaSP to be an activation score in all groups that keep half of their units."""
    shares = {
        t: found.table.metric("i_spasp", t, "log/i_spasp_degenerate")
        for t in (0.5, 0.75)
        if found.table.has("i_spasp", t)
    }
    told = "; ".join(f"{share:.0%} of the groups at {t:.0%}" for t, share in shares.items())
    return Finding(shares[0.5] >= shares.get(0.75, 0.0), told)


BOTH = (0.5, 0.75)
CONTROL = "random units"
EFFECTS: tuple[tuple[str, str, Measure], ...] = (
    ("structured_core", "l2-norm not below random units", at("filter_l2", CONTROL, *BOTH)),
    ("structured_core", "Taylor not below random units", at("taylor", CONTROL, *BOTH)),
    ("structured_core", "that lead is greater at 4x (Taylor)", wider("taylor", CONTROL)),
    ("structured_core", "Taylor within a point of l1 at 2x", near("taylor", "filter_l1", 1, 0.5)),
    ("structured_core", "chance at 2x without retraining (l1)", collapses("filter_l1")),
    ("rethinking", "Scratch-E within 0.5 of retrained", near("scratch_e", "filter_l1", 0.5, *BOTH)),
    ("rethinking", "Scratch-B 0.3 below at most", near("scratch_b", "filter_l1", 0.3, *BOTH)),
    ("rethinking", "Scratch-B not below Scratch-E", at("scratch_b", "scratch_e", *BOTH)),
    ("rethinking", "that lead is greater at 4x", wider("scratch_b", "scratch_e")),
    ("dropnet", "its score not below random units", at("dropnet one shot", CONTROL, *BOTH)),
    ("i_spasp", "an activation score where half of the units stay", degenerate),
    ("lrpet", "not below l1 at equal multiply-adds", at("lrpet", "filter_l1", *BOTH)),
)
"""Card, words, measure; each reads one table of part A."""


def shared_seeds(found: Found) -> set[int]:
    """Return the seeds that every line has: a run that was stopped has more of some."""
    seeds: dict[str, set[int]] = {}
    for row in found.rows:
        seeds.setdefault(row["label"], set()).add(row["seed"])
    return set.intersection(*seeds.values())


def rounds_of(found: Found, label: str) -> list[tuple[float, list[float]]]:
    """Return, round by round, the share of units left and the accuracies by seed, as fractions.

    Of the seeds that all rules have, so that they can be paired.
    """
    seeds = shared_seeds(found)
    rows = [r for r in found.table.rows(label, found.rows[0]["target"]) if r["seed"] in seeds]
    lines = [
        [r["test_accuracy"] for r in row["rounds"]] + [row["metrics"]["test_accuracy"]]
        for row in rows
    ]
    whole = [row["alive"] for row in rows if "alive" in row]
    alive = [statistics.fmean(column) for column in zip(*whole, strict=True)]
    alive = alive or [float("nan")] * len(lines[0])
    return list(zip(alive, map(list, zip(*lines, strict=True)), strict=True))


def drop_gaps(found: Found, one: str, other: str) -> list[tuple[float, float, Gap]]:
    """Return both shares of units and the paired difference, round by round."""
    left, right = rounds_of(found, one), rounds_of(found, other)
    return [(a, b, Gap(paired(x, y))) for (a, x), (b, y) in zip(left, right, strict=True)]


def drop_findings(found: Found) -> list[tuple[str, Finding]]:
    """Judge DropNet's two claims: better than random when little is left, and maximum worst."""
    last = drop_gaps(found, "minimum_layer", "random_layer")[-1]
    low = [g for g in drop_gaps(found, "maximum", "random_layer") if g[1] <= 0.3] or [
        drop_gaps(found, "maximum", "random_layer")[-1]
    ]
    told = f"{last[2]} with {last[0]:.3f} of the units"
    below = "; ".join(f"{gap} where random has {alive:.2f}" for _, alive, gap in low)
    return [
        ("minimum_layer above random_layer at 0.15 or less", Finding(last[2].mean > 0, told)),
        ("maximum below random at 0.3 or less", Finding(all(g[2].mean < 0 for g in low), below)),
    ]


def pursuit_findings(row: dict[str, Any]) -> list[tuple[str, Finding]]:
    """Judge i-SpaSP's claims on two random layers."""
    place = row["kept"].index(10)
    means = {rule: statistics.fmean(by[place]) for rule, by in row["residuals"].items()}
    own = means["i_spasp"]
    others = ", ".join(f"{rule} {mean:.2f}" for rule, mean in means.items() if rule != "i_spasp")
    falls = {p: statistics.fmean(v) for p, v in row["falls"].items()}
    half = [share for count, share in row["same"].items() if int(count) >= 50]
    few = [share for count, share in row["same"].items() if int(count) <= 40]
    return [
        (
            "least residual at s = 10 of 100",
            Finding(own == min(means.values()), f"{own:.2f} against {others}"),
        ),
        (
            "the residual falls as a power of s, faster the sparser the layer",
            Finding(
                falls["0.3"] < falls["0.9"] < 0,
                f"exponents of the squared residual {falls['0.3']:.2f} (p = 0.3) and "
                f"{falls['0.9']:.2f} (p = 0.9)",
            ),
        ),
        (
            "an activation score from s = 50 on",
            Finding(
                min(half) == 1.0,
                f"the same units in {min(half):.0%} of the draws at the least from s = 50 on, in "
                f"{statistics.fmean(few):.0%} up to s = 40",
            ),
        ),
    ]
