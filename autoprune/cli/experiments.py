"""What the ready-made studies' commands share: run, write files, mirror."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.cli.output import console, show, show_line
from autoprune.search.signals import terminable

if TYPE_CHECKING:
    from autoprune.experiments.base import Design
    from autoprune.experiments.session import Experiment
    from autoprune.search.runner import Workers

_LOG = logging.getLogger(__name__)

ANSWER = "answer.json"
_SHOWN = (".png", ".csv")

Answer = dict[str, Any]
Picture = Callable[[Answer, Path], Any]
Text = Callable[[Answer], str]


@dataclass(frozen=True)
class Files:
    """Files of an answer: how each is made, and where the user wants a copy.

    Parameters
    ----------
    makers : mapping
        File name to a function: of a ``.png`` from answer and path, of others to the text.
    wanted : mapping
        File name to the user's path, or None.
    words : Callable
        From the answer to what it means, in sentences.
    """

    makers: Mapping[str, Picture | Text]
    wanted: Mapping[str, Path | None]
    words: Callable[[Answer], list[str]] = lambda answer: []

    def check(self) -> None:
        """Refuse paths that cannot be written, before anything is trained.

        Raises
        ------
        ConfigError
            With the path.
        """
        from autoprune.core.errors import ConfigError

        for name, path in self.wanted.items():
            if path is None:
                continue
            option = "--plot" if name.endswith(".png") else "--csv"
            if path.suffix != Path(name).suffix:
                raise ConfigError(option, f"must end in {Path(name).suffix}", str(path))
            if not path.absolute().parent.is_dir():
                raise ConfigError(option, "must lie in a folder that exists", str(path))

    def write(self, answer: Answer, folder: Path) -> dict[str, Path]:
        """Write all files to the study's folder, and the wanted copies."""
        found = {name: folder / name for name in self.makers}
        for name, make in self.makers.items():
            for path in (found[name], self.wanted.get(name)):
                if path is not None:
                    _write(make, answer, path)
        return found


def _write(make: Any, answer: Answer, path: Path) -> None:
    if path.suffix == ".png":
        make(answer, path)
    else:
        path.write_text(make(answer), encoding="utf-8")


def check_seeds(first: int, count: int) -> tuple[int, ...]:
    """Return so many seeds from the first one on.

    Raises
    ------
    ConfigError
        If there is none.
    """
    from autoprune.core.errors import ConfigError

    if count < 1:
        raise ConfigError("--seeds", "must be at least 1", count)
    return tuple(range(first, first + count))


def ask(
    design: Design,
    workers: Workers,
    files: Files,
    *,
    home: Path,
    name: str | None = None,
    tracking_uri: str | None = None,
    threads: int | None = None,
) -> Answer:
    """Run a design to its end, write its files, mirror it; return the answer.

    Raises
    ------
    BadInput, AutoPruneError
        See `Experiment`.
    """
    from autoprune.experiments.session import Experiment

    files.check()
    with Experiment(design, workers, home=home, name=name, threads=threads) as experiment:
        for warning in experiment.runner.info.warnings:
            show(f"note: {warning}")
        try:
            with terminable():
                _run(experiment)
        except KeyboardInterrupt:
            show("stopped; the same command goes on from here")
            raise
        answer = experiment.summary()
        answer["words"] = files.words(answer)
        text = json.dumps(answer, indent=1, allow_nan=False)
        (experiment.folder / ANSWER).write_text(text, encoding="utf-8")
        made = files.write(answer, experiment.folder)
    for path in made.values():
        show(f"written: {path}")
    answer["files"] = {name: str(path) for name, path in made.items()}
    answer["mlflow"] = _mirror(answer, made, home, tracking_uri)
    if experiment.engine is not None and experiment.engine.failure:
        show(*answer["words"])
        raise experiment.failure()
    return answer


def answered(home: Path) -> list[str]:
    """Return the ready-made studies of a home that have their answer, by name."""
    from autoprune.experiments.session import FOLDER

    return sorted(path.parent.name for path in (home / FOLDER).glob(f"*/{ANSWER}"))


def sync_answer(home: Path, name: str, tracking_uri: str | None) -> dict[str, Any]:
    """Mirror one answer as it was written; return where it is.

    Raises
    ------
    AutoPruneError
        If MLflow cannot be reached or refuses.
    """
    from autoprune.core.errors import AutoPruneError
    from autoprune.experiments.session import FOLDER
    from autoprune.tracking.answers import mirror_answer

    folder = home / FOLDER / name
    answer = json.loads((folder / ANSWER).read_text(encoding="utf-8"))
    files = {path.name: path for path in sorted(folder.glob("*")) if path.suffix in _SHOWN}
    try:
        return mirror_answer(answer, files, home, tracking_uri)
    except Exception as error:
        raise AutoPruneError(f"MLflow failed: {error}") from error


def _run(experiment: Experiment) -> None:
    from autoprune.report.jobs import JobsProgress

    engine = experiment.open()
    show(f"study {experiment.name}")
    with JobsProgress(console(), show_line) as progress:

        def watch(event: dict[str, Any]) -> None:
            if event["event"] in {"job", "result", "end"}:
                state = engine.state
                progress.update(len(state.records), len(engine.wanted()), state.epochs_trained)

        engine.journal.listeners.append(watch)
        experiment.run()


def _mirror(
    answer: Answer, files: Mapping[str, Path], home: Path, tracking_uri: str | None
) -> dict[str, Any]:
    """Copy an answer to MLflow; an outage is told, and costs nothing else."""
    from autoprune.tracking.answers import mirror_answer

    try:
        return mirror_answer(answer, files, home, tracking_uri)
    except Exception as error:  # noqa: BLE001 - MLflow's stores raise what they like
        name = answer["study"]
        _LOG.warning("MLflow failed, `autoprune sync %s` catches up: %s", name, error)
        return {"tracking_uri": tracking_uri, "experiment_id": None, "run_id": None}
