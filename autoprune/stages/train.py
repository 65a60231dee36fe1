"""Training, dense or masked: one stage for both, with everything that decides its bits."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class TrainLonger(Train):
    """Train a pruned net for as many epochs as the dense one could have at equal multiply-adds.

    With ``rho`` the dense net's multiply-adds over those that the masks keep, ``E`` the `length`:
    ``floor(E * rho)`` epochs, at least E, at most `cap` times E. The whole schedule is stretched.

    Parameters
    ----------
    cap : float
        Greatest ratio, >= 1.

    Notes
    -----
    `epochs` is the most it can be; what it was stands in the log as ``longer_epochs``.
    """

    kind: ClassVar[str] = "train_longer"

    cap: float = 1.0

    @property
    def epochs(self) -> float:
        """The most epochs this stage can train."""
        return self.length * self.cap

    @property
    def open_ended(self) -> bool:
        """The masks decide."""
        return True

    def spent(self, state: TrialState) -> float:
        """Return the epochs that were trained."""
        return float(state.log["longer_epochs"])

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Measure the masks, then train."""
        from dataclasses import replace

        masks = inputs[0].masks
        layers = context.task.info.layers
        dense = sum(layer.macs for layer in layers)
        left = sum(
            layer.macs * (float(masks[layer.name].double().mean()) if layer.name in masks else 1.0)
            for layer in layers
        )
        length = self.stretched(dense / left if left else self.cap)
        state = replace(self, length=length)._train(inputs, context)
        ratio = length / self.length
        return replace(state, log={**state.log, "longer_epochs": length, "longer_ratio": ratio})

    def stretched(self, ratio: float) -> float:
        """Return the epochs at a ratio of multiply-adds.

        Examples
        --------
        >>> from autoprune.core.config import LRConfig, OptimizerConfig
        >>> stage = TrainLonger(160.0, LRConfig(), OptimizerConfig(), 0, cap=2.0)
        >>> stage.stretched(313.46 / 206.28), stage.stretched(1.0), stage.stretched(5.0)
        (243.0, 160.0, 320.0)
        """
        longer = float(math.floor(self.length * ratio + 1e-9))
        return min(max(self.length, longer), self.length * self.cap)

    def _train(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        return super().run(inputs, context)
