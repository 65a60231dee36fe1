"""Splits that live in one tensor: a batch is one `index_select`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from autoprune.data.augment import random_crop_flip
from autoprune.data.base import Normalisation


@dataclass(frozen=True)
class TensorSplit:
    """A split in memory: normalised float32 when `normalisation` is None, else raw bytes."""

    inputs: Tensor
    targets: Tensor
    black: Tensor
    augmentation: str = "none"
    normalisation: Normalisation | None = None

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.targets)

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        augment: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.batches`."""
        if order is not None:
            order = order.to(self.inputs.device)
        for start in range(0, self.size if order is None else len(order), batch_size):
            if order is None:
                inputs = self.inputs[start : start + batch_size]
                targets = self.targets[start : start + batch_size]
            else:
                index = order[start : start + batch_size]
                inputs = self.inputs.index_select(0, index)
                targets = self.targets.index_select(0, index)
            yield self.finish(inputs, augment), targets

    def finish(self, inputs: Tensor, augment: torch.Generator | None) -> Tensor:
        """Normalise raw bytes, and augment where asked to."""
        if self.normalisation is not None:
            inputs = self.normalisation(inputs)
        if augment is not None and self.augmentation == "crop_flip":
            inputs = random_crop_flip(inputs, self.black, augment)
        return inputs
