"""Copies journals to MLflow; the search never waits for it, nor fails with it."""

from __future__ import annotations

import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from autoprune.core.errors import AutoPruneError
from autoprune.search.journal import Event
from autoprune.search.study import read_events
from autoprune.search.summary import summarize
from autoprune.tracking import content
from autoprune.tracking.connection import connect, first_line
from autoprune.tracking.keys import save_model, study_key
from autoprune.tracking.store import Target, find_target

if TYPE_CHECKING:
    from mlflow.entities import Run

Artifacts = Callable[[dict[str, Any]], dict[str, Path]]
"""From a summary to files by their names in MLflow (``pareto.html``, ``front.png``)."""

_LOG = logging.getLogger(__name__)
_STATUS = {"running": "RUNNING", "complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
# Without the kind, MLflow's pages open on its tools for language models.
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_RUN_TAGS = {
    "mlflow.user": "autoprune",
    "mlflow.source.type": "LOCAL",
}
_PAUSE_S = 2.0
_SHARE = 0.1
"""The mirror works at most this share of the time while a search runs."""


def _no_artifacts(summary: dict[str, Any]) -> dict[str, Path]:
    return {}


class Mirror:
    """Copies a study's journal to MLflow in a thread of its own.

    Parameters
    ----------
    home : Path
        Folder of studies and stores.
    study : str
        The study's name.
    tracking_uri : str, optional
        MLflow's store; otherwise ``MLFLOW_TRACKING_URI``, otherwise ``<home>/mlflow.db``.
    artifacts : Callable, optional
        Writes the study's files from its summary and returns them by name.

    Notes
    -----
    Each copy brings MLflow to where the journal is, whatever was there before: runs are found by
    their tag ``autoprune.key``, a run whose content did not change is not touched, and metrics
    carry the journal's own times, which MLflow stores once. A failure is logged once and the next
    copy catches up.
    """

    def __init__(
        self,
        home: Path,
        study: str,
        tracking_uri: str | None = None,
        artifacts: Artifacts = _no_artifacts,
    ) -> None:
        self.home, self.study = Path(home), study
        # Read now: MLflow removes MLFLOW_RUN_ID from the environment when it starts a run.
        self.target = find_target(self.home, study, tracking_uri)
        self._artifacts = artifacts
        self._copy: Copy | None = None
        self._seen = 0
        self._failed = False
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def ids(self) -> dict[str, str | None]:
        """``tracking_uri, experiment_id, run_id``; the ids are None until MLflow was reached."""
        copy = self._copy
        return {
            "tracking_uri": self.target.uri,
            "experiment_id": copy.experiment_id if copy else None,
            "run_id": copy.run_id if copy else None,
        }

    def start(self) -> None:
        """Start the thread, which makes the store's schema first."""
        self._thread = threading.Thread(target=self._loop, name="autoprune-mirror", daemon=True)
        self._thread.start()
        self._wake.set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def apply(self, event: Event) -> None:
        """Tell the mirror that the journal has grown (a journal's listener); returns at once."""
        self._wake.set()

    def close(self, timeout_s: float = 60.0) -> None:
        """Copy what is left and end the thread; gives up after `timeout_s`."""
        if self._thread is None:
            return
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self._failed:
            _LOG.warning("MLflow is behind: `autoprune sync %s` catches up", self.study)

    def sync(self) -> None:
        """Copy the journal now, in this thread.

        Raises
        ------
        StudyError
            If there is no such study.
        AutoPruneError
            If MLflow cannot be reached or refuses.
        """
        events = read_events(self.home, self.study)
        try:
            self._refresh(events)
        except Exception as error:
            told = first_line(error)
            raise AutoPruneError(f"MLflow at {self.target.uri} failed: {told}") from error

    def register_champion(self, folder: Path) -> str:
        """Register an exported folder as the study's model, alias ``champion``.

        Parameters
        ----------
        folder : Path
            Written by the export; its predictor is what the model runs.

        Returns
        -------
        str
            The new version of the model ``autoprune-<study>``.
        """
        if self._copy is None:
            self.sync()
        assert self._copy is not None
        shape = ", ".join(map(str, read_events(self.home, self.study)[0]["task"]["input_shape"]))
        description = f"Raw inputs (N, {shape}) as the data holds them, to class probabilities."
        return self._copy.register(f"autoprune-{self.study}", Path(folder), description)

    def _loop(self) -> None:
        took_s = 0.0
        while not self._closing.is_set():
            self._wake.wait()
            self._closing.wait(max(_PAUSE_S, took_s / _SHARE) if self._copy else 0.0)
            self._wake.clear()
            began = time.monotonic()
            self._try()
            took_s = time.monotonic() - began
        self._try()

    def _try(self) -> None:
        try:
            events = read_events(self.home, self.study)
            if len(events) > self._seen or self._failed:
                self._refresh(events)
        except Exception as error:  # noqa: BLE001 - an outage costs the search nothing
            if not self._failed:
                told = first_line(error)
                _LOG.warning("MLflow at %s failed, the search goes on: %s", self.target.uri, told)
            self._failed = True

    def _refresh(self, events: list[Event]) -> None:
        if self._copy is None:
            self._copy = Copy(self.target, study_key(self.home, self.study), self.study)
        summary = summarize(events)
        self._copy.write(events, summary, str(self.home), self._artifacts)
        self._seen, self._failed = len(events), False


def sync(
    home: Path,
    study: str,
    tracking_uri: str | None = None,
    artifacts: Artifacts = _no_artifacts,
) -> dict[str, str | None]:
    """Copy a study to MLflow and return `Mirror.ids`; see `Mirror.sync`."""
    mirror = Mirror(home, study, tracking_uri, artifacts)
    mirror.sync()
    return mirror.ids


class Copy:
    """One study in one store; its run is found again by `key`, and `source` is its command."""

    def __init__(
        self, target: Target, key: str, study: str, source: str = "autoprune search"
    ) -> None:
        self.key, self.study = key, study
        self._tags = {**_RUN_TAGS, "mlflow.source.name": source}
        self.client = connect(target.uri)
        run = self._given(target.run_id) if target.run_id else self._found(target)
        self.experiment_id: str = run.info.experiment_id
        self.run_id: str = run.info.run_id
        self._start_ms: int = run.info.start_time
        self._params = set(run.data.params)
        self._note = ""
        self._front: object = None
        self._num_points = len(self.client.get_metric_history(self.run_id, "hypervolume"))
        mine = f"tags.`mlflow.parentRunId` = '{self.run_id}'"
        self._children: dict[str, tuple[str, str | None]] = {
            run.data.tags["autoprune.key"]: (
                run.info.run_id,
                run.data.tags.get("autoprune.content"),
            )
            for run in self._search(self.experiment_id, mine)
            if "autoprune.key" in run.data.tags
        }

    def _given(self, run_id: str) -> Run:
        """Make an existing run the study's."""
        self.client.set_tag(run_id, "autoprune.key", self.key)
        self.client.set_tag(run_id, "autoprune.study", self.study)
        return self.client.get_run(run_id)

    def _found(self, target: Target) -> Run:
        """Return the study's run, made when there is none."""
        experiment_id = target.experiment_id or self._experiment(target)
        if found := self._search(experiment_id, f"tags.`autoprune.key` = '{self.key}'"):
            return found[0]
        tags = {**self._tags, "autoprune.key": self.key, "autoprune.study": self.study}
        return self.client.create_run(experiment_id, tags=tags, run_name=self.study)

    def _experiment(self, target: Target) -> str:
        found = self.client.get_experiment_by_name(target.experiment)
        if found is not None:
            return str(found.experiment_id)
        made = self.client.create_experiment(target.experiment, target.artifacts, _EXPERIMENT_TAGS)
        return str(made)

    def _search(self, experiment_id: str, query: str) -> list[Run]:
        newest = ["attributes.start_time DESC"]
        found = self.client.search_runs([experiment_id], query, max_results=1000, order_by=newest)
        return list(found)

    def write(
        self, events: list[Event], summary: dict[str, Any], home: str, artifacts: Artifacts
    ) -> None:
        """Bring the runs to where the journal is."""
        self.write_children(content.children(events, summary, self.key))
        self._write_files(summary, artifacts)
        self._write_parent(events, summary, home)

    def _write_parent(self, events: list[Event], summary: dict[str, Any], home: str) -> None:
        now_s = events[-1]["time"]
        curve = content.hypervolume_values(events, summary)
        values = curve[self._num_points :]
        # At step 0, MLflow draws them as bars and leaves the line charts to the hypervolume.
        values += [content.Value(k, v, 0, now_s) for k, v in content.figures(summary).items()]
        params = {k: v for k, v in content.study_params(summary).items() if k not in self._params}
        note = content.note(summary, home)
        self._log(self.run_id, values, params, {"mlflow.note.content": note})
        self._num_points = len(curve)
        self._params |= set(params)
        self._end(self.run_id, _STATUS[summary["status"]], now_s)

    def _write_files(self, summary: dict[str, Any], artifacts: Artifacts) -> None:
        table = content.trials_table(summary)
        self.client.log_text(self.run_id, json.dumps(table), "trials.json")
        shown = json.dumps([{"path": "trials.json", "type": "table"}])
        self.client.set_tag(self.run_id, "mlflow.loggedArtifacts", shown)
        front = (summary["status"], summary["front"])
        if front == self._front:
            return
        self.client.log_text(self.run_id, json.dumps(summary["front"], indent=1), "front.json")
        self._write_artifacts(artifacts(summary))
        self._front = front

    def _write_artifacts(self, files: Mapping[str, Path]) -> None:
        for name, path in files.items():
            with tempfile.TemporaryDirectory() as folder:
                link = Path(folder, name)
                link.symlink_to(path.resolve())
                self.client.log_artifact(self.run_id, str(link))

    def write_run(
        self,
        *,
        values: Iterable[content.Value],
        params: Mapping[str, str],
        note: str,
        files: Mapping[str, Path],
        texts: Mapping[str, str],
        end_s: float,
    ) -> None:
        """Bring the study's own run to a finished answer."""
        new = {key: value for key, value in params.items() if key not in self._params}
        self._log(self.run_id, values, new, {"mlflow.note.content": note})
        self._params |= set(new)
        for name, text in texts.items():
            self.client.log_text(self.run_id, text, name)
        self._write_artifacts(files)
        self._end(self.run_id, "FINISHED", end_s)

    def write_children(self, children: Iterable[content.Child]) -> None:
        """Write child runs whose content changed, and remove those that are no more."""
        kept = set()
        for child in children:
            kept.add(child.key)
            run_id, written = self._children.get(child.key, (None, None))
            if written == child.content:
                continue
            if run_id is None:
                run_id = self._create(child)
            tags = {**child.tags, "mlflow.runName": child.name, "autoprune.content": child.content}
            self._log(run_id, child.values, child.params, tags)
            self._end(run_id, "FAILED" if child.failed else "FINISHED", child.end_s)
            self._children[child.key] = (run_id, child.content)
        for key in set(self._children) - kept:
            self.client.delete_run(self._children.pop(key)[0])

    def _create(self, child: content.Child) -> str:
        tags = {**self._tags, "autoprune.key": child.key, "mlflow.parentRunId": self.run_id}
        start_ms = self._ms(child.start_s)
        run = self.client.create_run(self.experiment_id, start_ms, tags, child.name)
        self._children[child.key] = (run.info.run_id, None)
        return str(run.info.run_id)

    def _ms(self, time_s: float) -> int:
        return self._start_ms + round(1000 * time_s)

    def _log(
        self,
        run_id: str,
        values: Iterable[content.Value],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(v.key, v.value, self._ms(v.time_s), v.step) for v in values]
        for begin in range(0, len(metrics), 900):
            self.client.log_batch(run_id, metrics[begin : begin + 900])
        self.client.log_batch(
            run_id,
            params=[Param(key, value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )

    def _end(self, run_id: str, status: str, time_s: float) -> None:
        if status == "RUNNING":
            self.client.update_run(run_id, status)
        else:
            self.client.set_terminated(run_id, status, self._ms(time_s))

    def register(self, name: str, folder: Path, description: str) -> str:
        """Register an exported folder and return the model's new version."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as temporary:
            model = Path(temporary, "champion")
            save_model(model, folder)
            self.client.log_artifacts(self.run_id, str(model), "champion")
        try:
            self.client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        root = self.client.get_run(self.run_id).info.artifact_uri
        version = self.client.create_model_version(
            name, f"{root}/champion", self.run_id, description=description
        )
        self.client.set_registered_model_alias(name, "champion", version.version)
        return str(version.version)
