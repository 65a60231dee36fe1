"""Accuracy and loss of a model on a split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from autoprune.data.base import Split
from autoprune.metrics.macs import inference


class Measure(Protocol):
    """The part of a task that evaluation needs."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        ...

    def num_correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how many of a batch are right."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """How a model does on a split.

    Parameters
    ----------
    correct : float
        Right answers (a whole number unless the task file brings its own metric).
    total : int
        Examples.
    loss : float
        Mean loss per example; NaN or infinite where the model's outputs are.
    """

    correct: float
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        """Fraction of right answers, in [0, 1]."""
        return self.correct / self.total


def evaluate(model: nn.Module, split: Split, task: Measure, batch_size: int = 1024) -> Evaluation:
    """Evaluate a model in eval mode without gradients; its mode is put back.

    Parameters
    ----------
    model : nn.Module
        On the split's device.
    batch_size : int
        Inputs per forward pass, >= 1.
    """
    correct = torch.zeros((), dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64)
    with inference(model):
        for inputs, targets in split.batches(batch_size):
            outputs = model(inputs)
            correct = task.num_correct(outputs, targets).double() + correct.to(outputs.device)
            loss = task.loss(outputs, targets).double() * len(targets) + loss.to(outputs.device)
    return Evaluation(correct.item(), split.size, loss.item() / split.size)
