"""Fashion-MNIST, and anything else in MNIST's idx files."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data.places import find
from autoprune.data.raw import DataSource, Images, Part, RawData

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
REMEDY = (
    "install the Debian package dataset-fashion-mnist, or put the four idx files (gz or not) of "
    "github.com/zalandoresearch/fashion-mnist into a folder and give it as --data-dir"
)
DEBIAN = "/usr/share/datasets/fashion-mnist"
_UNSIGNED_BYTE = 8


def _file(folder: Path, stem: str) -> Path | None:
    names = (stem, f"{stem}.gz", stem.replace("-idx", ".idx"), stem.replace("-idx", ".idx") + ".gz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def read_idx(path: Path) -> Images:
    """Read an idx file of unsigned bytes, gzipped or not.

    Raises
    ------
    DataError
        If the file is truncated or is no such file.
    """
    try:
        data = path.read_bytes()
        content = gzip.decompress(data) if path.suffix == ".gz" else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(str(path), f"cannot be read: {error}", remedy="get it again") from error
    num_dims = content[3] if len(content) >= 4 else 0
    shape = tuple(int(n) for n in np.frombuffer(content[4 : 4 + 4 * num_dims], dtype=">u4"))
    start = 4 + 4 * num_dims
    if content[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or len(content) != start + math.prod(shape):
        raise DataError(
            str(path), "must be a whole idx file of unsigned bytes", remedy="get it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _part(folder: Path, stem: str) -> Part:
    images, labels = (
        _file(folder, f"{stem}-images-idx3-ubyte"),
        _file(folder, f"{stem}-labels-idx1-ubyte"),
    )
    assert images is not None
    assert labels is not None
    return Part(read_idx(images)[:, None], read_idx(labels).astype(np.int64))


def holds(folder: Path) -> bool:
    """Return whether a folder has all four files."""
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return all(_file(folder, f"{stem}-ubyte") for stem in stems)


def where(data_dir: Path | None) -> Path:
    """Return the folder that has the files."""
    return find("fashion_mnist", data_dir, ["FashionMNIST/raw"], holds, REMEDY, [DEBIAN])


def load(data_dir: Path | None) -> RawData:
    """Load the training and test files; a twelfth of training (5,000 of 60,000) validates."""
    folder = where(data_dir)
    train = _part(folder, "train")
    return RawData(
        train=train,
        test=_part(folder, "t10k"),
        classes=CLASSES,
        num_val=round(len(train.labels) / 12),
    )


SOURCE = DataSource(
    reference="Xiao, Rasul, Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747",
    remedy=REMEDY,
    load=load,
    where=where,
)
