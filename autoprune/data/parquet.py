"""Image data as parquet files in the Hugging Face layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data.images import decode_all, layout
from autoprune.data.places import find
from autoprune.data.raw import LIMIT_BYTES, DataSource, Part, RawData

REMEDY = (
    "put train.parquet and test.parquet (or train-*.parquet, ...) with the columns image and "
    "label into a folder and give it as --data-dir"
)
PARTS = {"train": ("train",), "val": ("validation", "valid", "val"), "test": ("test",)}
IMAGES = ("image", "img")
LABELS = ("label", "labels", "fine_label")


def _files(folder: Path, part: str) -> list[Path]:
    for root in (folder, folder / "data"):
        for name in PARTS[part]:
            files = sorted({*root.glob(f"{name}.parquet"), *root.glob(f"{name}-*.parquet")})
            if files:
                return files
    return []


def holds(folder: Path) -> bool:
    """Return whether a folder has training data."""
    return bool(_files(folder, "train"))


def _column(file: Path, names: list[str], wanted: tuple[str, ...]) -> str:
    for name in wanted:
        if name in names:
            return name
    raise DataError(str(file), f"must have a column named {' or '.join(wanted)}", names)


def _read_table(files: list[Path]) -> tuple[list[bytes], np.ndarray[Any, Any], tuple[str, ...]]:
    """Return encoded images, labels, and class names where the schema holds them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pa.concat_tables([pq.read_table(file) for file in files])
    except (pa.ArrowException, OSError) as error:
        raise DataError(str(files[0]), f"cannot be read as parquet: {error}") from error
    images = table[_column(files[0], table.column_names, IMAGES)].combine_chunks()
    label = _column(files[0], table.column_names, LABELS)
    if pa.types.is_struct(images.type):
        images = images.field("bytes")
    if images.null_count or table[label].null_count:
        raise DataError(str(files[0]), "must hold an image and a label in every row")
    if not pa.types.is_integer(table[label].type):
        raise DataError(str(files[0]), f"column {label} must hold integers", str(table[label].type))
    metadata = json.loads((table.schema.metadata or {}).get(b"huggingface", b"{}"))
    feature = metadata.get("info", {}).get("features", {}).get(label, {})
    names = tuple(feature.get("names", ()))
    return images.to_pylist(), table[label].to_numpy().astype(np.int64), names


def read(folder: Path) -> RawData:
    """Decode all parts; missing validation or test data takes a tenth of the training data each.

    Raises
    ------
    DataError
        If a file is broken, a column is missing, or the images do not fit into memory.
    """
    tables = {part: _read_table(files) for part in PARTS if (files := _files(folder, part))}
    images, labels, names = tables["train"]
    if not images:
        raise DataError(str(folder), "must not be empty")
    size, channels = layout(images[0])
    total = sum(len(table[0]) for table in tables.values()) * channels * size * size
    if total > 2 * LIMIT_BYTES:
        raise DataError(
            str(folder),
            f"must decode to at most {2 * LIMIT_BYTES} bytes",
            total,
            "unpack it into folders of images, which stream",
        )
    parts = {
        part: Part(decode_all(table[0], size, channels), table[1]) for part, table in tables.items()
    }
    highest = max(int(table[1].max(initial=0)) for table in tables.values())
    tenth = round(len(labels) / 10)
    return RawData(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        classes=names or tuple(map(str, range(highest + 1))),
        num_val=tenth,
        num_test=tenth,
        augmentation="crop_flip" if channels == 3 else "none",
    )


def load(data_dir: Path | None) -> RawData:
    """Find the folder and read it."""
    return read(find("parquet", data_dir, [], holds, REMEDY))


SOURCE = DataSource("parquet files in the Hugging Face layout", REMEDY, load)
