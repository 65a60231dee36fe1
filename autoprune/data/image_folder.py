"""Folders of images, one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data.images import SUFFIXES, decode_all, layout
from autoprune.data.places import find
from autoprune.data.raw import LIMIT_BYTES, DataSource, ImageFiles, Part, RawData

REMEDY = (
    "make a folder with train/CLASS/*.png (val/ and test/ beside it, or they are split off) and "
    "give it as --data-dir"
)


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def holds(folder: Path) -> bool:
    """Return whether a folder has classes, in train/ or at once."""
    root = folder / "train" if (folder / "train").is_dir() else folder
    return any(any(p.suffix.lower() in SUFFIXES for p in own.iterdir()) for own in _folders(root))


def _list(root: Path, classes: list[str]) -> tuple[list[Path], list[int]]:
    paths: list[Path] = []
    labels: list[int] = []
    for folder in _folders(root):
        if folder.name not in classes:
            raise DataError(str(folder), "must be one of the training classes", folder.name)
        found = _images(folder)
        paths += found
        labels += [classes.index(folder.name)] * len(found)
    return paths, labels


def load(data_dir: Path | None) -> RawData:
    """List the images, and decode them at once when they fit into memory.

    Images are brought to the first one's shorter side, at most 224 pixels. Missing validation or
    test data takes a tenth of the training data each.
    """
    root = find("image_folder", data_dir, [], holds, REMEDY)
    train = root / "train" if (root / "train").is_dir() else root
    places = {"train": train} | {
        part: place for part in ("val", "test") if train != root and (place := root / part).is_dir()
    }
    classes = [folder.name for folder in _folders(train)]
    listed = {part: _list(place, classes) for part, place in places.items()}
    size, channels = layout(listed["train"][0][0])
    total = sum(len(paths) for paths, _ in listed.values()) * channels * size * size
    parts = {}
    for part, (paths, labels) in listed.items():
        files = ImageFiles(tuple(paths), size, channels)
        images = files if total > LIMIT_BYTES else decode_all(paths, size, channels)
        parts[part] = Part(images, np.array(labels, dtype=np.int64))
    tenth = round(len(parts["train"].labels) / 10)
    return RawData(
        train=parts["train"],
        val=parts.get("val"),
        test=parts.get("test"),
        classes=tuple(classes),
        num_val=tenth,
        num_test=tenth,
        augmentation="crop_flip" if channels == 3 else "none",
    )


SOURCE = DataSource("folders of images, one per class (ImageFolder's layout)", REMEDY, load)
