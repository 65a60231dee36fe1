"""A loop over synthetic data, small enough to reason about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.core.config import OptimizerConfig
from autoprune.core.seeds import global_stream, torch_stream
from autoprune.training.events import LoopState
from autoprune.training.recipes.optimizer import build_optimizer


@dataclass
class TensorSplit:
    """Forty points of two classes."""

    inputs: Tensor
    targets: Tensor

    @property
    def size(self) -> int:
        return len(self.targets)

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        augment: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(self.size) if order is None else order
        for part in order.split(batch_size):
            yield self.inputs[part], self.targets[part]


def split() -> TensorSplit:
    inputs = torch.randn(40, 6, generator=torch_stream(0, "inputs"))
    return TensorSplit(inputs, (inputs[:, 0] > 0).long())


def net() -> nn.Module:
    with global_stream(0, "net"):
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))


def loop(
    masks: dict[str, Tensor] | None = None, num_steps: int = 20, optimizer: str = "sgd"
) -> LoopState:
    model = net()
    config = OptimizerConfig(optimizer=optimizer, weight_decay=0.01)
    return LoopState(
        model=model,
        optimizer=build_optimizer(model.named_parameters(), config),
        parameters=dict(model.named_parameters()),
        masks=masks or {},
        loss_fn=nn.functional.cross_entropy,
        seed=0,
        num_steps=num_steps,
        steps_per_epoch=5,
    )
