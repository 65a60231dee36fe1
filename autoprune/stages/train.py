"""Training, dense or masked: one stage for both, with everything that decides its bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from autoprune.core.canonical import plain
from autoprune.core.config import LRConfig, OptimizerConfig, RecipeConfig, Scalar
from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState
    from autoprune.training.lr.base import CycleInfo


@dataclass(frozen=True)
class HookSpec:
    """A hook by import path, with its keyword arguments."""

    target: str
    params: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True)
class Cycle:
    """Where in its trial a training run stands; see `training.lr.base.CycleInfo`."""

    index: int = 0
    count: int = 0
    sparsity: float = 0.0
    round_share: float = 0.0


@dataclass(frozen=True)
class Train(Stage):
    """Train the weights of the first parent.

    Parameters
    ----------
    parents : tuple of Stage
        The start; then the dense run when `curve` (its learning rates and length are read), then
        the teacher when the recipe distils.
    length : float
        Epochs of the whole schedule.
    stop : float
        Share of the schedule to run: a snapshot at a rewind point stops early.
    label : str
        Names the streams of data order, augmentation and dropout.
    mask_mode : str
        ``"hard"``, or ``"latent"`` when a hook looks after the masks and freezes them at the end.
    """

    kind: ClassVar[str] = "train"

    length: float
    lr: LRConfig
    optimizer: OptimizerConfig
    seed: int
    label: str = "dense"
    stop: float = 1.0
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    hooks: tuple[HookSpec, ...] = ()
    cycle: Cycle = field(default_factory=Cycle)
    curve: bool = False
    mask_mode: Literal["hard", "latent"] = "hard"
    augment: bool = True

    @property
    def epochs(self) -> float:
        """Epochs this stage trains."""
        return self.length * self.stop

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Train, and record the learning rate of every step."""
        from autoprune.stages.fitting import run_training

        return run_training(self, inputs, context)

    def cycle_info(
        self, inputs: Sequence[TrialState], num_steps: int, steps_per_epoch: int
    ) -> CycleInfo:
        """Complete the cycle, so many steps long, with what the parents recorded."""
        from autoprune.training.lr.base import CycleInfo

        dense = inputs[1] if self.curve else None
        curve = [] if dense is None else dense.tensors["lr_curve"].tolist()
        log, epochs = inputs[0].log, num_steps / steps_per_epoch
        return CycleInfo(
            **plain(self.cycle),
            norm_lost=float(log.get("norm_lost", 0.0)),
            share_lost=float(log["share_lost"]) if "share_lost" in log else None,
            length_ratio=epochs / self.parents[1].epochs if curve else 1.0,
            dense_curve=curve,
            num_steps=num_steps,
        )

    def teacher(self, inputs: Sequence[TrialState]) -> TrialState | None:
        """Return the teacher's state, if the recipe distils."""
        return inputs[-1] if self.recipe.distill > 0 else None

    def hook_objects(self) -> list[Any]:
        """Import and build the plan's own hooks."""
        from autoprune.core.registry import load_object

        return [load_object(spec.target)(**spec.params) for spec in self.hooks]  # type: ignore[operator] # a class by path
