from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autoprune.core.errors import DataError
from autoprune.data.cifar import CIFAR10, CIFAR100, read_batch
from tests.data.conftest import png


class _Code:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.place,)


def test_five_batches_in_order(cifar_folder: Path) -> None:
    raw = CIFAR10.load(cifar_folder)
    assert raw.train.images.shape == (40, 3, 32, 32)
    assert raw.train.labels.tolist() == list(range(8)) * 5
    assert raw.classes == tuple(f"class {n}" for n in range(10))
    assert (raw.num_val, raw.augmentation) == (4, "crop_flip")
    batch = read_batch(cifar_folder / "cifar-10-batches-py" / "data_batch_2")
    # a row is 1,024 red values, then green, then blue
    assert raw.train.images[8, 1, 0, 5] == batch[b"data"][0, 1024 + 5]


def test_cifar100_reads_the_fine_labels(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("test", 10)):
        batch = {
            b"data": np.zeros((count, 3072), np.uint8),
            b"fine_labels": list(range(count)),
            b"coarse_labels": [0] * count,
        }
        (tmp_path / name).write_bytes(pickle.dumps(batch))
    names = [b"n%d" % n for n in range(100)]
    (tmp_path / "meta").write_bytes(pickle.dumps({b"fine_label_names": names}))
    raw = CIFAR100.load(tmp_path)
    assert raw.train.labels.tolist() == list(range(20))
    assert len(raw.classes) == 100


def test_a_pickle_with_code_is_refused_and_not_run(cifar_folder: Path) -> None:
    trap = cifar_folder / "ran"
    path = cifar_folder / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(pickle.dumps({b"data": _Code(trap), b"labels": []}))
    with pytest.raises(DataError, match="data_batch_3 must be a CIFAR file of arrays"):
        CIFAR10.load(cifar_folder)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps([1, 2])])
def test_a_broken_file_is_refused(cifar_folder: Path, content: bytes) -> None:
    (cifar_folder / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    with pytest.raises(DataError, match="test_batch"):
        CIFAR10.load(cifar_folder)


def test_a_batch_without_labels_is_refused(cifar_folder: Path) -> None:
    path = cifar_folder / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)}))
    with pytest.raises(DataError, match="is not cifar10"):
        CIFAR10.load(cifar_folder)


def test_parquet_stands_in_for_the_pickles(tmp_path: Path) -> None:
    rows = [{"bytes": png(np.full((32, 32, 3), n, np.uint8)), "path": None} for n in range(20)]
    table = pa.table({"image": rows, "label": [n % 10 for n in range(20)]})
    for name in ("train", "test"):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    raw = CIFAR10.load(tmp_path)
    assert raw.classes[:2] == ("airplane", "automobile")
    assert raw.train.images[7].tolist() == np.full((3, 32, 32), 7).tolist()
