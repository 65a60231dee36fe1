"""Phases of a sparsity sweep: does test accuracy fall, rise and fall again? Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean
from typing import Any, Literal

from autoprune.core.canonical import plain
from autoprune.core.errors import DataError

Phase = Literal["light", "critical", "sweet", "collapsed"]
Verdict = Literal["no descent", "no double descent", "double descent"]

LEAST_DROP = 0.005
"""Test accuracies closer than this, or than two deviations over seeds, count as equal."""
TRAIN_DROP = 0.01
"""Training accuracy that lies further than this below the dense net's has begun to fall."""
NEAR_LEVELS = 2
LEAST_SEEDS = 3
FITTED = 0.99
"""How far from Critical the interpolation threshold may lie."""
_DIGITS = 9  # of differences: the same curve, shifted, differs in its last bits


@dataclass(frozen=True)
class Level:
    """One level of a sweep: its index, its sparsity in [0, 1), and an accuracy there."""

    index: int
    sparsity: float
    accuracy: float


@dataclass(frozen=True)
class Phases:
    """What a sweep over sparsities shows; accuracies are fractions.

    Parameters
    ----------
    verdict : str
        "no descent", "no double descent" or "double descent".
    labels : tuple of str
        One per level: "light", "critical", "sweet" or "collapsed".
    dip, peak : Level or None
        Lowest test accuracy in Critical and the highest after it; None without double descent.
    interpolation_threshold : Level or None
        Where training accuracy (here the level's accuracy) has begun to fall, if it does.
    depth, gain : float or None
        How far the dip lies below, and the peak above, the dense net.
    tolerance : float
        Differences of test accuracy up to this one were taken for noise.
    reliable : bool
        False where training accuracy does not tell the same story.
    notes : tuple of str
        Why not.
    text : str
        What was found, in a sentence.
    """

    verdict: Verdict
    labels: tuple[Phase, ...]
    dip: Level | None
    peak: Level | None
    interpolation_threshold: Level | None
    depth: float | None
    gain: float | None
    tolerance: float
    reliable: bool
    notes: tuple[str, ...]
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        content: dict[str, Any] = plain(self)
        return content


def find_phases(
    sparsities: Sequence[float],
    test: Sequence[float],
    train: Sequence[float],
    deviation: float,
    num_seeds: int = LEAST_SEEDS,
) -> Phases:
    """Label the levels of a sweep as Light, Critical, Sweet or Collapsed.

    Parameters
    ----------
    sparsities : sequence of float
        At least 3 levels in [0, 1), ascending; the first is the dense net's 0.
    test, train : sequence of float
        Accuracies at each level as fractions, means over seeds (3 or more) after the last epoch:
        on clean test labels, and on the labels that were trained on.
    deviation : float
        Pooled sample deviation of the test accuracy over seeds, a fraction.
    num_seeds : int
        Seeds behind the means; with fewer than 3 no verdict is reliable.

    Raises
    ------
    DataError
        If the lengths differ, there are fewer than 3 levels, the sparsities do not ascend from 0
        within [0, 1), or an accuracy or the deviation is not in [0, 1].

    Notes
    -----
    The paper describes the phases in words and on plots; the rule is ours. With ``te`` the test
    accuracy, ``tau = max(0.005, 2 deviation)`` and level 0 the dense net:

    1. Light ends before the first level with ``te < te[0] - tau``. None: no descent, all Light.
    2. Of all pairs of levels from there on, dip and peak are the pair with the largest rise. If it
       is at most ``tau``: no double descent. Every level from the descent on is then Collapsed,
       for accuracy is lost there and no rise beyond noise follows.
    3. Sweet begins at the first level after the dip with ``te >= ref``, where ``ref`` is
       ``te[0]``, or halfway from dip to peak if the peak is not above ``te[0]``. It ends before
       the first level after the peak with ``te < ref``. What lies between Light and Sweet is
       Critical, what lies behind Sweet Collapsed; a sweep that ends in Sweet has none.
    4. Double descent is reliable if training accuracy begins to fall (by more than 0.01) in
       Critical or within 2 levels of it, and is lower in Collapsed, if there is any, than in
       Sweet, on average.

    5. No verdict is reliable with fewer than 3 seeds, or if the dense net's training accuracy is
       under 0.99: it never fitted its labels, so there was nothing to undo.

    Only differences of test accuracies matter, so a constant added to all changes no label. A
    sweep too short to reach Sweet reads like one that decays: go to a sparsity of 0.99.

    Tie-break: of equal rises the one with the earlier dip, then with the earlier peak.

    References
    ----------
    .. [1] Z. He, Z. Xie, Q. Zhu, Z. Qin, "Sparse Double Descent: Where Network Pruning Aggravates
       Overfitting", ICML 2022, arXiv 2206.08684.
    """
    _check(sparsities, test, train, deviation)
    general = _general_doubts(train, num_seeds)
    above = [round(accuracy - test[0], _DIGITS) for accuracy in test]
    tolerance = max(LEAST_DROP, 2 * deviation)
    fallen = (i for i, accuracy in enumerate(train) if _rise(accuracy, train[0]) > TRAIN_DROP)
    threshold = next((Level(i, sparsities[i], train[i]) for i in fallen), None)
    start = next((i for i, gap in enumerate(above) if gap < -tolerance), None)
    if start is None:
        text = (
            f"Test accuracy stays within {100 * tolerance:.2f} points of the dense net's, or above "
            "it, at every level: no descent."
        )
        return _single("no descent", len(test), len(test), threshold, tolerance, text, general)
    pairs = combinations(range(start, len(test)), 2)
    dip, peak = max(pairs, key=lambda p: _rise(above[p[0]], above[p[1]]), default=(start, start))
    if _rise(above[dip], above[peak]) <= tolerance:
        text = (
            f"Test accuracy falls more than {100 * tolerance:.2f} points below the dense net's at "
            f"{_percent(sparsities[start])} sparsity and does not rise by as much again: no double "
            "descent."
        )
        return _single("no double descent", start, len(test), threshold, tolerance, text, general)
    first, last = _sweet(above, dip, peak)
    notes = (*general, *_doubts(train, threshold, (start, first, last)))
    depth, gain = -above[dip], above[peak]
    end = f"falls again from {_percent(sparsities[last + 1])} on" if last + 1 < len(test) else ""
    text = (
        f"Test accuracy falls to {100 * depth:.2f} points below the dense net's at "
        f"{_percent(sparsities[dip])} sparsity, rises to {100 * abs(gain):.2f} points "
        f"{'above' if gain > 0 else 'below'} it at {_percent(sparsities[peak])} and "
        f"{end or 'holds to the end of the sweep'}: double descent{', not reliable' * bool(notes)}."
    )
    return Phases(
        verdict="double descent",
        labels=_labels(start, first, last, len(test)),
        dip=Level(dip, sparsities[dip], test[dip]),
        peak=Level(peak, sparsities[peak], test[peak]),
        interpolation_threshold=threshold,
        depth=depth,
        gain=gain,
        tolerance=tolerance,
        reliable=not notes,
        notes=notes,
        text=text,
    )


