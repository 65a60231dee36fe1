"""An epoch of lenet300 on Fashion-MNIST: our loop, a bare tensor loop, a DataLoader loop."""

from __future__ import annotations

import copy
import os
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from autoprune.core.errors import DataError
from autoprune.data.registry import DATA
from autoprune.data.tensors import TensorSplit
from autoprune.models.build import build_model
from benchmarks.common import Row, in_turns, ratio, train

BATCH = 128
LIMIT_BARE, LIMIT_LOADER = 1.15, 0.25


def measure(quick: bool = False) -> list[Row]:
    """Time whole epochs over the same images in turns."""
    images, labels, real = _images(256 if quick else None)
    split = _normalised(images, labels)
    model = build_model("lenet300", 10, (1, 28, 28))
    workers = 0 if quick else len(os.sched_getaffinity(0))
    loader = DataLoader(
        _Pictures(images, labels), BATCH, shuffle=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip
    ours = partial(train, copy.deepcopy(model), split, BATCH)
    bare = partial(bare_epoch, copy.deepcopy(model), split.inputs, split.targets)
    # In turns of their own: the loader's processes stay alive and would burden whoever is next.
    lean = in_turns({"bare": bare, "ours": ours}, 2 if quick else 7)
    laden = in_turns(
        {"ours": ours, "loader": partial(loader_epoch, copy.deepcopy(model), loader)},
        2 if quick else 5,
    )
    what = "Fashion-MNIST" if real else "noise"
    return [
        ratio(f"epoch / bare tensor loop, {what}", lean, "ours", "bare", LIMIT_BARE),
        ratio(f"epoch / torchvision DataLoader, {what}", laden, "ours", "loader", LIMIT_LOADER),
    ]


def bare_epoch(model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    """Train one epoch in as few lines as it takes."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    for start in range(0, len(inputs), BATCH):
        index = order[start : start + BATCH]
        loss = nn.functional.cross_entropy(model(inputs[index]), targets[index])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def loader_epoch(model: nn.Module, loader: DataLoader[tuple[Tensor, int]]) -> None:
    """Train one epoch as tutorials do."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    for inputs, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()


class _Pictures(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's MNIST hands them out: one PIL image at a time, transformed."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.transform = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.286,), (0.353,))]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index, 0], mode="L")
        return self.transform(image), int(self.labels[index])


def _images(size: int | None) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return Fashion-MNIST's training images, or noise of their size where it is not found."""
    try:
        part = DATA.get("fashion_mnist").load(None).train
        return np.array(part.images[:size]), np.array(part.labels[:size]), True  # writable copies
    except DataError:
        stream = np.random.default_rng(0)
        count = size or 60_000
        images = stream.integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
        return images, np.arange(count) % 10, False


def _normalised(images: np.ndarray, labels: np.ndarray) -> TensorSplit:
    inputs = (torch.from_numpy(images).float() / 255.0 - 0.286) / 0.353
    return TensorSplit(inputs, torch.from_numpy(labels), torch.zeros(1, 1, 1))
