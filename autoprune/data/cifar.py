"""CIFAR-10 and CIFAR-100 from their Python version, or as parquet."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data import parquet
from autoprune.data.places import find
from autoprune.data.raw import DataSource, Part, RawData

ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),  # how Python 3 writes bytes in the old protocols
}
FOLDERS = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"}
FILES = {
    "cifar10": ([f"data_batch_{n}" for n in range(1, 6)], "test_batch", "batches.meta"),
    "cifar100": (["train"], "test", "meta"),
}
KEYS = {"cifar10": (b"labels", b"label_names"), "cifar100": (b"fine_labels", b"fine_label_names")}
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""CIFAR-10's classes, for parquet files that do not hold them."""
REMEDY = (
    "unpack the Python version from cs.toronto.edu/~kriz/cifar.html into a folder, or put "
    "train.parquet and test.parquet there, and give the folder as --data-dir"
)


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that makes arrays, bytes and containers, and runs nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted")
        return super().find_class(module, name)


def read_batch(path: Path) -> dict[bytes, Any]:
    """Read one of CIFAR's pickled dictionaries; nothing in it is run.

    Raises
    ------
    DataError
        If it is broken, or holds anything but arrays, bytes and containers.
    """
    try:
        value = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            str(path), f"must be a CIFAR file of arrays and nothing else: {error}", remedy=REMEDY
        ) from error
    if not isinstance(value, dict):
        raise DataError(str(path), "must hold a dictionary", type(value).__name__, REMEDY)
    return value


def _part(name: str, folder: Path, files: list[str]) -> Part:
    batches = [read_batch(folder / file) for file in files]
    try:
        pixels = np.concatenate([batch[b"data"] for batch in batches])
        labels = np.concatenate([batch[KEYS[name][0]] for batch in batches])
        return Part(pixels.reshape(-1, 3, 32, 32), labels.astype(np.int64))
    except (KeyError, ValueError, TypeError) as error:
        raise DataError(str(folder), f"is not {name}: {error!r}", remedy=REMEDY) from error


def _pickled(folder: Path, name: str) -> bool:
    train, test, meta = FILES[name]
    return all((folder / file).is_file() for file in [*train, test, meta])


def where(data_dir: Path | None, name: str) -> Path:
    """Return the folder that has the files, in either form."""

    def holds(folder: Path) -> bool:
        return _pickled(folder, name) or parquet.holds(folder)

    return find(name, data_dir, [FOLDERS[name]], holds, REMEDY)


def load(data_dir: Path | None, name: str) -> RawData:
    """Load CIFAR; a tenth of training (5,000 of 50,000) validates."""
    train, test, meta = FILES[name]
    folder = where(data_dir, name)
    if not _pickled(folder, name):
        raw = parquet.read(folder)
        return replace(raw, classes=NAMES) if name == "cifar10" else raw
    part = _part(name, folder, train)
    names = read_batch(folder / meta)[KEYS[name][1]]
    return RawData(
        train=part,
        test=_part(name, folder, [test]),
        classes=tuple(label.decode() for label in names),
        num_val=round(len(part.labels) / 10),
        augmentation="crop_flip",
    )


REFERENCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
CIFAR10 = DataSource(
    REFERENCE, REMEDY, partial(load, name="cifar10"), where=partial(where, name="cifar10")
)
CIFAR100 = DataSource(
    REFERENCE, REMEDY, partial(load, name="cifar100"), where=partial(where, name="cifar100")
)
