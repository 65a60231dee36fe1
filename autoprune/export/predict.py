"""Classify files with an exported model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import BadInput
from autoprune.data.images import decode
from autoprune.export.base import PLAN
from autoprune.export.load import Array, load_predictor
from autoprune.export.plan import read_json


def predict_files(folder: Path | str, files: Sequence[Path | str]) -> list[dict[str, Any]]:
    """Classify images and ``.npy`` batches.

    Images are resized, cropped and made grey or RGB as the training images were, and their
    brightness is brought to the range of the training data. A ``.npy`` file holds raw inputs as
    the training data held them, ``(N, C, H, W)`` or one ``(C, H, W)``.

    Returns
    -------
    list of dict
        ``file``, ``index`` (in its batch), ``class``, ``class_index`` and ``probability`` in
        [0, 1], one per input in order.

    Raises
    ------
    VerificationError
        If the folder was tampered with.
    BadInput
        If a file is missing, is neither image nor ``.npy``, or does not fit the model.
    """
    folder = Path(folder)
    predict = load_predictor(folder)
    plan = read_json(folder / PLAN)
    rows = []
    for path in map(Path, files):
        probabilities = predict(_read(path, plan))
        rows += [
            {
                "file": str(path),
                "index": index,
                "class": plan["classes"][int(row.argmax())],
                "class_index": int(row.argmax()),
                "probability": float(row.max()),
            }
            for index, row in enumerate(probabilities)
        ]
    return rows


def _read(path: Path, plan: dict[str, Any]) -> Array:
    """Return a file's raw inputs, ``(N, C, H, W)``."""
    if not path.is_file():
        raise BadInput(str(path), "must be an image or a .npy file", remedy="there is no such file")
    shape = tuple(plan["input_shape"])
    batch = _read_npy(path, shape) if path.suffix == ".npy" else _read_image(path, shape, plan)
    if not np.isfinite(batch).all():
        raise BadInput(str(path), "must hold finite numbers only")
    return batch


def _read_npy(path: Path, shape: tuple[int, ...]) -> Array:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadInput(str(path), f"is not a plain .npy array: {error}") from error
    batch = array[None] if isinstance(array, np.ndarray) and array.shape == shape else array
    if (
        not isinstance(batch, np.ndarray)
        or batch.shape[1:] != shape
        or batch.dtype.kind not in "uifb"
        or len(batch) == 0
    ):
        sides = ", ".join(map(str, shape))
        raise BadInput(
            str(path),
            f"must hold numbers of shape (N, {sides}) or ({sides})",
            f"{getattr(array, 'dtype', '')} {getattr(array, 'shape', '')}".strip(),
        )
    return batch


def _read_image(path: Path, shape: tuple[int, ...], plan: dict[str, Any]) -> Array:
    square = len(shape) == 3 and shape[1] == shape[2]
    if not square or shape[0] not in {1, 3}:
        raise BadInput(
            str(path),
            f"must be a .npy file: the model's inputs {shape} are not square grey or RGB images",
        )
    pixels = decode(path, shape[1], shape[0])
    # Bytes become [0, 1], then the data set's own range: raw * scale lies in [0, 1].
    return pixels[None].astype(np.float32) / 255.0 / float(plan["preprocessing"]["scale"])
