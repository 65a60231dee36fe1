"""The two mask modes: hard (zero after every step) and latent (dormant values live on)."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.training.events import Event, LoopState


def prunable_gradients(loop: LoopState) -> dict[str, Tensor]:
    """Return the gradient of every prunable weight; zeros where the loss does not depend on it."""
    found = {name: loop.parameters[name] for name in loop.masks}
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in found.items()}


class HardMasks:
    """Keep masked weights, and their optimiser state, at exactly zero after every step.

    Notes
    -----
    Masking gradients is not enough: an old momentum buffer or decoupled weight decay moves a
    pruned weight on the next step (cards ap (g)1, imp (g)).
    """

    def __init__(self) -> None:
        self._version: tuple[int, int] | None = None
        self._targets: list[Tensor] = []
        self._masks: list[Tensor] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Zero what is masked at the start and after each step."""
        if event not in (Event.FIT_START, Event.AFTER_STEP) or not loop.masks:
            return
        # The optimiser makes its buffers at its first step, which a hook may put off.
        version = (loop.mask_version, len(loop.optimizer.state))
        if self._version != version:
            self._version = version
            self._collect(loop)
        with torch.no_grad():
            torch._foreach_mul_(self._targets, self._masks)

    def _collect(self, loop: LoopState) -> None:
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
        Whether a masked weight gets no gradient (movement) or the straight-through one.
    hold : bool
        Whether a masked weight keeps its value whatever the optimiser does to it: without, old
        momentum and weight decay go on moving it (card scl, g).
    """

    def __init__(self, *, mask_gradients: bool = True, hold: bool = False) -> None:
        self.mask_gradients, self.hold = mask_gradients, hold
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
            self.remember(loop)
            self.hide(loop)

    def remember(self, loop: LoopState) -> None:
        """Take over what the step made of the weights, while the masks are still that step's."""
        for name, value in self.values.items():
            new = loop.parameters[name].detach()
            value.copy_(torch.where(loop.masks[name], new, value) if self.hold else new)

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
