"""A search from its options to its summary: what `autoprune search` does, for Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from autoprune.core.config import TaskConfig
from autoprune.core.errors import AutoPruneError, StudyError
from autoprune.core.records import TaskInfo
from autoprune.data.taskfile import identify
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.journal import Journal, load_events
from autoprune.search.runner import Runner, Workers
from autoprune.search.study import Study, check_same_search, is_finished, open_study, study_folder
from autoprune.search.summary import summarize
from autoprune.space import Space
from autoprune.space.files import list_spaces
from autoprune.space.grammar import load_space
from autoprune.stages.store_files import trim
from autoprune.trial.settings import WorkerSettings

_LOG = logging.getLogger(__name__)

MEASURED = ("latency_ms", "size_bytes")


@dataclass(frozen=True)
class SearchRequest:
    """What to search, and on what.

    Parameters
    ----------
    space : str or Path
        A space file, or the name of a shipped one.
    home : Path
        Folder of studies, store and MLflow's files.
    name : str or None
        The study's name; the space's by default.
    task_file, checkpoint, data_dir : Path or None
        A task file replaces the space's task; a checkpoint replaces dense training; a data folder
        is then the only one looked in.
    objectives : tuple of str or None
        Replaces the space's.
    executor : str
        ``ray`` or ``inline``; None is ray where there is more than one core.
    workers : int or None
        Jobs that run at once; one per core (or GPU share) by default.
    device : str
        ``cpu`` or ``cuda``, resolved.
    gpus_per_job : float
        Share of a GPU that a job takes, on ``cuda``.
    """

    space: str | Path = "digits"
    options: SearchOptions = field(default_factory=SearchOptions)
    seed: int = 0
    home: Path = Path("autoprune-home")
    name: str | None = None
    resume: bool = False
    task_file: Path | None = None
    checkpoint: Path | None = None
    data_dir: Path | None = None
    objectives: tuple[str, ...] | None = None
    executor: Literal["ray", "inline"] | None = None
    ray_address: str | None = None
    workers: int | None = None
    gpus_per_job: float = 1.0

    @property
    def crew(self) -> Workers:
        """Where jobs run, and how many at once."""
        return Workers(
            executor=self.executor,
            ray_address=self.ray_address,
            workers=self.workers,
            device=self.options.device,
            gpus_per_job=self.gpus_per_job,
        )

    @property
    def runs_on_ray(self) -> bool:
        """Whether jobs run in Ray's workers."""
        return self.crew.on_ray

    @property
    def num_workers(self) -> int:
        """How many jobs run at once."""
        return self.crew.count


