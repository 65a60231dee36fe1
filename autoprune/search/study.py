"""Studies on disk: a folder with a journal and a lock."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from autoprune.core.canonical import plain
from autoprune.core.errors import StudyError, did_you_mean
from autoprune.core.records import TaskInfo
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.journal import VERSION, Clock, Event, Journal, load_events
from autoprune.search.state import State
from autoprune.search.summary import summarize
from autoprune.space import Space
from autoprune.stages.base import KeyContext

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Study:
    """An open study: its lock is held until `close`, or until the process dies.

    Parameters
    ----------
    folder : Path
        ``<home>/studies/<name>``.
    space, info, seed, options
        As its header says.
    journal : Journal
        The one truth.
    lock : file
        Held exclusively.
    """

    folder: Path
    space: Space
    info: TaskInfo
    seed: int
    options: SearchOptions
    journal: Journal
    lock: IO[str]

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.folder.name

    def engine(self, context: KeyContext) -> Engine:
        """Return the engine, the journal replayed."""
        return Engine(
            self.space,
            self.info,
            self.journal,
            context=context,
            seed=self.seed,
            options=self.options,
        )

    def close(self) -> None:
        """Let go of the lock."""
        self.lock.close()


def study_folder(home: Path, name: str) -> Path:
    """Return where a study lies.

    Raises
    ------
    StudyError
        If the name cannot be a folder's.
    """
    return folder_of(Path(home) / "studies", name)


def folder_of(parent: Path, name: str) -> Path:
    """Return the folder of a name that a user chose.

    Raises
    ------
    StudyError
        If the name cannot be a folder's.
    """
    if not _NAME.fullmatch(name):
        raise StudyError("--name", "must be letters, digits, '.', '_' and '-'", name)
    return parent / name


def read_events(home: Path, name: str) -> list[Event]:
    """Read a study's journal without opening it for writing.

    Raises
    ------
    StudyError
        If there is no such study, or its journal is broken or newer.
    """
    path = study_folder(home, name) / "journal.jsonl"
    events = load_events(path)
    if not events:
        known = list_names(home)
        hint = did_you_mean(name, known) if known else "there is none yet: autoprune search"
        raise StudyError("study", f"must be one of those in {home}", name, hint)
    return events


def is_finished(events: list[Event]) -> bool:
    """Whether a study is complete or failed, so that resuming it only shows its result."""
    return bool(events) and events[-1].get("status") in ("complete", "failed")


def open_study(
    home: Path,
    name: str,
    space: Space,
    info: TaskInfo,
    *,
    seed: int = 0,
    options: SearchOptions | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    clock: Clock = time.monotonic,
) -> Study:
    """Start a study, or go on with one.

    Parameters
    ----------
    home : Path
        Folder of studies and stores; made when missing.
    name : str
        The study's name.
    space, info, seed, options
        What it searches; on resume they must be what they were.
    resume : bool
        Go on where the study stopped; start it when there is none.
    settings : dict, optional
        What the workers are told (`trial.settings.WorkerSettings`), kept so that a point can be
        rebuilt and exported later.
    clock : Callable
        See `Journal`.

    Raises
    ------
    StudyError
        If the study exists and `resume` is not set, if anything changed since, if another process
        has it open, or if the home cannot be written.
    """
    folder = study_folder(home, name)
    options = options or SearchOptions()
    path = folder / "journal.jsonl"
    if not resume and path.exists() and load_events(path):
        raise StudyError(
            "--name",
            "must be new, or go with --resume",
            name,
            "add --resume or choose another name",
        )
    lock = lock_folder(folder)
    try:
        journal = Journal(path, clock)
        if journal.events:
            if not resume:
                raise StudyError("--name", "was taken by another search just now", name)
            _check_unchanged(journal.events[0], space, info, seed, options)
        else:
            journal.append({**header(name, space, info, seed, options), "settings": settings or {}})
    except BaseException:
        lock.close()
        raise
    return Study(folder, space, info, seed, options, journal, lock)


def header(name: str, space: Space, info: TaskInfo, seed: int, options: SearchOptions) -> Event:
    """Return a journal's first event: what the study searches, and how."""
    return {
        "event": "study",
        "version": VERSION,
        "name": name,
        "space": plain(dict(space.raw)),
        "space_sha256": space.sha256,
        "options": plain(options),
        "task": info.to_json(),
        "seed": seed,
    }


