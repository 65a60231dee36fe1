"""The optimiser: SGD with Nesterov momentum, or AdamW."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from autoprune.core.config import OptimizerConfig
from autoprune.training.recipes.base import Recipe

RECIPE = Recipe(
    name="optimizer",
    reference="Sutskever et al., ICML 2013; Loshchilov & Hutter, ICLR 2019, arXiv 1711.05101",
    description="optimiser, momentum, weight decay and batch size of the retraining, where they "
    "shall differ from the dense run's; AdamW wants far lower learning rates",
    space={"weight_decay": {"low": 1e-5, "high": 1e-3, "log": True}},
)


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Build the optimiser; the learning rate is set at every step.

    Parameters
    ----------
    named_parameters : iterable of (str, Parameter)
        What ``model.named_parameters()`` gives; frozen parameters are left out.
    config : OptimizerConfig
        Its settings.

    Returns
    -------
    torch.optim.Optimizer
        Two groups: tensors of two dimensions or more, with weight decay, and biases and norm
        parameters, without.

    Notes
    -----
    The fused kernels: on one CPU thread a step of a 784-300-100-10 net takes a third of the time
    of the foreach ones (SGD 54 against 153 microseconds, AdamW 125 against 323).
    """
    values = [value for _, value in named_parameters if value.requires_grad]
    groups = [
        {"params": [v for v in values if v.dim() >= 2], "weight_decay": config.weight_decay},
        {"params": [v for v in values if v.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=True)
    # Without momentum Nesterov's form is plain SGD, which torch wants spelt out.
    nesterov = config.nesterov and config.momentum > 0
    return torch.optim.SGD(groups, momentum=config.momentum, nesterov=nesterov, fused=True)
