"""The six events of the training loop, what a hook sees, and how hooks are named in a plan.

::

    fit_start
    for each epoch:
        epoch_start
        for each batch:
            before_loss        inputs, targets and the loss function may be replaced
            (loss, backward)
            after_backward     gradients are there; setting `skip_step` cancels the update
            (optimizer step)
            after_step         weights have moved
    fit_end
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


class Event(Enum):
    """When a hook is called."""

    FIT_START = auto()
    EPOCH_START = auto()
    BEFORE_LOSS = auto()
    AFTER_BACKWARD = auto()
    AFTER_STEP = auto()
    FIT_END = auto()


@dataclass
class LoopState:
    """What the loop shares with its hooks; the loop owns it, a hook changes only what it must.

    Parameters
    ----------
    masks : dict
        Bool masks by parameter name, enforced after every step in hard mode. A hook that moves a
        mask edits it in place (`mask.copy_`) and calls `masks_changed`.
    parameters : mapping
        Parameter name to the live parameter.
    ranks : mapping
        Rank of each factorised weight, when the trial chose ranks before training.
    seed, label
        Root and name of the run's streams: no two runs of a trial draw the same numbers.
    step, num_steps : int
        Optimiser steps done (0-based, of the whole schedule) and planned.
    layer_macs : mapping
        Multiply-adds of one image's forward pass, by the prunable weight that they pass through.
    dense_gradient : bool
        Set by a hook in the steps that need the gradient of masked weights, too; reset each step.
    ghost_macs : float
        Multiply-adds of one image in layers that exist during training only.
    undo : ExitStack
        Callbacks that give the worker's model back as it was, run when a fit ends, however it
        ends: a hook that changes more of the model than its weights puts one here first.
    extra : dict
        Tensors a hook wants to outlive the loop (scores, averages); saved with the state.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    parameters: Mapping[str, nn.Parameter]
    masks: dict[str, Tensor]
    loss_fn: Loss
    seed: int
    num_steps: int
    steps_per_epoch: int
    label: str = ""
    step: int = 0
    epoch: int = 0
    lr: float = 0.0
    inputs: Tensor = field(default_factory=lambda: torch.empty(0))
    targets: Tensor = field(default_factory=lambda: torch.empty(0))
    outputs: Tensor = field(default_factory=lambda: torch.empty(0))
    loss: Tensor = field(default_factory=lambda: torch.empty(0))
    skip_step: bool = False
    teacher: nn.Module | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    log: dict[str, float] = field(default_factory=dict)
    ranks: Mapping[str, int] = field(default_factory=dict)
    layer_macs: Mapping[str, int] = field(default_factory=dict)
    ghost_macs: float = 0.0
    undo: ExitStack = field(default_factory=ExitStack)
    dense_gradient: bool = False
    mask_version: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32

    @property
    def progress(self) -> float:
        """Share of the planned steps that is done, in [0, 1]."""
        return self.step / self.num_steps

    def masks_changed(self) -> None:
        """Tell the loop that a mask was edited, so that what it derives from masks is made anew."""
        self.mask_version += 1

    def optimizer_state(self, name: str) -> list[Tensor]:
        """Return the optimiser's tensors that have one entry per weight of a parameter."""
        parameter = self.parameters[name]
        values = self.optimizer.state.get(parameter, {}).values()
        return [v for v in values if isinstance(v, Tensor) and v.shape == parameter.shape]


class Hook(Protocol):
    """Something that happens inside the loop."""

    def on(self, event: Event, loop: LoopState) -> None:
        """React to an event."""
        ...
