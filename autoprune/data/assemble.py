"""From raw data to the splits of a task: split, measure, normalise, fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoprune.core.canonical import canonical_json, file_sha256
from autoprune.core.errors import DataError
from autoprune.data.base import Normalisation, Split, TaskData
from autoprune.data.noise import CLEAN, LabelNoise
from autoprune.data.raw import (
    LIMIT_BYTES,
    ImageFiles,
    Images,
    Part,
    RawData,
    check,
    split,
)
from autoprune.data.registry import DATA
from autoprune.data.tensors import TensorSplit

MEASURED_FILES = 1024
"""Streams measure mean and deviation on so many training images."""


def load_data(
    name: str,
    data_dir: str | None = None,
    train_size: int | None = None,
    augment: str = "auto",
    device: str = "cpu",
    noise: LabelNoise = CLEAN,
) -> TaskData:
    """Load a registered data set from local files.

    Raises
    ------
    UnknownNameError
        If no data set has that name.
    DataError
        If it is not there, or breaks a rule.
    """
    raw = DATA.get(name, "task.data").load(Path(data_dir) if data_dir else None)
    return assemble(name, raw, train_size, augment, device, noise)


def assemble(
    name: str,
    raw: RawData,
    train_size: int | None = None,
    augment: str = "auto",
    device: str = "cpu",
    noise: LabelNoise = CLEAN,
) -> TaskData:
    """Check raw data and turn it into a task's splits.

    Parameters
    ----------
    train_size : int or None
        Keep the first so many of the balanced training order; val and test stay whole.
    augment : str
        ``"auto"`` (what the data set usually does in training) or ``"none"``.
    noise : LabelNoise
        Falsifies the labels of what the training part keeps; val and test stay as they are.
    """
    check(name, raw)
    parts = dict(zip(("train", "val", "test"), split(raw, train_size), strict=True))
    parts["train"] = noise.apply(parts["train"], len(raw.classes))
    for label, part in parts.items():
        if part.images.shape[1:] != parts["train"].images.shape[1:]:
            raise DataError(f"{name} {label} data", "must have one shape", part.images.shape[1:])
    # Mean and deviation come from all training images, so that train_size does not move them.
    normalisation, preprocessing = _preprocessing(raw, split(raw, None)[0])
    preprocessing["augmentation"] = "none" if augment == "none" else raw.augmentation
    splits = {
        label: _to_split(part, normalisation, preprocessing["augmentation"], device)
        for label, part in parts.items()
    }
    return TaskData(
        **splits,
        num_classes=len(raw.classes),
        input_shape=tuple(parts["train"].images.shape[1:]),
        classes=list(raw.classes),
        preprocessing=preprocessing,
        fingerprint=_fingerprint(parts, preprocessing),
        warnings=raw.warnings,
    )


def _preprocessing(raw: RawData, train: Part) -> tuple[Normalisation, dict[str, Any]]:
    """Measure the training split, or normalise nothing."""
    num_channels = train.images.shape[1]
    mean, std = np.zeros(num_channels), np.ones(num_channels)
    if raw.normalise:
        mean, std = _moments(_sample(train.images))
        mean, std = mean * raw.scale, std * raw.scale
    # Rounded so that what a consumer reads in JSON is what the network saw.
    means, stds = [[round(float(v), 4) for v in values] for values in (mean, std)]
    stds = [v or 1.0 for v in stds]
    content = {
        "scale": raw.scale,
        "mean": means,
        "std": stds,
        "size": list(train.images.shape[2:]),
        "channels": num_channels,
    }
    shape = (-1, *[1] * (len(train.images.shape) - 2))
    tensors = [torch.tensor(v, dtype=torch.float32).reshape(shape) for v in (means, stds)]
    return Normalisation(raw.scale, *tensors), content


def _sample(images: Images | ImageFiles) -> Images:
    """Return the images to measure: all that are decoded, the first of a stream."""
    if isinstance(images, ImageFiles):
        from autoprune.data.images import decode_all

        return decode_all(images.paths[:MEASURED_FILES], images.size, images.channels)
    return images


def _moments(images: Images) -> tuple[Any, Any]:
    """Mean and deviation per channel, exact for bytes: by counting values."""
    means, stds = [], []
    for channel in range(images.shape[1]):
        pixels = images[:, channel]
        if pixels.dtype == np.uint8:
            counts = np.bincount(pixels.ravel(), minlength=256)
            mean = float(counts @ np.arange(256)) / pixels.size
            variance = float(counts @ (np.arange(256) - mean) ** 2) / pixels.size
            std = variance**0.5
        else:
            mean, std = float(pixels.mean(dtype=np.float64)), float(pixels.std(dtype=np.float64))
        means.append(mean)
        stds.append(std)
    return np.array(means), np.array(stds)


def _to_split(part: Part, normalisation: Normalisation, augmentation: str, device: str) -> Split:
    """Put a part on the device, in the form that fits."""
    moved = Normalisation(
        normalisation.scale, normalisation.mean.to(device), normalisation.std.to(device)
    )
    targets = torch.from_numpy(np.require(part.labels, requirements=("C", "W"))).to(device)
    if isinstance(part.images, ImageFiles):
        from autoprune.data.stream import StreamSplit

        return StreamSplit(part.images, targets, moved, augmentation)
    pixels = torch.from_numpy(np.require(part.images, requirements=("C", "W"))).to(device)
    if pixels.numel() * 4 > LIMIT_BYTES:
        return TensorSplit(pixels, targets, moved.black, augmentation, moved)
    return TensorSplit(moved(pixels), targets, moved.black, augmentation)


def _fingerprint(parts: dict[str, Part], preprocessing: dict[str, Any]) -> str:
    """Hash every split's bytes, sizes and preprocessing."""
    state = hashlib.sha256()
    for label, part in parts.items():
        state.update(f"{label} {part.images.shape}".encode())
        if isinstance(part.images, ImageFiles):
            for path in part.images.paths:
                state.update(f"{path.name} {path.stat().st_size} {file_sha256(path)}".encode())
        else:
            state.update(np.ascontiguousarray(part.images).data)
        state.update(np.ascontiguousarray(part.labels).data)
    state.update(canonical_json(preprocessing).encode())
    return state.hexdigest()
