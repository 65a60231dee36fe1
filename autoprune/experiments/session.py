"""A ready-made study from its design to its summary: opened, run, closed.

Studies lie in ``<home>/experiments/<name>``, beside those of the search: a journal and a lock.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from autoprune.core.canonical import digest
from autoprune.core.errors import AutoPruneError, StudyError
from autoprune.experiments.base import Design, ExperimentEngine
from autoprune.search.journal import VERSION, Journal, load_events
from autoprune.search.plans import Planner
from autoprune.search.runner import Runner, Workers
from autoprune.search.session import trim_store
from autoprune.search.state import State
from autoprune.search.study import folder_bytes, folder_of, lock_folder, status_of

FOLDER = "experiments"


class Experiment:
    """One ready-made study.

    Parameters
    ----------
    design : Design
        The question.
    workers : Workers
        Where its jobs run.
    home : Path
        Folder of studies and store.
    name : str or None
        The study's name; one that follows from the question by default, so that the same question
        asked again goes on where it stopped, or shows its answer.
    threads : int or None
        Threads of one job, of a study whose stages are to be found again; cores over workers by
        default.

    Raises
    ------
    BadInput
        If anything about the question, the task, its data or the home is not as it must be;
        nothing is written then.

    Attributes
    ----------
    engine : ExperimentEngine or None
        Once opened.
    """

    def __init__(
        self,
        design: Design,
        workers: Workers,
        *,
        home: Path,
        name: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.design, self.home, self._device = design, Path(home), workers.device
        self.name = name or default_name(design, workers.device)
        self.folder = folder_of(self.home / FOLDER, self.name)
        self._check_same()
        self.runner = Runner(
            design.task,
            workers if threads is None else workers.with_threads(threads),
            home=self.home,
            top_epochs=design.top_epochs,
            measure=design.measure,
        )
        if threads is not None:
            self.runner.keep_threads(threads)
        design.begin(self.runner.info)
        self.engine: ExperimentEngine | None = None
        self._lock: IO[str] | None = None

    def _check_same(self) -> None:
        events = load_events(self.folder / "journal.jsonl")
        if events and events[0].get("question") != self._question():
            raise StudyError(
                "--name",
                "must be new, or that of the same question",
                self.name,
                "choose another name, or leave it out",
            )

    def _question(self) -> dict[str, Any]:
        return {"kind": self.design.kind, "device": self._device, **self.design.identity()}

    def open(self) -> ExperimentEngine:
        """Open or create the study; take its lock.

        Raises
        ------
        StudyError
            If another process has it open, the home cannot be written, or the data changed.
        """
        self._lock = lock_folder(self.folder)
        journal = Journal(self.folder / "journal.jsonl")
        if not journal.events:
            journal.append(self._header())
        header = journal.events[0]
        if header["task"]["fingerprint"] != self.runner.info.fingerprint:
            raise StudyError(
                "the data", "must be what the study began with", remedy="choose another --name"
            )
        self.runner.keep_threads(header["settings"]["threads"])
        keys = self.runner.settings.key_context()
        planner = Planner(keys, self.runner.info, (self.design.top_epochs,))
        self.engine = ExperimentEngine(self.design, journal, planner)
        return self.engine

    def _header(self) -> dict[str, Any]:
        return {
            "event": "study",
            "version": VERSION,
            "name": self.name,
            "question": self._question(),
            "task": self.runner.info.to_json(),
            "settings": self.runner.settings.recorded(),
        }

    def run(self) -> None:
        """Run to the end; Ctrl-C notes that the study stopped and passes on.

        Raises
        ------
        AutoPruneError
            If a job failed and the answer would be worth nothing with a hole.
        """
        assert self.engine is not None, "open() comes first"
        try:
            self.runner.run(self.engine)
        except KeyboardInterrupt:
            self.engine.stop()
            raise
        if self.engine.failure and not self.design.goes_on:
            raise self.failure()

    def failure(self) -> AutoPruneError:
        """Return the error of a study whose jobs did not all end well."""
        assert self.engine is not None, "open() comes first"
        said = self.engine.failure
        return AutoPruneError(
            f"{self.design.kind}: a job failed: {said}; the same command tries it again"
        )

    def summary(self) -> dict[str, Any]:
        """Return what is known so far."""
        assert self.engine is not None, "open() comes first"
        engine, state = self.engine, self.engine.state
        return {
            "study": self.name,
            "kind": self.design.kind,
            "status": state.status,
            **self.design.summary(engine.results, engine.costs),
            "epochs_trained": state.epochs_trained,
            "epochs_reused": sum(record.result.epochs_reused for record in state.records),
            "wall_s": state.time_s,
            "home": str(self.home),
        }

    def close(self) -> None:
        """Let go of the study, and bring the store down to its size."""
        if self.engine is not None and self.engine.state.status == "complete":
            trim_store(self.home)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Experiment:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def default_name(design: Design, device: str = "cpu") -> str:
    """Return a name that follows from the question."""
    task = design.task
    what = Path(task.task_file).stem if task.task_file else f"{task.data}-{task.model}"
    what = re.sub(r"[^A-Za-z0-9._-]+", "-", what)
    return f"{design.kind}-{what}-{digest([device, design.identity()])[:6]}"


def list_experiments(home: Path) -> list[dict[str, Any]]:
    """Return the ready-made studies of a home: name, kind, status, finished jobs, bytes."""
    rows = []
    for path in sorted((Path(home) / FOLDER).glob("*/journal.jsonl")):
        if events := load_events(path):
            state = State(events)
            rows.append(
                {
                    "study": path.parent.name,
                    "kind": events[0]["question"]["kind"],
                    "status": status_of(path.parent, state),
                    "jobs": len(state.records),
                    "hypervolume": None,
                    "wall_s": state.time_s,
                    "bytes": folder_bytes(path.parent),
                }
            )
    return rows


def experiment_folder(home: Path, name: str) -> Path | None:
    """Return a ready-made study's folder, or None where there is no such study."""
    folder = folder_of(Path(home) / FOLDER, name)
    return folder if (folder / "journal.jsonl").exists() else None
