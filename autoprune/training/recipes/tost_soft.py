"""Ghost soft activations: ReLUs that start smooth and end as ReLUs.

While they act, a ReLU module computes ``x * sigmoid(beta * x)`` (parametric Swish), with beta
rising from step to step; then, and after the fit in any case, the module is itself again.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from autoprune.core.errors import TaskError
from autoprune.metrics.layers import relu_modules
from autoprune.training.events import Event, LoopState

FIRST_BETA, LAST_BETA = 1.0, 50.0


def pswish(inputs: Tensor, beta: float) -> Tensor:
    """Return ``x * sigmoid(beta * x)``: half of x at beta 0, ReLU as beta goes to infinity.

    It differs from ReLU by at most ``0.2784645 / beta``.
    """
    return inputs * torch.sigmoid(beta * inputs)


def beta_at(progress: float, share: float) -> float:
    """Return the sharpness at `progress` in [0, share): geometric from 1 towards 50."""
    return FIRST_BETA * float((LAST_BETA / FIRST_BETA) ** (progress / share))


class SoftActivations:
    """Softens every ReLU module over the first `share` of training.

    The module tree stays: it is each module's `forward` that is shadowed, so parameter names,
    the state dict and a module's other users see nothing of it.

    Parameters
    ----------
    share : float
        Share of training over which ReLUs are soft, in (0, 1).

    Notes
    -----
    Deviation: the released code keeps one constant beta, to the end and at test time; how the
    paper anneals could not be read again, so the rise from 1 to 50 is this package's own.
    Rectifiers that are functions cannot be reached this way; a model without ReLU modules is
    refused.

    References
    ----------
    .. [1] A. Jaiswal, H. Ma, T. Chen, Y. Ding, Z. Wang, "Training Your Sparse Neural Network
       Better with Any Mask", ICML 2022, arXiv 2206.12755.
    """

    def __init__(self, share: float) -> None:
        self.share = share
        self.beta = FIRST_BETA
        self._softened: list[nn.Module] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Soften at the start, sharpen after every step, harden at the end."""
        if event is Event.FIT_START:
            loop.undo.callback(self.harden)
            if loop.progress < self.share:
                self.soften(loop.model)
        if event in (Event.FIT_START, Event.AFTER_STEP):
            if loop.progress < self.share:
                self.beta = beta_at(loop.progress, self.share)
            else:
                self.harden()
        elif event is Event.FIT_END:
            self.harden()

    def soften(self, model: nn.Module) -> None:
        """Shadow the forward pass of every ReLU module.

        Raises
        ------
        TaskError
            If there is none.
        """
        found = relu_modules(model)
        if not found:
            raise TaskError("the model", "must have ReLU modules for recipe 'tost_soft'")
        for module in found:
            vars(module)["forward"] = partial(self._forward, module)
            self._softened.append(module)

    def harden(self) -> None:
        """Make every softened module a ReLU again."""
        while self._softened:
            vars(self._softened.pop()).pop("forward", None)

    def _forward(self, module: nn.Module, inputs: Tensor) -> Tensor:
        if not getattr(module, "inplace", False):
            return pswish(inputs, self.beta)
        # Others may read the same tensor: they find the activation in it, as behind a ReLU.
        return inputs.copy_(pswish(inputs.clone(), self.beta))
