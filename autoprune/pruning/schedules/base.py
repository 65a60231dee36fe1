"""What a sparsity schedule is: progress and target in, sparsity out."""

from __future__ import annotations

from typing import Protocol


class SparsitySchedule(Protocol):
    """Sparsity as a function of progress.

    Non-decreasing in progress, 0 at 0 (but for one_shot) and exactly the target at 1.
    """

    def __call__(self, progress: float, target: float) -> float:
        """Return the sparsity at `progress` in [0, 1] on the way to `target`."""
        ...
