"""The two mask modes: hard (zero after every step) and latent (dormant values live on)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.training.events import Event, LoopState


class HardMasks:
    """Keep masked weights, and their optimiser state, at exactly zero after every step.

    Notes
    -----
    Masking gradients is not enough: an old momentum buffer or decoupled weight decay moves a
    pruned weight on the next step (cards ap (g)1, imp (g)).
    """

    def __init__(self) -> None:
        self._version = -1
        self._targets: list[Tensor] = []
        self._masks: list[Tensor] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Zero what is masked at the start and after each step."""
        if event not in (Event.FIT_START, Event.AFTER_STEP) or not loop.masks:
            return
        if self._version != loop.mask_version or loop.step <= 1:
            # After the first step the optimiser's buffers exist, so the list is made again.
            self._collect(loop)
        with torch.no_grad():
            torch._foreach_mul_(self._targets, self._masks)

    def _collect(self, loop: LoopState) -> None:
        self._version = loop.mask_version
        self._targets, self._masks = [], []
        for name, mask in loop.masks.items():
            parameter = loop.parameters[name]
            factor = mask.to(parameter.dtype)
            for tensor in (parameter.data, *loop.optimizer_state(name)):
                self._targets.append(tensor)
                self._masks.append(factor)


class LatentMasks:
    """Let masked weights live on: the forward pass sees them as zero, the optimiser does not.

    Between steps the model holds ``latent * mask``; the latent values return just before the
    optimiser's step. At the end of the fit the weights stay masked: the freeze to hard masks.

    Parameters
    ----------
    mask_gradients : bool
        Whether a masked weight gets no gradient (movement) or the straight-through one (SCL).
    """

    def __init__(self, *, mask_gradients: bool = True) -> None:
        self.mask_gradients = mask_gradients
        self.values: dict[str, Tensor] = {}

    def on(self, event: Event, loop: LoopState) -> None:
        """Swap masked and latent weights around the step."""
        if event is Event.FIT_START:
            self.values = {n: loop.parameters[n].detach().clone() for n in loop.masks}
            self.hide(loop)
        elif event is Event.AFTER_BACKWARD:
            loop.dense_gradient = True
            self._restore(loop)
        elif event is Event.AFTER_STEP:
            for name, value in self.values.items():
                value.copy_(loop.parameters[name].detach())
            self.hide(loop)

    def hide(self, loop: LoopState) -> None:
        """Put ``latent * mask`` into the model; call it again when a mask moved."""
        with torch.no_grad():
            for name, value in self.values.items():
                torch.mul(value, loop.masks[name], out=loop.parameters[name].data)

    def _restore(self, loop: LoopState) -> None:
        with torch.no_grad():
            for name, value in self.values.items():
                parameter = loop.parameters[name]
                parameter.copy_(value)
                if self.mask_gradients and parameter.grad is not None:
                    parameter.grad.mul_(loop.masks[name])
