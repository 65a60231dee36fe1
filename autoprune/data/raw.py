"""Decoded data before it is split and normalised, and how it is split. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoprune.core.errors import DataError
from autoprune.core.seeds import numpy_stream

Augmentation = Literal["none", "crop_flip"]
Images = NDArray[Any]
Labels = NDArray[np.int64]

LIMIT_BYTES = 2 << 30
"""Up to here a split is decoded to float32; up to here as bytes; above, it streams."""


@dataclass(frozen=True)
class ImageFiles:
    """Image files that are too many to decode at once.

    Parameters
    ----------
    paths : tuple of Path
        One file per image.
    size, channels : int
        Side in pixels they are resized and cropped to; 1 (grey) or 3 (RGB).
    """

    paths: tuple[Path, ...]
    size: int
    channels: int

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape ``(N, C, H, W)`` that decoding everything would give."""
        return (len(self.paths), self.channels, self.size, self.size)


@dataclass(frozen=True)
class Part:
    """Images and labels of one part of a data set.

    Parameters
    ----------
    images : ndarray ``(N, C, H, W)``, uint8 or float, or ImageFiles
        Raw pixels.
    labels : ndarray ``(N,)`` of int64
        Class numbers from 0.
    """

    images: Images | ImageFiles
    labels: Labels

    def take(self, index: NDArray[np.int64]) -> Part:
        """Return the named examples, in that order."""
        if isinstance(self.images, ImageFiles):
            paths = tuple(self.images.paths[i] for i in index)
            files = ImageFiles(paths, self.images.size, self.images.channels)
            return Part(files, self.labels[index])
        return Part(self.images[index], self.labels[index])


@dataclass(frozen=True)
class RawData:
    """A data set as its files hold it.

    Parameters
    ----------
    train, val, test : Part or None
        What the files hold; a missing part is split off.
    num_val, num_test : int
        How many of the training examples a missing part takes.
    scale : float
        Factor that brings raw pixels to [0, 1].
    normalise : bool
        Subtract the training split's mean and divide by its deviation, channel by channel.
    augmentation : str
        What training does to its images by default.
    classes_guessed : bool
        The class names are only the labels that occur; the model's output may know better.
    """

    train: Part
    classes: tuple[str, ...]
    val: Part | None = None
    test: Part | None = None
    num_val: int = 0
    num_test: int = 0
    scale: float = 1.0 / 255.0
    normalise: bool = True
    augmentation: Augmentation = "none"
    classes_guessed: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSource:
    """A registered data set.

    Parameters
    ----------
    reference : str
        Where it comes from.
    remedy : str
        How to get it, for the message when it is not there.
    load : callable
        From the only folder to look in (None: the default places) to the data.
    where : callable or None
        From the same to the folder that holds the files, without reading them; None for data
        that needs no files of its own.
    """

    reference: str
    remedy: str
    load: Callable[[Path | None], RawData] = field(repr=False)
    kind: str = "images"
    where: Callable[[Path | None], Path] | None = field(default=None, repr=False)


def balanced_order(labels: Labels, seed: int = 0) -> NDArray[np.int64]:
    """Shuffle so that every beginning, and every end, holds the classes in proportion.

    The j-th of a class's ``n`` shuffled examples stands at ``(j + 1/2) / n`` of the way.

    Parameters
    ----------
    labels : ndarray ``(N,)``
        Class numbers.
    seed : int
        Root of the shuffle; 0 for every split, whatever a replicate's seed is.

    Returns
    -------
    ndarray ``(N,)`` of int64
        A permutation.
    """
    random = numpy_stream(seed, "split")
    shuffled = random.permutation(len(labels))
    place = np.empty(len(labels))
    for number in np.unique(labels):
        own = shuffled[labels[shuffled] == number]
        place[own] = (np.arange(len(own)) + 0.5) / len(own)
    # Tie-break: the shuffled order, so that small classes do not go by class number.
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def split(raw: RawData, train_size: int | None) -> tuple[Part, Part, Part]:
    """Return train, val and test; what the files do not hold comes off the training part's end.

    Raises
    ------
    DataError
        If the training part is too small to be split.
    """
    order = balanced_order(raw.train.labels)
    num_val = 0 if raw.val else raw.num_val
    num_test = 0 if raw.test else raw.num_test
    num_train = len(order) - num_val - num_test
    if num_train < 1 or not (raw.val or num_val) or not (raw.test or num_test):
        raise DataError(
            "training data", "is too small to split off validation and test data", len(order)
        )
    val = raw.val or raw.train.take(order[num_train : num_train + num_val])
    test = raw.test or raw.train.take(order[num_train + num_val :])
    if train_size is not None and train_size > num_train:
        raise DataError("task.train_size", f"must be at most {num_train} here", train_size)
    return raw.train.take(order[:num_train][:train_size]), val, test


def check_part(place: str, part: Part, num_classes: int) -> None:
    """Check one part: not empty, equally many labels, labels in range, inputs finite.

    Raises
    ------
    DataError
        With the part's name, the rule and the first value that breaks it.
    """
    if len(part.labels) == 0 or len(part.images) == 0:
        raise DataError(place, "must not be empty", remedy="give at least one example per class")
    if len(part.images.shape) < 2:
        raise DataError(f"{place} inputs", "must have a shape of their own", part.images.shape)
    if len(part.images) != len(part.labels):
        raise DataError(
            place,
            "must hold as many labels as inputs",
            f"{len(part.images)} inputs, {len(part.labels)} labels",
        )
    bad = part.labels[(part.labels < 0) | (part.labels >= num_classes)]
    if len(bad):
        raise DataError(
            f"{place} labels",
            f"must lie in [0, {num_classes})",
            int(bad[0]),
            "number the classes from 0 without gaps",
        )
    if not isinstance(part.images, ImageFiles) and part.images.dtype.kind == "f":
        _check_finite(place, part.images)


def _check_finite(place: str, images: Images) -> None:
    if np.isfinite(images).all():
        return
    number = int(np.argmax(~np.isfinite(images).reshape(len(images), -1).all(axis=1)))
    bad = images[number][~np.isfinite(images[number])]
    raise DataError(
        f"{place} input {number}", "must be finite", float(bad.flat[0]), "remove or repair it"
    )


def check(name: str, raw: RawData) -> None:
    """Check every part of a data set, and that there is something to tell apart.

    Raises
    ------
    DataError
        For the first rule that is broken.
    """
    parts: Sequence[tuple[str, Part | None]] = (
        ("training", raw.train),
        ("validation", raw.val),
        ("test", raw.test),
    )
    for label, part in parts:
        if part is not None:
            check_part(f"{name} {label} data", part, len(raw.classes))
    if len(np.unique(raw.train.labels)) < 2:
        raise DataError(
            f"{name} training data",
            "must hold at least two classes",
            len(np.unique(raw.train.labels)),
            "a network cannot learn to tell one class from nothing",
        )
