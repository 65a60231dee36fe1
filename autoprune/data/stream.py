"""Splits too large for memory: files are decoded batch by batch, by processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from autoprune.data.augment import random_crop_flip
from autoprune.data.base import Normalisation
from autoprune.data.images import decode
from autoprune.data.raw import ImageFiles


class _Files(Dataset[Tensor]):
    """Decodes one file at a time."""

    def __init__(self, files: ImageFiles) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        pixels = decode(self.files.paths[number], self.files.size, self.files.channels)
        return torch.tensor(pixels)


@dataclass(frozen=True)
class StreamSplit:
    """A split that is decoded as it is read; see `data.base.Split`.

    Augmentation happens on the device, for the whole batch, from the caller's generator: what a
    loader process draws would depend on how many there are.
    """

    files: ImageFiles
    targets: Tensor
    normalisation: Normalisation
    augmentation: str = "none"

    @property
    def size(self) -> int:
        """Number of examples."""
        return len(self.files)

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        augment: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """See `Split.batches`."""
        index = torch.arange(self.size) if order is None else order.cpu()
        parts = torch.split(index, batch_size)
        device = self.targets.device
        loader = DataLoader(
            _Files(self.files),
            batch_sampler=[part.tolist() for part in parts],
            num_workers=torch.get_num_threads(),
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # its own, so that the global one is left alone
        )
        for raw, part in zip(loader, parts, strict=True):
            inputs = self.normalisation(raw.to(device, non_blocking=True))
            if augment is not None and self.augmentation == "crop_flip":
                inputs = random_crop_flip(inputs, self.normalisation.black, augment)
            yield inputs, self.targets[part.to(device)]
