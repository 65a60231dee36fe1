from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from autoprune.core.errors import DataError
from autoprune.data.assemble import load_data
from autoprune.data.idx import load, read_idx


def test_idx_files_gzipped_or_not(idx_folder: Path) -> None:
    raw = load(idx_folder)
    assert raw.train.images.shape == (60, 1, 8, 8)
    assert raw.test is not None
    assert raw.test.labels.tolist() == list(range(10))
    assert (raw.num_val, raw.classes[9], raw.augmentation) == (5, "Ankle boot", "none")
    data = load_data("fashion_mnist", str(idx_folder))
    assert [s.size for s in (data.train, data.val, data.test)] == [55, 5, 10]


def test_torchvisions_layout_and_a_dot_in_the_name(idx_folder: Path) -> None:
    raw_folder = idx_folder / "FashionMNIST" / "raw"
    raw_folder.mkdir(parents=True)
    for file in list(idx_folder.glob("*ubyte*")):
        file.rename(raw_folder / file.name.replace("-idx", ".idx"))
    assert len(load(idx_folder).train.labels) == 60


def test_reading_keeps_the_pixels(idx_folder: Path) -> None:
    path = idx_folder / "t10k-images-idx3-ubyte"
    content = path.read_bytes()
    # 4 bytes of magic, three sizes of 4 bytes each, then the pixels row by row
    expected = np.frombuffer(content[16:], np.uint8).reshape(10, 8, 8)
    assert (read_idx(path) == expected).all()


@pytest.mark.parametrize("damage", ["short", "long", "magic", "empty", "gzip"])
def test_a_damaged_file_is_refused_by_name(idx_folder: Path, damage: str) -> None:
    path = idx_folder / "train-images-idx3-ubyte"
    content = path.read_bytes()
    if damage == "gzip":
        path.unlink()
        path = path.with_name(path.name + ".gz")
    path.write_bytes(
        {
            "short": content[:-1],
            "long": content + b"0",
            "magic": b"\0\0\x0d" + content[3:],
            "empty": b"",
            "gzip": gzip.compress(content)[:-20],
        }[damage]
    )
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        load(idx_folder)


def test_missing_data_says_where_it_looked_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    message = str(caught.value)
    assert str(tmp_path / "FashionMNIST" / "raw") in message
    assert "dataset-fashion-mnist" in message
    assert "/usr/share" not in message  # a folder that is given is the only one looked at
