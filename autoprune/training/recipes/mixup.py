"""Mixup: train on blends of two images, with blended losses."""

from __future__ import annotations

import torch
from torch import Tensor

from autoprune.core.seeds import numpy_stream
from autoprune.training.events import Event, LoopState, Loss
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="mixup",
    reference="Zhang et al., ICLR 2018, arXiv 1710.09412",
    description="blends pairs of images and their losses; regularises, so it needs long retraining",
    space={"mixup": [0.0, 0.2]},
)


def blend(inputs: Tensor, order: Tensor, share: float) -> Tensor:
    """Return ``share * inputs + (1 - share) * inputs[order]``.

    Parameters
    ----------
    inputs : Tensor ``(B, ...)``
        A batch.
    order : Tensor ``(B,)`` of int64
        Each example's partner.
    share : float
        Weight of the example itself, in [0, 1].
    """
    return torch.lerp(inputs[order], inputs, share)


class Mixup:
    """Blends each batch with itself in another order.

    Parameters
    ----------
    alpha : float
        Both parameters of the Beta distribution that the share is drawn from, > 0.
    seed : int
        Root of the stream ``<label>/mixup``, one per step.

    Notes
    -----
    The loss of both targets is taken and blended, which for cross-entropy equals blended targets
    and asks nothing of a user's loss.

    References
    ----------
    .. [1] H. Zhang, M. Cisse, Y. Dauphin, D. Lopez-Paz, "mixup: Beyond Empirical Risk
       Minimization", ICLR 2018, arXiv 1710.09412, equation 2.
    """

    def __init__(self, alpha: float, seed: int) -> None:
        self.alpha, self.seed = alpha, seed
        self.order, self.share = torch.empty(0, dtype=torch.int64), 1.0

    def on(self, event: Event, loop: LoopState) -> None:
        """Blend the inputs before, and the losses in, the loss."""
        if event is Event.FIT_START:
            loop.loss_fn = self.blended(loop.loss_fn)
        elif event is Event.BEFORE_LOSS:
            stream = numpy_stream(self.seed, loop.label, "mixup", loop.step)
            self.share = float(stream.beta(self.alpha, self.alpha))
            order = torch.from_numpy(stream.permutation(len(loop.inputs)))
            self.order = order.to(loop.inputs.device)
            loop.inputs = blend(loop.inputs, self.order, self.share)

    def blended(self, loss: Loss) -> Loss:
        """Return a loss that weighs each example's own target and its partner's."""

        def mixed(outputs: Tensor, targets: Tensor) -> Tensor:
            partner = loss(outputs, targets[self.order])
            return self.share * loss(outputs, targets) + (1 - self.share) * partner

        return mixed
