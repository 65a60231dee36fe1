"""Where data is looked for, and the one message when it is not there. Torch-free."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from autoprune.core.errors import DataError


def default_roots() -> list[Path]:
    """Return the folders looked into when no data folder is given."""
    given = os.environ.get("AUTOPRUNE_DATA_DIR")
    places = [Path("data"), Path.home() / ".cache" / "autoprune" / "data"]
    return [Path(given), *places] if given else places


def find(
    name: str,
    data_dir: Path | None,
    layouts: Sequence[str],
    holds: Callable[[Path], bool],
    remedy: str,
    system: Sequence[str] = (),
) -> Path:
    """Return the first folder that holds a data set.

    Parameters
    ----------
    name : str
        The data set.
    data_dir : Path or None
        The only folder looked into, when given.
    layouts : sequence of str
        Subfolders that a root may keep the data in; the root itself is looked at first.
    holds : callable
        Whether a folder has the files.
    remedy : str
        How to get the data.
    system : sequence of str
        Folders that a system's package puts the data in.

    Raises
    ------
    DataError
        If none does; it names every folder that was looked into.
    """
    roots = [data_dir] if data_dir else default_roots()
    places = [root / layout for root in roots for layout in ("", name, *layouts)]
    if data_dir is None:
        places += map(Path, system)
    for place in places:
        if place.is_dir() and holds(place):
            return place
    raise DataError(
        f"data set {name!r}", f"was not found in {', '.join(map(str, places))}", remedy=remedy
    )
