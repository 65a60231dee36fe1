"""The front in seven numbers: the best confirmed accuracy at or above each sparsity band."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BANDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
# A target of 90 % is reached to the nearest weight, which may lie just below it.
TOLERANCE = 1e-4


def profile(
    entries: Sequence[dict[str, Any]], bands: Sequence[float] = BANDS
) -> list[dict[str, Any]]:
    """Return the best confirmed point at or above each band; a band without one is left out.

    The best is chosen by mean validation accuracy; its test accuracy is reported.

    Parameters
    ----------
    entries : sequence of dict
        Confirmed front entries.
    bands : sequence of float
        Sparsities.
    """
    rows = []
    for band in bands:
        inside = [e for e in entries if e["seeds"] and e["reduction"] >= band - TOLERANCE]
        if inside:
            best = max(inside, key=lambda e: float(e["val_accuracy"]))
            kept = {key: best[key] for key in ("trial", "test_accuracy", "sparsity")}
            rows.append({"band": band, **kept})
    return rows
