"""The stage store: content-keyed states on disk, checked when read, written whole or not at all.

Layout: ``<root>/VERSION`` and ``<root>/<aa>/<key>.safetensors``, the rest of the state as JSON in
the file's metadata together with a hash of the content. A file appears under its name by one
rename, so writers need no locks: equal keys hold equal bits, and the last rename wins.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from autoprune.core.errors import StoreError, StudyError
from autoprune.stages.state import TrialState
from autoprune.stages.store_files import check_version, file_of

_LOG = logging.getLogger(__name__)


class Store:
    """States by content key, in memory (the last few) and on disk (least recently used go first).

    Parameters
    ----------
    root : Path
        Folder of the store; made when missing.

    Raises
    ------
    StudyError
        If the folder cannot be written, or holds the store of a newer version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._recent: OrderedDict[str, TrialState] = OrderedDict()
        check_version(root)

    def path(self, key: str) -> Path:
        """Return the file a key's state is kept in."""
        return file_of(self.root, key)

    def get(self, key: str) -> TrialState | None:
        """Return a stored state, or None; a damaged file counts as absent and is removed."""
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        path = self.path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"store: cannot read {path}: {error}") from error
        state = _unpack(content)
        if state is None:
            _LOG.warning("store: %s is damaged; it is removed and computed again", path)
            path.unlink(missing_ok=True)
            return None
        with suppress(OSError):  # a read-only store still serves; only its order of use is lost
            os.utime(path)
        self._remember(key, state)
        return state

    def put(self, key: str, state: TrialState) -> None:
        """Store a state under its key.

        Raises
        ------
        StudyError
            If the disk is full or the folder cannot be written.
        """
        self._remember(key, state)
        path = self.path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(_pack(state))
                    file.flush()
                    os.replace(file.name, path)  # noqa: PTH105 - the name is a string already
                except OSError:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise StudyError(
                f"store {self.root}",
                "must be writable and have room",
                str(error),
                "free some space, or give another --home",
            ) from error

    def remember(self, key: str, state: TrialState) -> None:
        """Keep a cheap state in memory only."""
        self._remember(key, state)

    def _remember(self, key: str, state: TrialState) -> None:
        self._recent[key] = state
        self._recent.move_to_end(key)
        while len(self._recent) > 16:
            self._recent.popitem(last=False)


def _pack(state: TrialState) -> bytes:
    tensors, text = state.to_tensors()
    return save_tensors(
        tensors, {"state": text, "sha256": _content_hash(save_tensors(tensors), text)}
    )


def _unpack(content: bytes) -> TrialState | None:
    try:
        size = int.from_bytes(content[:8], "little")
        meta = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = load_tensors(content)
        found = _content_hash(save_tensors(tensors), meta["state"])
        if found != meta["sha256"]:
            return None
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None  # what a broken header can raise; the caller says so
    return TrialState.from_tensors(tensors, meta["state"])


def _content_hash(tensors: bytes, text: str) -> str:
    return hashlib.sha256(tensors + text.encode()).hexdigest()
