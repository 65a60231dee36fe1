"""What signals are gathered from: data and a loss, seen from below the training layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from autoprune.core.seeds import torch_stream

if TYPE_CHECKING:
    from autoprune.data.base import Split


class ScoringData(Protocol):
    """The part of a task's data that scores may see."""

    @property
    def train(self) -> Split:
        """The training split."""
        ...


class Scorable(Protocol):
    """The part of a task that scores may see."""

    @property
    def data(self) -> ScoringData:
        """The data."""
        ...

    @property
    def loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        """Outputs and targets to the mean loss of a batch."""
        ...


def scoring_batches(
    task: Scorable, seed: int, num_images: int, batch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield training images without augmentation, drawn by the stream ``score``, and targets."""
    train = task.data.train
    order = torch.randperm(train.size, generator=torch_stream(seed, "score"))[:num_images]
    yield from train.batches(batch, order=order)


def balanced_sample(targets: Tensor, per_class: int, seed: int) -> Tensor:
    """Draw the same number of examples of every class, or all of a class that has fewer.

    Parameters
    ----------
    targets : Tensor ``(N,)``
        Class numbers.
    per_class : int
        Examples per class, >= 1.
    seed : int
        Root of the stream ``score``.

    Returns
    -------
    Tensor
        int64 positions in `targets`, class by class.
    """
    targets = targets.cpu()
    order = torch.randperm(len(targets), generator=torch_stream(seed, "score"))
    shuffled = targets[order]
    return torch.cat([order[shuffled == label][:per_class] for label in torch.unique(targets)])