def _check(
    sparsities: Sequence[float], test: Sequence[float], train: Sequence[float], deviation: float
) -> None:
    lengths = (len(sparsities), len(test), len(train))
    if len(set(lengths)) > 1:
        raise DataError("sparsities, test, train", "must be equally long", lengths)
    if len(sparsities) < 3:
        raise DataError("a sweep", "needs at least 3 levels", len(sparsities))
    ascending = all(low < high for low, high in pairwise(sparsities))
    if not ascending or sparsities[0] != 0 or sparsities[-1] >= 1:
        raise DataError("sparsities", "must ascend from 0, below 1", tuple(sparsities))
    for place, numbers in (("test", test), ("train", train), ("deviation", (deviation,))):
        if not all(0 <= number <= 1 for number in numbers):
            raise DataError(place, "must be fractions in [0, 1]", tuple(numbers))


def _rise(low: float, high: float) -> float:
    return round(high - low, _DIGITS)


def _sweet(above: Sequence[float], dip: int, peak: int) -> tuple[int, int]:
    """Return the first and last level of Sweet."""
    reference = 0.0 if above[peak] > 0 else (above[dip] + above[peak]) / 2
    first = next(i for i in range(dip + 1, peak + 1) if above[i] >= reference)
    below = (i for i in range(peak + 1, len(above)) if above[i] < reference)
    return first, next(below, len(above)) - 1


def _labels(start: int, first: int, last: int, count: int) -> tuple[Phase, ...]:
    light: list[Phase] = ["light"] * start
    critical: list[Phase] = ["critical"] * (first - start)
    sweet: list[Phase] = ["sweet"] * (last + 1 - first)
    collapsed: list[Phase] = ["collapsed"] * (count - last - 1)
    return (*light, *critical, *sweet, *collapsed)


def _doubts(
    train: Sequence[float], threshold: Level | None, borders: tuple[int, int, int]
) -> tuple[str, ...]:
    """Say where training accuracy contradicts a double descent."""
    start, first, last = borders
    found = []
    if threshold is None:
        found.append(f"training accuracy never falls by more than {100 * TRAIN_DROP:g} point")
    elif not start - NEAR_LEVELS <= threshold.index < first + NEAR_LEVELS:
        side = "before" if threshold.index < start else "after"
        found.append(
            f"training accuracy begins to fall more than {NEAR_LEVELS} levels {side} Critical, at "
            f"{_percent(threshold.sparsity)} sparsity"
        )
    sweet, collapsed = train[first : last + 1], train[last + 1 :]
    if collapsed and _rise(fmean(collapsed), fmean(sweet)) <= 0:
        found.append("training accuracy is no lower in Collapsed than in Sweet")
    return tuple(found)


def _single(
    verdict: Verdict,
    start: int,
    count: int,
    threshold: Level | None,
    tolerance: float,
    text: str,
    notes: tuple[str, ...],
) -> Phases:
    """Return a sweep without double descent: Light, then Collapsed from `start` on."""
    labels = _labels(start, start, start - 1, count)
    if notes:
        text = f"{text.removesuffix('.')}, not reliable."
    nothing = (None, None, threshold, None, None, tolerance)
    return Phases(verdict, labels, *nothing, not notes, notes, text)


def _general_doubts(train: Sequence[float], num_seeds: int) -> tuple[str, ...]:
    """Say why no verdict on this sweep can be relied on."""
    found = []
    if num_seeds < LEAST_SEEDS:
        found.append(f"{num_seeds} of at least {LEAST_SEEDS} seeds")
    if train[0] < FITTED:
        found.append(
            f"the dense net does not fit its training labels ({100 * train[0]:.1f} %, at least "
            f"{100 * FITTED:g} % are wanted): train it for longer"
        )
    return tuple(found)


def _percent(sparsity: float) -> str:
    return f"{100 * sparsity:.4g} %"
