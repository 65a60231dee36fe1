"""The hash of the package's sources that stages run: a change of code is a change of key."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

_LAYERS = ("core", "data", "models", "metrics", "pruning", "training", "stages", "methods")


@cache
def sources_sha256() -> str:
    """Hash every source file of the layers a stage may call, names and contents."""
    root = Path(__file__).resolve().parents[1]
    state = hashlib.sha256()
    for layer in _LAYERS:
        for path in sorted((root / layer).rglob("*.py")):
            state.update(path.relative_to(root).as_posix().encode())
            state.update(path.read_bytes())
    return state.hexdigest()
