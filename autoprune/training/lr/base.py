"""What a learning-rate schedule is told, and what it answers.

A schedule is a frozen pydantic dataclass: its fields are its parameters, calling it gives the
absolute learning rate. Torch is not imported here, so a search space can validate schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class CycleInfo:
    """Where in an iterative trial a retraining cycle stands.

    Parameters
    ----------
    index, count : int
        Cycle number from 1 (0 is the dense run), and the number of pruning cycles.
    sparsity : float
        Sparsity during this cycle.
    round_share : float
        Fraction of the *remaining* weights that each cycle removes (card silo: p).
    norm_lost : float
        ``||w - w*m|| / ||w||`` at this cycle's pruning (card imp: ALLR's numerator).
    length_ratio : float
        This cycle's length over the dense run's: of the epochs that their steps make, so that
        another batch size does not change it.
    dense_curve : sequence of float
        Learning rate of the dense run at evenly spaced points, first to last step; empty when
        there was none (a pretrained checkpoint).
    """

    index: int = 1
    count: int = 1
    sparsity: float = 0.0
    round_share: float = 0.0
    norm_lost: float = 0.0
    length_ratio: float = 1.0
    dense_curve: Sequence[float] = ()


class LRSchedule(Protocol):
    """The absolute learning rate as a function of progress through a cycle.

    A schedule that reads `CycleInfo.dense_curve` sets the class attribute ``replays_dense`` to
    True: its trials then rest on the dense run, and are refused where there is none as long as
    the cycle.
    """

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate at `progress` in [0, 1): step ``j`` of ``n`` is ``j / n``."""
        ...
