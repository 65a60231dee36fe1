"""Distillation: the dense net teaches the sparse one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.errors import ConfigError
from autoprune.training.events import Event, LoopState, Loss
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="distill",
    reference="Hinton et al., arXiv 1503.02531",
    description="pulls the outputs towards the dense net's; costs one more forward pass per step",
    space={"distill": [0.0, 0.5], "distill_temperature": 4.0},
)


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return ``T^2 * KL(softmax(teacher / T) || softmax(student / T))``, mean over the batch.

    Parameters
    ----------
    student, teacher : Tensor ``(B, K)``
        Logits.
    temperature : float
        Softness T, > 0. The factor ``T^2`` keeps the gradient's size independent of it.
    """
    divergence = functional.kl_div(
        functional.log_softmax(student.float() / temperature, dim=1),
        functional.log_softmax(teacher.float() / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return temperature**2 * divergence


class Distill:
    """Replaces the loss by ``(1 - weight) * loss + weight * distillation loss``.

    Parameters
    ----------
    weight : float
        Share of the distillation loss, in (0, 1].
    temperature : float
        Softness of both nets' probabilities, > 0.

    Notes
    -----
    The teacher sees the inputs the student sees, mixup and cutout included.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals, J. Dean, "Distilling the Knowledge in a Neural Network",
       arXiv 1503.02531.
    """

    def __init__(self, weight: float, temperature: float) -> None:
        self.weight, self.temperature = weight, temperature

    def on(self, event: Event, loop: LoopState) -> None:
        """Wrap the loss when the fit starts."""
        if event is Event.FIT_START:
            if loop.teacher is None:
                raise ConfigError("recipe.distill", "needs a dense net to learn from", self.weight)
            loop.loss_fn = self.taught(loop.loss_fn, loop, loop.teacher)

    def taught(self, loss: Loss, loop: LoopState, teacher: nn.Module) -> Loss:
        """Return a loss that asks the teacher about the loop's inputs too."""

        def both(outputs: Tensor, targets: Tensor) -> Tensor:
            with torch.no_grad():
                soft = teacher(loop.inputs)
            apart = distillation_loss(outputs, soft, self.temperature)
            return (1 - self.weight) * loss(outputs, targets) + self.weight * apart

        return both
