"""ShrinkBench's checklist for comparisons of pruning methods, answered for one sweep.

References
----------
D. Blalock, J. J. Gonzalez Ortiz, J. Frankle, J. Guttag, "What is the State of Neural Network
Pruning?", MLSys 2020, arXiv 2003.03033 (recommended practice).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LEAST_POINTS, LEAST_SEEDS, MANY_CLASSES = 5, 3, 100
_BASELINES = {
    ("random", ""): "random",
    ("magnitude", "global"): "magnitude over all layers",
    ("magnitude", "uniform"): "magnitude layer by layer",
}


def checklist(
    *,
    methods: Sequence[tuple[str, str]],
    num_points: int,
    num_seeds: int,
    num_classes: int,
) -> list[dict[str, Any]]:
    """Answer the checklist.

    Parameters
    ----------
    methods : sequence of (str, str)
        Method and allocation of each arm.
    num_points : int
        Operating points of each curve, the dense net left out.
    num_seeds : int
        Replicates of each point.
    num_classes : int
        Classes of the data.

    Returns
    -------
    list of dict
        ``item, text, met, note``; `met` is None where one sweep cannot answer.
    """
    there = set(methods) | {(method, "") for method, _ in methods}
    missing = [words for key, words in _BASELINES.items() if key not in there]
    few = "" if num_classes >= MANY_CLASSES else f"; with {num_classes} classes it says little"
    return [
        _item("a", "three data sets and models, one of them large", None, "one pair per sweep"),
        _item("b", "compression ratio and theoretical speed-up, original over new", True, ""),
        _item("c", "top-1 and top-5 accuracy", True, f"both are in the record{few}"),
        _item("d", "the same metrics for the unpruned control", True, "the row of ratio 1"),
        _item(
            "e",
            f"at least {LEAST_POINTS} operating points over a wide range",
            num_points >= LEAST_POINTS,
            f"{num_points} points",
        ),
        _item(
            "f",
            "random and magnitude pruning, globally and by layer, as baselines",
            not missing,
            f"missing: {', '.join(missing)}" if missing else "",
        ),
        _item(
            "g",
            f"mean and deviation over at least {LEAST_SEEDS} seeds",
            num_seeds >= LEAST_SEEDS,
            f"{num_seeds} seeds",
        ),
        _item("h", "one library, data, start and recipe for all methods", True, ""),
        _item(
            "i",
            "hyperparameters and the rule of selection",
            True,
            "last epoch, nothing is selected; the settings are in the record",
        ),
    ]


def _item(item: str, text: str, met: bool | None, note: str) -> dict[str, Any]:
    return {"item": item, "text": text, "met": met, "note": note}
