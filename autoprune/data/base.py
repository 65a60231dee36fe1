"""What a task's data is to the rest of the program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


class Split(Protocol):
    """One of train, val and test."""

    @property
    def size(self) -> int:
        """Number of examples."""
        ...

    @property
    def targets(self) -> Tensor:
        """Class numbers ``(N,)``, int64, on the task's device."""
        ...

    def batches(
        self,
        batch_size: int,
        *,
        order: Tensor | None = None,
        augment: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised float32 inputs ``(B, C, H, W)`` and targets ``(B,)`` on the device.

        Parameters
        ----------
        batch_size : int
            Examples per batch; the last may hold fewer.
        order : Tensor ``(M,)`` of int64, optional
            Which examples, in which order; in order when left out.
        augment : torch.Generator, optional
            Augment as the task's training does, drawing from this generator only.
        """
        ...


@dataclass(frozen=True)
class Normalisation:
    """``(raw * scale - mean) / std`` channel by channel."""

    scale: float
    mean: Tensor
    std: Tensor

    def __call__(self, raw: Tensor) -> Tensor:
        """Normalise a batch of raw pixels ``(B, C, H, W)`` to float32."""
        return (raw.float() * self.scale - self.mean) / self.std

    @property
    def black(self) -> Tensor:
        """What a raw 0 becomes, ``(C, 1, 1)``: the colour that a crop is padded with."""
        return -self.mean / self.std


@dataclass(frozen=True)
class TaskData:
    """A task's data, split, checked and ready.

    Parameters
    ----------
    preprocessing : dict
        JSON: what a consumer does with raw pixels, ``(raw * scale - mean) / std`` per channel of
        a ``size`` image, and what training did on top (``augmentation``).
    fingerprint : str
        sha256 over every split's bytes, sizes and preprocessing.
    """

    train: Split
    val: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, ...]
    classes: list[str]
    preprocessing: dict[str, Any]
    fingerprint: str
    warnings: tuple[str, ...] = field(default=())