class Session:
    """One search: opened, run, closed.

    Parameters
    ----------
    request : SearchRequest
        What to do.

    Raises
    ------
    BadInput
        If anything about space, task, data, home or study is not as it must be; nothing is
        written then.
    """

    def __init__(self, request: SearchRequest) -> None:
        crew = request.crew
        self.request = request
        self.space = _space(request)
        self.name = request.name or self.space.name
        self.study: Study | None = None
        self.engine: Engine | None = None
        self.finished = self._finished_before()
        if self.finished:
            return
        self.runner = Runner(
            self.space.task,
            crew,
            home=request.home,
            top_epochs=self.space.top,
            measure=tuple(o for o in self.space.objectives if o in MEASURED),
        )
        if request.task_file is not None and str(request.space) in list_spaces():
            self.space = _fitted(self.space, len(self.info.layers))
        # An engine on no study checks what only it knows (steps, rungs), before one is written.
        keys = self.settings.key_context()
        Engine(self.space, self.info, Journal(), context=keys, options=request.options)

    @property
    def info(self) -> TaskInfo:
        """The task."""
        return self.runner.info

    @property
    def settings(self) -> WorkerSettings:
        """What every worker is told."""
        return self.runner.settings

    def _finished_before(self) -> bool:
        path = study_folder(self.request.home, self.name) / "journal.jsonl"
        events = load_events(path)
        if not events or not self.request.resume:
            return False
        check_same_search(events[0], self.space, self.request.seed, self.request.options)
        return is_finished(events)

    def open(self) -> Engine:
        """Open or create the study; take its lock.

        Raises
        ------
        StudyError
            See `open_study`.
        """
        request = self.request
        self.study = open_study(
            request.home,
            self.name,
            self.space,
            self.info,
            seed=request.seed,
            options=request.options,
            resume=request.resume,
            settings=self.settings.recorded(),
        )
        before = self.study.journal.events[0]["settings"]
        # The bits of a study depend on its threads, so a resumed one keeps what it began with.
        self.runner.keep_threads(before.get("threads", self.settings.threads))
        self.engine = self.study.engine(self.settings.key_context())
        return self.engine

    def run(self) -> None:
        """Run the search to its end; Ctrl-C notes that it stopped and passes on.

        Raises
        ------
        AutoPruneError
            If every job failed.
        """
        assert self.engine is not None, "open() comes first"
        try:
            self.runner.run(self.engine)
        except KeyboardInterrupt:
            self.engine.stop()
            raise
        if self.engine.state.status == "failed":
            first = next(r.result.error for r in self.engine.state.records if r.result.error)
            raise AutoPruneError(f"search: every job failed; the first one said: {first}")

    def summary(self) -> dict[str, Any]:
        """Return what is known so far."""
        return load_summary(self.request.home, self.name)

    def close(self) -> None:
        """Let go of the study, and bring the store down to its size."""
        if self.study is None:
            return
        if self.engine is not None and self.engine.state.status == "complete":
            trim_store(self.request.home)
        self.study.close()
        self.study = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def search(
    request: SearchRequest, listeners: Sequence[Callable[[Any], None]] = ()
) -> dict[str, Any]:
    """Run a search and return its summary.

    Parameters
    ----------
    request : SearchRequest
        What to do.
    listeners : sequence of callable
        Called with every journal event, in order, in the calling process.

    Returns
    -------
    dict
        See `summarize`.

    Examples
    --------
    >>> from autoprune.search.session import SearchRequest, search
    >>> request = SearchRequest(space="digits", options=SearchOptions(budget="6"))
    >>> summary = search(request)                                          # doctest: +SKIP
    >>> [point["sparsity"] for point in summary["front"]]                  # doctest: +SKIP
    """
    with Session(request) as session:
        if not session.finished:
            engine = session.open()
            engine.journal.listeners.extend(listeners)
            session.run()
        return session.summary()


def load_summary(home: Path, name: str) -> dict[str, Any]:
    """Return the summary of a study on disk, with its home.

    Raises
    ------
    StudyError
        If there is no such study.
    """
    from autoprune.search.study import read_events

    return {**summarize(read_events(home, name)), "home": str(home)}


def trim_store(home: Path) -> None:
    """Bring a home's store down to its size; what was confirmed stays."""
    try:
        trim(home / "store", pinned=_finalists(home))
    except StudyError as error:  # another study's journal: what it pins is not known
        _LOG.warning("the store is not trimmed: %s", error)


def _finalists(home: Path) -> set[str]:
    """Return the store keys of every confirmed state of every study in a home."""
    keys = set()
    for path in (home / "studies").glob("*/journal.jsonl"):
        events = load_events(path)
        confirmed = {e["job"]["number"] for e in events if e["event"] == "job" and e["job"]["test"]}
        keys |= {
            e["result"]["final_key"]
            for e in events
            if e["event"] == "result" and e["result"]["job"] in confirmed
        }
    return keys


def _fitted(space: Space, num_layers: int) -> Space:
    """Return a shipped space with no more knobs than the user's model has prunable layers."""
    fitted = space.with_knobs_at_most(num_layers)
    if fitted is not space:
        _LOG.warning(
            "%s: the model has %d prunable layers, so an allocation's knobs are as many",
            space.name,
            num_layers,
        )
    return fitted


def _space(request: SearchRequest) -> Space:
    own = None
    if request.task_file is not None:
        own = TaskConfig(data=request.task_file.stem, model=request.task_file.stem)
    space = load_space(request.space, own)
    files = {
        "task_file": request.task_file,
        "checkpoint": request.checkpoint,
        "data_dir": request.data_dir,
    }
    given: dict[str, Any] = {
        k: str(path.resolve()) for k, path in files.items() if path is not None
    }
    space = space.with_task(identify(replace(space.task, **given)))
    return (
        space
        if request.objectives is None
        else space.with_objectives(request.objectives, "--objectives")
    )
