"""The only training loop. Everything that is not batches, steps and events is a hook or a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import torch

from autoprune.core.seeds import torch_stream
from autoprune.training.events import Event, Hook, LoopState

if TYPE_CHECKING:
    from autoprune.data.base import Split

Gradient = Callable[[LoopState], None]


def plain_gradient(loop: LoopState) -> None:
    """One forward and one backward pass."""
    mixed = loop.dtype is not torch.float32
    with torch.autocast(loop.device.type, loop.dtype, enabled=mixed):
        loop.outputs = loop.model(loop.inputs)
        loop.loss = loop.loss_fn(loop.outputs, loop.targets)
    loop.loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped


def fit(
    loop: LoopState,
    split: Split,
    learning_rate: Callable[[float], float],
    hooks: Sequence[Hook],
    *,
    batch_size: int,
    stop: int,
    label: str,
    augment: bool = True,
    gradient: Gradient = plain_gradient,
) -> bool:
    """Train from `loop.step` to step `stop` of `loop.num_steps`.

    Parameters
    ----------
    learning_rate : callable
        Progress in [0, 1) to the absolute learning rate.
    label : str
        Names the streams of data order, augmentation and recipes; an epoch draws the same order
        whether it is reached in one call or after a resume.
    stop : int
        Step to stop before; at most `loop.num_steps`.

    Returns
    -------
    bool
        False when the loss stopped being finite: the run diverged, and was ended there.
    """

    def notify(event: Event) -> None:
        for hook in hooks:
            hook.on(event, loop)

    loop.label = label
    with loop.undo:
        notify(Event.FIT_START)
        finite = True
        while loop.step < stop and finite:
            loop.epoch, done = divmod(loop.step, loop.steps_per_epoch)
            order = torch.randperm(split.size, generator=torch_stream(loop.seed, label, loop.epoch))
            noise = torch_stream(loop.seed, label, "augment", loop.epoch) if augment else None
            batches = split.batches(batch_size, order=order, augment=noise)
            notify(Event.EPOCH_START)
            total = torch.zeros((), device=loop.device)
            for inputs, targets in islice(batches, done, done + stop - loop.step):
                loop.inputs, loop.targets = inputs, targets
                loop.lr = learning_rate(loop.progress)
                for group in loop.optimizer.param_groups:
                    group["lr"] = loop.lr
                loop.skip_step = loop.dense_gradient = False
                notify(Event.BEFORE_LOSS)
                gradient(loop)
                notify(Event.AFTER_BACKWARD)
                if not loop.skip_step:
                    loop.optimizer.step()
                loop.optimizer.zero_grad(set_to_none=True)
                loop.step += 1
                total = total + loop.loss.detach()
                notify(Event.AFTER_STEP)
            finite = math.isfinite(total.item())
            if finite:
                steps = loop.step - loop.epoch * loop.steps_per_epoch - done
                loop.log["train_loss"] = total.item() / steps
        notify(Event.FIT_END)
    return finite