def lock_folder(folder: Path) -> IO[str]:
    """Make the folder and take its lock, which the system releases when the holder dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise StudyError(
            str(folder),
            f"cannot be written ({error.strerror})",
            remedy="choose a --home you can write to",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StudyError(
            "study", "is being searched by another process", folder.name, "wait, or use --name"
        ) from None
    return lock


def check_same_search(header: Event, space: Space, seed: int, options: SearchOptions) -> None:
    """Refuse to resume another search under the same name, before the task is looked at.

    Raises
    ------
    StudyError
        Naming what changed.
    """
    _check_unchanged(header, space, TaskInfo.from_json(header["task"]), seed, options)


def _check_unchanged(
    header: Event, space: Space, info: TaskInfo, seed: int, options: SearchOptions
) -> None:
    """Refuse to resume another search under the same name.

    Raises
    ------
    StudyError
        Naming what changed.
    """
    pairs = {
        "the space": (header["space_sha256"], space.sha256),
        "the data": (header["task"]["fingerprint"], info.fingerprint),
        "the model": (_shape(header["task"]), _shape(info.to_json())),
        "--seed": (header["seed"], seed),
        **{
            f"--{key.replace('_', '-')}": (header["options"].get(key), value)
            for key, value in plain(options).items()
        },
    }
    for what, (before, now) in pairs.items():
        if before != now:
            shown = f"it was {before!r}" if what.startswith("--") else "it differs from the journal"
            raise StudyError(
                "--resume",
                f"needs {what} as it was",
                now if what.startswith("--") else ...,
                f"{shown}; put it back or choose another --name",
            )


def _shape(task: dict[str, Any]) -> Any:
    return [task["layers"], task["params"], task["macs"], task["input_shape"]]


def list_names(home: Path) -> list[str]:
    """Return the names of a home's studies, sorted."""
    journals = sorted((Path(home) / "studies").glob("*/journal.jsonl"))
    return [path.parent.name for path in journals if path.stat().st_size]


def list_studies(home: Path) -> list[dict[str, Any]]:
    """Return the studies of a home: name, status, finished search jobs, hypervolume, bytes."""
    rows = []
    for path in sorted((Path(home) / "studies").glob("*/journal.jsonl")):
        if not (events := load_events(path)):
            continue
        state = State(events)
        rows.append(
            {
                "study": path.parent.name,
                "kind": "search",
                "status": status_of(path.parent, state),
                "jobs": len(state.searched),
                "hypervolume": summarize(events)["hypervolume"],
                "wall_s": state.time_s,
                "bytes": folder_bytes(path.parent),
            }
        )
    return rows


def status_of(folder: Path, state: State) -> str:
    """Return how far a study is; one that runs in no process was interrupted."""
    return "interrupted" if state.status == "running" and not _is_held(folder) else state.status


def _is_held(folder: Path) -> bool:
    """Whether a process has the study open."""
    with contextlib.suppress(OSError), (folder / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def folder_bytes(folder: Path) -> int:
    """Return the size of a folder's files in bytes."""
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (file for file in folder.rglob("*") if file.is_file())


def remove_study(home: Path, name: str) -> int:
    """Delete a study's folder and return the bytes that were freed.

    Raises
    ------
    StudyError
        If there is no such study, or a process has it open.
    """
    folder = study_folder(home, name)
    if not folder.is_dir():
        read_events(home, name)
    return remove_folder(folder)


def remove_folder(folder: Path) -> int:
    """Delete a study's folder and return the bytes that were freed.

    Raises
    ------
    StudyError
        If a process has it open, or it cannot be deleted.
    """
    lock = lock_folder(folder)
    try:
        freed = folder_bytes(folder)
        shutil.rmtree(folder)
    except OSError as error:
        raise StudyError(str(folder), f"cannot be deleted ({error.strerror})") from error
    finally:
        lock.close()
    return freed
