"""LR rewinding: the last part of the dense run's schedule, once more."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.core.errors import ConfigError
from autoprune.training.lr.base import CycleInfo, Need


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LRRewinding:
    """Replays the dense run's last learning rates, as many steps of them as the cycle has.

    Raises
    ------
    ConfigError
        If there was no dense run (the task brought pretrained weights), or if the cycle is longer
        than the dense run was.

    Notes
    -----
    Step ``j`` of ``T_rt`` uses the dense run's step ``T - T_rt + j`` (card imp, c: LRW). Weights
    are not rewound.

    References
    ----------
    .. [1] A. Renda, J. Frankle, M. Carbin, "Comparing Rewinding and Fine-tuning in Neural Network
       Pruning", ICLR 2020, arXiv 2003.02389.
    """

    needs: ClassVar[frozenset[Need]] = frozenset(
        {Need.DENSE_CURVE, Need.DENSE_LENGTH, Need.TRAINED_START}
    )
    reference: ClassVar[str] = "Renda et al., ICLR 2020, arXiv 2003.02389"
    space: ClassVar[dict[str, Any]] = {}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the dense run's learning rate at the matching step."""
        curve, ratio = cycle.dense_rates, cycle.length_ratio
        if ratio > 1:
            raise ConfigError(
                "lr.lrw",
                "needs cycles no longer than the dense run (ratio at most 1)",
                ratio,
                "raise train.epochs, lower the retraining epochs, or choose another schedule",
            )
        # The position is a whole step up to rounding noise, so the nearest step is the step.
        step = round((1 - ratio + ratio * progress) * len(curve))
        return curve[min(step, len(curve) - 1)]
