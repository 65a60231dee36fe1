from __future__ import annotations

import gzip
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def idx_bytes(array: np.ndarray) -> bytes:
    """Write an array as an idx file of unsigned bytes: 0, 0, 8, dimensions, sizes, data."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    """Sixty training and ten test images of 8x8, every second file gzipped."""
    random = np.random.default_rng(0)
    for stem, count in (("train", 60), ("t10k", 10)):
        images = random.integers(0, 256, (count, 8, 8), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        content = gzip.compress(idx_bytes(labels))
        (tmp_path / f"{stem}-labels-idx1-ubyte.gz").write_bytes(content)
    return tmp_path


@pytest.fixture
def cifar_folder(tmp_path: Path) -> Path:
    """A CIFAR-10 of five batches of 8 images and a test batch of 10, as its authors wrote them."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    random = np.random.default_rng(1)
    sizes = {**{f"data_batch_{n}": 8 for n in range(1, 6)}, "test_batch": 10}
    for name, count in sizes.items():
        batch = {
            b"data": random.integers(0, 256, (count, 3072), dtype=np.uint8),
            b"labels": [n % 10 for n in range(count)],
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    meta = {b"label_names": [f"class {n}".encode() for n in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    return tmp_path


@pytest.fixture
def image_root(tmp_path: Path) -> Callable[..., Path]:
    """Make ``root/part/class/n.png``: class k of any part is filled with grey 40 (k + 1)."""

    def make(parts: dict[str, int], size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Path:
        for part, count in parts.items():
            for number, name in enumerate(("cat", "dog")):
                folder = tmp_path / part / name
                folder.mkdir(parents=True)
                for n in range(count):
                    value = 40 * (number + 1)
                    colour = value if mode == "L" else (value, value, value)
                    Image.new(mode, size, colour).save(folder / f"{n:03}.png")
        return tmp_path

    return make
