from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autoprune.core.errors import DataError
from autoprune.data.assemble import load_data
from autoprune.data.parquet import load
from tests.data.conftest import png


def write(
    path: Path, count: int, image: str = "image", label: str = "label", names: object = None
) -> None:
    rows = [{"bytes": png(np.full((9, 8), n, np.uint8)), "path": f"{n}.png"} for n in range(count)]
    table = pa.table({image: rows, label: pa.array([n % 2 for n in range(count)], pa.int64())})
    if names is not None:
        note = {"info": {"features": {label: {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(note)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_shards_columns_and_names_as_hugging_face_has_them(tmp_path: Path) -> None:
    for shard in (0, 1):
        path = tmp_path / "data" / f"train-0000{shard}-of-00002.parquet"
        write(path, 10, "img", "labels", ["no", "yes"])
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", 4, "img", "labels")
    raw = load(tmp_path)
    assert raw.classes == ("no", "yes")
    assert raw.train.images.shape == (20, 1, 8, 8)
    assert raw.train.images[:, 0, 0, 0].tolist() == [*range(10), *range(10)]
    assert raw.val is not None
    assert len(raw.val.labels) == 4
    assert raw.test is None


def test_missing_parts_take_a_tenth_each(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", 40)
    data = load_data("parquet", str(tmp_path))
    assert [s.size for s in (data.train, data.val, data.test)] == [32, 4, 4]
    assert data.classes == ["0", "1"]
    assert data.preprocessing["augmentation"] == "none"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"pixels": [b""], "label": [0]}, "column named image or img"),
        ({"image": [b""], "class": [0]}, "column named label"),
        ({"image": [b"abc"], "label": [0]}, "cannot be decoded"),
        ({"image": [b"abc", None], "label": [0, 1]}, "in every row"),
        ({"image": [b"abc"], "label": ["cat"]}, "must hold integers"),
        ({"image": pa.array([], pa.binary()), "label": pa.array([], pa.int64())}, "empty"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, table: dict[str, object], words: str) -> None:
    pq.write_table(pa.table(table), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        load(tmp_path)


def test_a_broken_file_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"was not found.*put train\.parquet"):
        load(tmp_path)
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        load(tmp_path)
