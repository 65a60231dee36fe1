"""Fine-tuning: the dense run's least learning rate, throughout."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.training.lr.base import CycleInfo, Need


@dataclass(frozen=True, config=STRICT, kw_only=True)
class FineTuning:
    """Keeps the least rate that the dense run had after its warm-up, without one of its own.

    Raises
    ------
    ConfigError
        If there was no dense run (the task brought pretrained weights).

    Notes
    -----
    After a stepped dense run this is its last rate, as in the paper. After one that decays to next
    to nothing (linear, cosine) hardly anything is learned (card imp, g): a ``constant`` schedule
    with a peak of its own is then the better fine-tuning.

    References
    ----------
    .. [1] S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for
       Efficient Neural Networks", NeurIPS 2015, arXiv 1506.02626.
    .. [2] A. Renda, J. Frankle, M. Carbin, "Comparing Rewinding and Fine-tuning in Neural Network
       Pruning", ICLR 2020, arXiv 2003.02389.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.DENSE_CURVE, Need.TRAINED_START})
    reference: ClassVar[str] = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    space: ClassVar[dict[str, Any]] = {}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the dense run's least learning rate."""
        return cycle.dense_low
