"""The hash of the sources that stages run: a change of code is a change of key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

_LAYERS = ("core", "data", "models", "metrics", "pruning", "training", "stages", "methods")


@cache
def sources_sha256() -> str:
    """Hash every source file of the layers a stage may call, and of plug-ins: names, contents."""
    root = Path(__file__).resolve().parents[1]
    state = hashlib.sha256()
    for layer in _LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            state.update(path.relative_to(root).as_posix().encode())
            state.update(path.read_bytes())
    for name, path in plugin_files():
        state.update(name.encode())
        state.update(path.read_bytes())
    return state.hexdigest()


def plugin_files() -> Iterator[tuple[str, Path]]:
    """Yield the source files of installed plug-ins: each registered module, its package if any."""
    groups = sorted(g for g in entry_points().groups if g.startswith("autoprune."))
    points = [point for group in groups for point in entry_points(group=group)]
    for package in sorted({point.value.partition(":")[0].partition(".")[0] for point in points}):
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            continue
        origin = Path(spec.origin)
        files = origin.parent.rglob("*.py") if spec.submodule_search_locations else [origin]
        for path in sorted(files):
            yield f"{package}/{path.relative_to(origin.parent).as_posix()}", path
