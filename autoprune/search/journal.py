"""The study's one truth: an append-only file of JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoprune.core.errors import StudyError

VERSION = 1
Event = dict[str, Any]
Clock = Callable[[], float]


class Journal:
    """Events, in memory and (with a path) on disk.

    One event is one line, written, flushed and synced before `append` returns; what a crash tore
    off after the last newline is dropped on opening.

    Parameters
    ----------
    path : Path or None
        The file, made when missing; None keeps events in memory only.
    clock : Callable
        Seconds from any origin; read only to stamp new events with the seconds the study has
        run, those of earlier openings included.

    Raises
    ------
    StudyError
        If the file cannot be read or written, is of a newer version, or holds a broken line.
    """

    def __init__(self, path: Path | None = None, clock: Clock = time.monotonic) -> None:
        self.path = path
        self.listeners: list[Callable[[Event], None]] = []
        self.events: list[Event] = [] if path is None else load_events(path, repair=True)
        self._clock = clock
        self._origin = clock() - (self.events[-1]["time"] if self.events else 0.0)

    def append(self, event: Event) -> Event:
        """Stamp an event, make it durable, tell the listeners, and return it.

        Raises
        ------
        StudyError
            If it cannot be written; nothing is remembered of it then.
        """
        stamped = {**event, "time": round(self._clock() - self._origin, 3)}
        if self.path is not None:
            self._write(self.path, json.dumps(stamped, separators=(",", ":"), allow_nan=False))
        self.events.append(stamped)
        for listener in self.listeners:
            listener(stamped)
        return stamped

    @staticmethod
    def _write(path: Path, line: str) -> None:
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            # A part that fitted would be joined by what another worker's result appends next.
            with contextlib.suppress(OSError):
                os.truncate(path, before)
            raise StudyError(
                str(path),
                f"cannot be written ({error.strerror})",
                remedy="free space or fix permissions, then --resume",
            ) from error


def load_events(path: Path, *, repair: bool = False) -> list[Event]:
    """Read a journal.

    Parameters
    ----------
    path : Path
        The file; a missing one reads as empty.
    repair : bool
        Cut bytes after the last newline off the file too (only its one writer may).

    Raises
    ------
    StudyError
        As `Journal`.
    """
    try:
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if repair and len(whole) < len(data):
            os.truncate(path, len(whole))
    except OSError as error:
        raise StudyError(str(path), f"cannot be read ({error.strerror})") from error
    events = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            events.append(json.loads(line))
        except ValueError:
            raise StudyError(
                f"{path}, line {number}", "is not JSON", remedy="restore it from a copy"
            ) from None
    if events:
        _check_version(events[0], path)
    return events


def _check_version(header: Event, path: Path) -> None:
    version = header.get("version")
    if header.get("event") != "study" or not isinstance(version, int):
        raise StudyError(str(path), "is not a study's journal")
    if version > VERSION:
        raise StudyError(
            str(path),
            f"must be of version {VERSION} or older",
            version,
            "install the AutoPrune that wrote it",
        )
