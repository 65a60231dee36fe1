"""What a task file's data functions return, decoded."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from autoprune.core.errors import DataError, TaskError, few
from autoprune.core.seeds import global_stream
from autoprune.data.raw import Images, Labels, Part, RawData, balanced_order

FROZEN = (
    "{place} gives another image each time it is read; it is decoded once, "
    "so its random transforms are frozen"
)
UNSEEN = (
    "no training example of {names}: classes are numbered from 0 without gaps, and a model with "
    "an output for each of them never learns these"
)
NO_TEST = "no test_data(): the validation data is split in two halves, validation and test"


@dataclass(frozen=True)
class UserPart:
    """One decoded part, with the class names if its data set has them."""

    part: Part
    classes: tuple[str, ...] | None
    frozen: bool


def decode(place: str, value: Any) -> UserPart:
    """Decode a torch data set of (image, class number), or a pair of tensors or arrays.

    Floats are taken as they are; bytes and PIL images are normalised like any image data.

    Raises
    ------
    TaskError
        If it is neither.
    DataError
        If examples differ in shape, or labels are no whole numbers.
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return UserPart(Part(_images(value[0]), _labels(place, value[1])), None, frozen=False)
    if not hasattr(value, "__getitem__") or not hasattr(value, "__len__"):
        raise TaskError(
            place,
            "must return a torch data set with a length, or a pair (inputs, labels)",
            type(value).__name__,
        )
    with global_stream(0, "task data"):
        return _decode_dataset(place, value)


def _decode_dataset(place: str, dataset: Any) -> UserPart:
    images, labels = [], []
    for number in range(len(dataset)):
        image, label = dataset[number]
        images.append(_image(image))
        labels.append(operator.index(label))
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{place} input {number}",
                f"must have the first one's shape {images[0].shape}",
                images[-1].shape,
                "resize or crop in the data set's transform",
            )
    if not images:
        raise DataError(place, "must not be empty", remedy="give at least one example per class")
    names = getattr(dataset, "classes", None)
    frozen = not np.array_equal(_image(dataset[0][0]), images[0], equal_nan=True)
    part = Part(np.stack(images), np.array(labels, dtype=np.int64))
    return UserPart(part, None if names is None else tuple(map(str, names)), frozen)


def _image(image: Any) -> Images:
    """Turn a tensor, an array or a PIL image into ``(C, H, W)`` bytes or float32."""
    if hasattr(image, "getbands"):
        pixels = np.asarray(image if image.mode in {"L", "RGB"} else image.convert("RGB"))
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return _images(image)


def _images(values: Any) -> Images:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    array = np.asarray(array)
    return array if array.dtype == np.uint8 else array.astype(np.float32)


def _labels(place: str, values: Any) -> Labels:
    array = np.asarray(values.cpu() if isinstance(values, torch.Tensor) else values)
    if array.dtype.kind not in "iub" or array.ndim != 1:
        raise DataError(
            f"{place} labels", "must be one whole number per input", f"{array.dtype}{array.shape}"
        )
    return array.astype(np.int64)


def user_raw(train: Any, val: Any, test: Any | None) -> RawData:
    """Decode what ``train_data()``, ``val_data()`` and ``test_data()`` returned.

    The class names come from the training data set; without any, one name per number up to the
    greatest label.
    """
    parts = {"train_data()": decode("train_data()", train), "val_data()": decode("val_data()", val)}
    if test is not None:
        parts["test_data()"] = decode("test_data()", test)
    warnings = [FROZEN.format(place=place) for place, found in parts.items() if found.frozen]
    kept = [found.part for found in parts.values()]
    if test is None:
        warnings.append(NO_TEST)
        order = balanced_order(kept[1].labels)
        half = len(order) // 2
        kept[1:] = [kept[1].take(order[half:]), kept[1].take(order[:half])]
    highest = max((int(part.labels.max()) for part in kept if len(part.labels)), default=0)
    names = parts["train_data()"].classes
    seen = set(kept[0].labels.tolist())
    if unseen := [f"class {k}" for k in range(highest + 1) if k not in seen]:
        warnings.append(UNSEEN.format(names=few(unseen)))
    is_bytes = kept[0].images.dtype == np.uint8  # type: ignore[union-attr] # decoded above
    return RawData(
        train=kept[0],
        val=kept[1],
        test=kept[2],
        classes=names or tuple(map(str, range(highest + 1))),
        scale=1.0 / 255.0 if is_bytes else 1.0,
        normalise=is_bytes,
        classes_guessed=not names,
        warnings=tuple(warnings),
    )
