"""The store's folder: its version and its size; torch-free, for drivers."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from autoprune.core.errors import StudyError

VERSION = 1
DEFAULT_CAP_BYTES = 8 * 2**30
LEFT_AFTER_S = 24 * 3600.0
"""A file under a temporary name is a dead writer's once it is so old."""


def file_of(root: Path, key: str) -> Path:
    """Return the file a key's state is kept in."""
    return root / key[:2] / f"{key}.safetensors"


def size_bytes(root: Path) -> int:
    """Return how much the states take on disk."""
    return sum(path.stat().st_size for path in root.glob("*/*.safetensors"))


def trim(root: Path, pinned: Iterable[str] = (), cap_bytes: int = DEFAULT_CAP_BYTES) -> int:
    """Remove the least recently used states above a size; return how many.

    What writers that died left under temporary names goes, too: no reader ever takes it for a
    state, but it takes room.

    Parameters
    ----------
    pinned : iterable of str
        Keys that stay whatever their age: finalists.
    """
    _remove_leftovers(root)
    keep = set(pinned)
    files = [(p.stat().st_mtime, p.stat().st_size, p) for p in root.glob("*/*.safetensors")]
    excess, removed = sum(size for _, size, _ in files) - cap_bytes, 0
    for _, size, path in sorted(files):
        if excess <= 0:
            break
        if path.stem not in keep:
            path.unlink(missing_ok=True)
            excess, removed = excess - size, removed + 1
    return removed


def _remove_leftovers(root: Path) -> None:
    """Remove temporary files that no writer can be at any more, on this machine or another."""
    for path in root.glob(f"*/{tempfile.gettempprefix()}*"):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - LEFT_AFTER_S:
                path.unlink()


def check_usable(root: Path) -> None:
    """Check that a store can be used, or made, without making anything.

    Raises
    ------
    StudyError
        If its home cannot be written, or it is of another version.
    """
    nearest = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        reason = f"{nearest} is read-only" if nearest.is_dir() else f"{nearest} is a file"
        raise _unwritable(root, reason)
    marker = root / "VERSION"
    try:
        found = marker.read_text().strip() if marker.exists() else str(VERSION)
    except OSError as error:
        raise _unwritable(root, str(error)) from error
    if found != str(VERSION):
        raise StudyError(
            f"store {root}",
            f"must be of version {VERSION}",
            found,
            "update AutoPrune, or give another --home",
        )


def check_version(root: Path) -> None:
    """Make the store's folder, or check that this version can use what is there.

    Raises
    ------
    StudyError
        As `check_usable`.
    """
    check_usable(root)
    marker = root / "VERSION"
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not marker.exists():
            _write_whole(marker, f"{VERSION}\n")
    except OSError as error:
        raise _unwritable(root, str(error)) from error


def _unwritable(root: Path, reason: str) -> StudyError:
    return StudyError(f"home {root.parent}", "must be writable", reason, "give another --home")


def _write_whole(path: Path, text: str) -> None:
    """Write a file under its name in one rename: a reader beside us never sees half of it."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.replace(file.name, path)  # noqa: PTH105 - the name is a string already
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise
