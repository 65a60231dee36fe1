"""What a journal says MLflow should hold, and what MLflow holds, in one comparable form."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autoprune.core.canonical import digest
from autoprune.search.study import read_events, study_folder
from autoprune.search.summary import summarize
from autoprune.tracking import content
from autoprune.tracking.keys import study_key
from autoprune.tracking.store import default_uri

_STATUS = {"running": "RUNNING", "complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_OURS = ("mlflow.user", "mlflow.source.", "mlflow.parentRunId", "mlflow.loggedArtifacts")
"""Tags that every run has, whatever the journal says."""


def expected(home: Path, study: str) -> dict[str, Any]:
    """Return what MLflow should hold: runs by key, and the sha256 of each file."""
    events = read_events(home, study)
    summary = summarize(events)
    key = study_key(home, study)
    volumes = [(v.key, v.step, v.value) for v in content.hypervolume_values(events, summary)]
    parent: dict[str, Any] = {
        "status": _STATUS[summary["status"]],
        "params": content.study_params(summary),
        "tags": {
            "autoprune.key": key,
            "autoprune.study": study,
            "mlflow.note.content": content.note(summary, str(home)),
            "mlflow.runName": study,
        },
        "metrics": _latest([*volumes, *((k, 0, v) for k, v in content.figures(summary).items())]),
    }
    runs = {key: parent}
    for child in content.children(events, summary, key):
        runs[child.key] = {
            "status": "FAILED" if child.failed else "FINISHED",
            "params": child.params,
            "tags": {
                **dict(child.tags),
                "autoprune.key": child.key,
                "autoprune.content": child.content,
                "mlflow.runName": child.name,
            },
            "metrics": _latest((v.key, v.step, v.value) for v in child.values),
        }
    folder = study_folder(home, study)
    files = {
        "trials.json": json.dumps(content.trials_table(summary)).encode(),
        "front.json": json.dumps(summary["front"], indent=1).encode(),
        **{name: (folder / name).read_bytes() for name in ("pareto.html", "front.png")},
    }
    return {"runs": runs, "files": {name: _sha256(data) for name, data in files.items()}}


def found(home: Path, study: str, uri: str | None = None) -> dict[str, Any]:
    """Return what MLflow holds of a study, in the form of `expected`."""
    client, parent, children = _runs(home, study, uri)
    runs = {
        run.data.tags["autoprune.key"]: {
            "status": run.info.status,
            "params": dict(run.data.params),
            "tags": {k: v for k, v in run.data.tags.items() if not k.startswith(_OURS)},
            "metrics": _latest(
                (m.key, m.step, m.value) for m in _history(client, run) if m is not None
            ),
        }
        for run in (parent, *children)
    }
    return {"runs": runs, "files": _files(client, parent.info.run_id)}


def everything(home: Path, study: str, uri: str | None = None) -> str:
    """Return a digest of all MLflow holds of a study: ids, times and whole histories included."""
    client, parent, children = _runs(home, study, uri)
    rows = [
        [run.info.run_id, run.info.start_time, run.info.end_time, run.info.status,
         dict(run.data.params), dict(run.data.tags),
         sorted([m.key, m.step, m.value, m.timestamp] for m in _history(client, run))]
        for run in (parent, *children)
    ]  # fmt: skip
    return digest([sorted(rows, key=lambda row: str(row[0])), _files(client, parent.info.run_id)])


def differences(want: dict[str, Any], have: dict[str, Any]) -> list[str]:
    """Name what differs, the first few of them; equal digests have none."""
    if digest(want) == digest(have):
        return []
    told = []
    for part in ("runs", "files"):
        names = sorted({*want[part], *have[part]})
        for name in names:
            a, b = want[part].get(name), have[part].get(name)
            if a is None or b is None:
                told.append(f"{part} {name}: only in {'MLflow' if a is None else 'the journal'}")
            elif isinstance(a, dict):
                told += [f"{part} {name}: {field}" for field in a if a[field] != b[field]]
            elif a != b:
                told.append(f"{part} {name}")
    return told


def ids(home: Path, study: str, uri: str | None = None) -> dict[str, str | None]:
    """Return where a study's run is, in the form of `Mirror.ids`."""
    _, parent, _ = _runs(home, study, uri)
    info = parent.info
    store = uri or default_uri(home)
    return {"tracking_uri": store, "experiment_id": info.experiment_id, "run_id": info.run_id}


def _runs(home: Path, study: str, uri: str | None) -> tuple[Any, Any, list[Any]]:
    import mlflow

    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    client = mlflow.MlflowClient(tracking_uri=uri or default_uri(home))
    experiment = client.get_experiment_by_name(f"autoprune/{study}")
    if experiment is None:
        raise LookupError(f"MLflow has no experiment autoprune/{study}")
    key = study_key(home, study)
    listed = list(client.search_runs([experiment.experiment_id], max_results=1000))
    (parent,) = [run for run in listed if run.data.tags.get("autoprune.key") == key]
    mine = parent.info.run_id
    children = [run for run in listed if run.data.tags.get("mlflow.parentRunId") == mine]
    keys = [run.data.tags["autoprune.key"] for run in children]
    if len(set(keys)) < len(keys):
        raise LookupError("MLflow has two runs of one trial")
    return client, parent, children


def _history(client: Any, run: Any) -> Iterable[Any]:
    for key in sorted(run.data.metrics):
        points = client.get_metric_history(run.info.run_id, key)
        yield from sorted(points, key=lambda point: point.timestamp)


def _latest(values: Iterable[tuple[str, int, float]]) -> list[list[Any]]:
    """Return the last value of every metric and step, in order: later ones replace earlier ones."""
    last = {(key, int(step)): float(value) for key, step, value in values}
    return [[key, step, value] for (key, step), value in sorted(last.items())]


def _files(client: Any, run_id: str) -> dict[str, str]:
    """Return the sha256 of the run's own files (a registered model has its own proof)."""
    with tempfile.TemporaryDirectory() as folder:
        names = [item.path for item in client.list_artifacts(run_id) if not item.is_dir]
        paths = {name: Path(client.download_artifacts(run_id, name, folder)) for name in names}
        return {name: _sha256(path.read_bytes()) for name, path in paths.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
