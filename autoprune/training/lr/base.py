"""What a learning-rate schedule is told, and what it answers.

A schedule is a frozen pydantic dataclass: its fields are its parameters, calling it gives the
absolute learning rate. Torch is not imported here, so a search space can validate schedules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Protocol

from autoprune.core.errors import ConfigError


class Need(Enum):
    """What a schedule asks of the trial around it; it lists its needs in the class's ``needs``."""

    DENSE_CURVE = "reads the dense run's learning rates"
    DENSE_LENGTH = "replays the dense run step by step, so no cycle may be longer than it"
    TRAINED_START = "goes on from trained weights, so it suits no plan that starts from fresh ones"


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
        ``||w - w*m|| / ||w||`` at this cycle's pruning, over all parameters (card imp: ALLR's
        numerator); 0 where nothing was pruned before the cycle.
    length_ratio : float
        This cycle's length over the dense run's: of the epochs that their steps make, so that
        another batch size does not change it.
    dense_curve : sequence of float
        Learning rate of the dense run at every step; empty when there was none (a pretrained
        checkpoint) or the schedule does not ask for it.
    share_lost : float or None
        Fraction of the remaining weights that this cycle's pruning removed, as measured (card
        imp: s); None where it was not, and `round_share` stands for it.
    num_steps : int or None
        Updates of this cycle, so that warm-ups can take whole ones; None where the shares of the
        cycle are to be taken as they are.
    """

    index: int = 1
    count: int = 1
    sparsity: float = 0.0
    round_share: float = 0.0
    norm_lost: float = 0.0
    length_ratio: float = 1.0
    dense_curve: Sequence[float] = ()
    share_lost: float | None = None
    num_steps: int | None = None

    @property
    def dense_rates(self) -> Sequence[float]:
        """The dense run's learning rates.

        Raises
        ------
        ConfigError
            If there was no dense run.
        """
        if not self.dense_curve:
            raise ConfigError(
                "lr",
                "needs the dense run's learning rates, but the task brought pretrained weights",
                remedy="choose another schedule, such as linear",
            )
        return self.dense_curve

    @cached_property
    def dense_peak(self) -> float:
        """Greatest rate of the dense run (card imp: eta_max)."""
        return max(self.dense_rates)

    @cached_property
    def dense_peak_at(self) -> int:
        """Step at which the dense run first had its greatest rate: where its warm-up ended."""
        return self.dense_rates.index(self.dense_peak)

    @cached_property
    def dense_low(self) -> float:
        """Least rate of the dense run after its warm-up (card imp: eta_min)."""
        return min(self.dense_curve[self.dense_peak_at :])


class LRSchedule(Protocol):
    """The absolute learning rate as a function of progress through a cycle.

    A schedule with needs names them in the class attribute ``needs``, a frozenset of `Need`:
    only then is `CycleInfo.dense_curve` filled in, and a trial that cannot meet a need is refused
    before anything is trained.

    A schedule whose rates in one cycle are another, simpler one's may say so with a method
    ``narrowed(cycle) -> LRConfig``: it is then trained under that name and with those parameters,
    so that trials which differ in other cycles only share the work of this one. It is told the
    cycle as it is planned: no rates of a dense run, no damage, no number of steps.
    """

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate at `progress` in [0, 1): step ``j`` of ``n`` is ``j / n``."""
        ...
