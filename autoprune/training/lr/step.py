"""Step: a constant learning rate that drops twice."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Positive
from autoprune.training.lr.base import CycleInfo
from autoprune.training.lr.profile import Drops


@dataclass(frozen=True, config=STRICT, kw_only=True)
class Step(Drops):
    """Keeps `peak`, then multiplies it by `drop` at `first` and once more at `second`.

    Parameters
    ----------
    peak : float
        Learning rate before the drops, > 0.
    drop : float
        Factor of each drop, in (0, 1).
    first, second : float
        Shares of the cycle at which the drops come, in [0, 1], ``first <= second``.

    References
    ----------
    .. [1] K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition",
       CVPR 2016, arXiv 1512.03385, section 4.2 (drops to a tenth at 1/2 and 3/4).
    """

    peak: Positive = 0.1
    drop: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1

    reference: ClassVar[str] = "He et al., CVPR 2016, arXiv 1512.03385"
    space: ClassVar[dict[str, Any]] = {"peak": {"low": 0.01, "high": 0.5, "log": True}}

    def __call__(self, progress: float, cycle: CycleInfo) -> float:
        """Return the learning rate."""
        return self.peak * self.drop ** self.num_drops(progress)
