from __future__ import annotations

import json
import logging
import math
import shutil
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoprune.core.errors import AutoPruneError, StudyError
from autoprune.search.summary import summarize
from autoprune.tracking.keys import has_champion
from autoprune.tracking.mlflow import Mirror, sync
from autoprune.tracking.store import default_uri
from tests.tracking.study import job_events, make_events, write_events

pytestmark = pytest.mark.mlflow


@pytest.fixture
def home(tmp_path: Path, empty_store: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture
def client(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=default_uri(home), registry_uri=default_uri(home))


def children(client: Any, ids: dict[str, Any]) -> list[Any]:
    query = f"tags.`mlflow.parentRunId` = '{ids['run_id']}'"
    return list(client.search_runs([ids["experiment_id"]], query, max_results=1000))


def snapshot(client: Any, ids: dict[str, Any]) -> Any:
    """Everything a copy may write, metric histories included."""
    runs = [client.get_run(ids["run_id"]), *children(client, ids)]
    return {
        run.info.run_id: (
            run.to_dictionary(),
            {
                key: [(m.step, m.timestamp, m.value) for m in points]
                for key in run.data.metrics
                if (points := client.get_metric_history(run.info.run_id, key))
            },
        )
        for run in runs
    }


def test_the_parent_shows_the_study(home: Path, client: Any) -> None:
    events = make_events(8, end="complete")
    write_events(home, events)
    summary = summarize(events)
    ids = sync(home, "digits")
    run = client.get_run(ids["run_id"])
    assert ids["tracking_uri"] == default_uri(home)
    assert client.get_experiment(ids["experiment_id"]).name == "autoprune/digits"
    assert (run.info.run_name, run.info.status) == ("digits", "FINISHED")
    assert run.data.params["budget"] == "8"
    assert run.data.params["seed"] == "7"
    assert run.data.metrics["jobs"] == 8
    assert run.data.metrics["dense_val_accuracy"] == pytest.approx(0.97)
    assert run.data.metrics["front_points"] == len(summary["front"])
    points = client.get_metric_history(ids["run_id"], "hypervolume")
    # 1.5 epochs a job: 1.5, 3, 4.5 ... as whole steps; job k ends k + 1 seconds into the study.
    assert [p.step for p in points] == [1, 3, 4, 6, 7, 9, 10, 12]
    assert [p.timestamp - run.info.start_time for p in points] == [1000 * k for k in range(1, 9)]
    assert [p.value for p in points] == [volume for _, volume in summary["hypervolume_curve"]]
    note = run.data.tags["mlflow.note.content"]
    assert f"autoprune export digits --home {home}" in note
    assert all(f"`{entry['trial']}`" in note for entry in summary["front"])


def test_children_show_their_trials(home: Path, client: Any) -> None:
    events = make_events(8, end="complete")
    write_events(home, events)
    ids = sync(home, "digits")
    front = {entry["trial"] for entry in summarize(events)["front"]}
    rows = {row["trial"]: row for row in summarize(events)["records"]}
    runs = children(client, ids)
    assert len(runs) == 8
    for run in runs:
        row = rows[run.data.tags["autoprune.trial"]]
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {
            "val_accuracy": row["val_accuracy"],
            "sparsity": row["sparsity"],
            "log10_density": pytest.approx(math.log10(1 - row["sparsity"])),
            "pareto_rank": row["pareto_rank"],
            "epochs": row["epochs"],
            "macs_effective": row["macs_effective"],
        }
        tags = run.data.tags
        assert tags["autoprune.pareto"] == ("true" if row["trial"] in front else "false")
        assert tags["method"] == row["method"]
        assert (tags["kind"], tags["lr_schedule"], tags["allocation"]) == (
            row["kind"],
            "linear",
            "global",
        )
        assert run.data.params["lr.peak"] == "0.1"
        # Job k takes half a second and ends k + 1 seconds into the study.
        assert run.info.end_time - run.info.start_time == 500
    assert front == {
        r.data.tags["autoprune.trial"] for r in runs if r.data.tags["autoprune.pareto"] == "true"
    }


def test_a_second_copy_changes_nothing(home: Path, client: Any) -> None:
    write_events(home, make_events(6, end="complete"))
    ids = sync(home, "digits")
    before = snapshot(client, ids)
    mirror = Mirror(home, "digits")
    mirror.sync()
    mirror.sync()
    assert mirror.ids == ids
    assert snapshot(client, ids) == before


def test_growing_copies_end_where_one_copy_does(home: Path, client: Any) -> None:
    events = make_events(6, end="complete")
    for length in (1, 5, 8, len(events)):
        write_events(home, events[:length])
        ids = sync(home, "digits")
        status = client.get_run(ids["run_id"]).info.status
        assert status == ("FINISHED" if length == len(events) else "RUNNING")
    points = client.get_metric_history(ids["run_id"], "hypervolume")
    assert [p.step for p in points] == [1, 3, 4, 6, 7, 9]
    ranks = {row["trial"]: row["pareto_rank"] for row in summarize(events)["records"]}
    assert {
        run.data.tags["autoprune.trial"]: run.data.metrics["pareto_rank"]
        for run in children(client, ids)
    } == ranks


def test_a_promoted_trial_stays_one_run(home: Path, client: Any) -> None:
    events = make_events(2)
    events += job_events(2, 0.5 + 0.49 / 2, 0)
    again = events[-2]["job"]
    assert again["config"] != events[3]["job"]["config"]
    first = events[3]["job"]
    again.update(config=first["config"], trial=first["trial"], epochs=9)
    events[-1]["result"].update(trial=first["trial"])
    write_events(home, events)
    ids = sync(home, "digits")
    runs = children(client, ids)
    assert len(runs) == 2
    run = next(r for r in runs if r.data.tags["autoprune.trial"] == first["trial"])
    history = client.get_metric_history(run.info.run_id, "val_accuracy")
    assert sorted(p.step for p in history) == [1, 9]
    assert run.data.metrics["epochs"] == 9


def test_at_most_ninety_children_and_the_rest_in_a_table(home: Path, client: Any) -> None:
    events = make_events(95, end="complete")
    write_events(home, events)
    ids = sync(home, "digits")
    runs = children(client, ids)
    assert len(runs) == 90
    ranks = {row["trial"]: row["pareto_rank"] for row in summarize(events)["records"]}
    shown = {run.data.tags["autoprune.trial"] for run in runs}
    hidden = set(ranks) - shown
    assert max(ranks[t] for t in shown) <= min(ranks[t] for t in hidden)
    table = json.loads(Path(client.download_artifacts(ids["run_id"], "trials.json")).read_text())
    assert len(table["data"]) == 95
    assert {row[table["columns"].index("trial")] for row in table["data"]} == set(ranks)


def test_a_trial_that_drops_out_is_deleted(
    home: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.tracking.content.MAX_CHILDREN", 3)
    events = make_events(8, end="complete")
    write_events(home, events[:9])
    ids = sync(home, "digits")
    write_events(home, events)
    mirror = Mirror(home, "digits")
    mirror.sync()
    assert len(children(client, ids)) == 3


def test_artifacts_lie_under_home(
    home: Path, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    page = tmp_path / "somewhere.html"
    page.write_text("<html></html>")
    events = make_events(4, end="complete")
    write_events(home, events)
    ids = sync(home, "digits", artifacts=lambda summary: {"pareto.html": page})
    names = {item.path for item in client.list_artifacts(ids["run_id"])}
    assert names == {"front.json", "trials.json", "pareto.html"}
    (front,) = (home / "artifacts").rglob("front.json")
    shown = [entry["trial"] for entry in json.loads(front.read_text())]
    assert shown == [entry["trial"] for entry in summarize(events)["front"]]
    assert list(elsewhere.iterdir()) == []


def test_a_study_made_again_gets_a_run_of_its_own(home: Path) -> None:
    write_events(home, make_events(2))
    first = sync(home, "digits")
    shutil.rmtree(home / "studies")
    write_events(home, make_events(2))
    second = sync(home, "digits")
    assert first["experiment_id"] == second["experiment_id"]
    assert first["run_id"] != second["run_id"]


def test_a_missing_study_is_bad_input(home: Path) -> None:
    with pytest.raises(StudyError, match="must be one of those in"):
        sync(home, "digits")


def test_the_environment_chooses_store_and_experiment(
    home: Path, client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(home))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    other = tmp_path / "other"
    write_events(other, make_events(2))
    ids = sync(other, "digits")
    assert ids["tracking_uri"] == default_uri(home)
    assert client.get_experiment(ids["experiment_id"]).name == "mine"
    assert not (other / "mlflow.db").exists()


def test_a_run_of_mlflow_run_becomes_the_study(
    home: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment_id = client.create_experiment("project", (home / "artifacts").as_uri())
    run = client.create_run(experiment_id, run_name="project run")
    client.log_param(run.info.run_id, "budget", "given by the project")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", default_uri(home))
    monkeypatch.setenv("MLFLOW_RUN_ID", run.info.run_id)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", experiment_id)
    write_events(home, make_events(4, end="complete"))
    mirror = Mirror(home, "digits")
    # `mlflow.start_run` removes it; the mirror has read it already.
    monkeypatch.delenv("MLFLOW_RUN_ID")
    mirror.sync()
    assert mirror.ids["run_id"] == run.info.run_id
    found = client.get_run(run.info.run_id)
    assert found.info.run_name == "project run"
    assert found.data.params["budget"] == "given by the project"
    assert found.data.params["seed"] == "7"
    assert len(children(client, mirror.ids)) == 4
    assert client.get_experiment_by_name("autoprune/digits") is None
    assert sync(home, "digits")["run_id"] == run.info.run_id


def test_the_thread_follows_the_journal(home: Path, client: Any) -> None:
    events = make_events(6, end="complete")
    write_events(home, events[:1])
    mirror = Mirror(home, "digits")
    mirror.start()
    for length in range(2, len(events) + 1):
        write_events(home, events[:length])
        mirror.apply(events[length - 1])
        mirror.apply(events[length - 1])
    mirror.close()
    run = client.get_run(mirror.ids["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.metrics["jobs"] == 6
    assert len(children(client, mirror.ids)) == 6


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_outage_is_told_once_and_never_raises(
    tmp_path: Path,
    closed_port: int,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    events = make_events(3, end="complete")
    write_events(tmp_path, events)
    mirror = Mirror(tmp_path, "digits", f"http://127.0.0.1:{closed_port}")
    with caplog.at_level(logging.WARNING, "autoprune"):
        mirror.start()
        mirror.apply(events[-1])
        mirror.close()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "the search goes on" in messages[0]
    assert "`autoprune sync digits` catches up" in messages[1]
    assert mirror.ids["run_id"] is None
    with pytest.raises(AutoPruneError, match=f"MLflow at http://127.0.0.1:{closed_port} failed"):
        mirror.sync()


def test_a_store_that_comes_back_is_caught_up(
    home: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_events(home, make_events(4, end="complete"))
    full = home / "mlflow.db"
    full.rename(home / "away.db")
    full.mkdir()
    mirror = Mirror(home, "digits")
    with pytest.raises(AutoPruneError):
        mirror.sync()
    full.rmdir()
    (home / "away.db").rename(full)
    mirror.sync()
    assert len(children(client, mirror.ids)) == 4


def test_a_database_that_fails_is_told_in_one_line(
    home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    write_events(home, make_events(3))
    mirror = Mirror(home, "digits")
    mirror.sync()
    full = home / "mlflow.db"
    full.write_bytes(full.read_bytes()[:5000])  # what is beyond is gone: sqlite refuses it
    write_events(home, make_events(4, end="complete"))
    with pytest.raises(AutoPruneError, match=r"^MLflow at sqlite:.* failed: ") as caught:
        mirror.sync()
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING, "autoprune"), mirror:
        pass
    assert [r.getMessage() for r in caplog.records if "\n" in r.getMessage()] == []
    assert any("the search goes on" in r.getMessage() for r in caplog.records)
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits on the mlp after one epoch, as the export writes it."""
    from autoprune.core.config import TrainConfig, TrialConfig
    from autoprune.core.records import Job
    from autoprune.data.taskfile import identify
    from autoprune.export.folder import export_job
    from autoprune.methods.base import complete
    from autoprune.trial.context import open_context

    config = TrialConfig(train=TrainConfig(epochs=1))
    config = complete(replace(config, task=identify(config.task)))
    out = tmp_path_factory.mktemp("exported") / "model"
    context = open_context(config.task, home=out.parent / "home", top_epochs=1)
    export_job(Job(0, config, 1, 0, "run", test=True), context, out, formats=["safetensors"])
    return out


def test_the_champion_is_registered_and_loads_with_pickle_refused(
    home: Path,
    client: Any,
    exported: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import mlflow

    from autoprune.export.load import load_predictor

    write_events(home, make_events(2, end="complete"))
    mirror = Mirror(home, "digits")
    mirror.sync()
    assert not has_champion(mirror.ids, "digits")
    assert [mirror.register_champion(exported) for _ in range(2)] == ["1", "2"]
    assert has_champion(mirror.ids, "digits")
    assert not has_champion({**mirror.ids, "run_id": "another"}, "digits")
    assert capfd.readouterr() == ("", "")
    version = client.get_model_version_by_alias("autoprune-digits", "champion")
    assert (int(version.version), version.run_id) == (2, mirror.ids["run_id"])
    assert "(N, 1, 8, 8)" in version.description
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    root = client.get_run(mirror.ids["run_id"]).info.artifact_uri
    model = mlflow.pyfunc.load_model(f"{root}/champion")
    raw = np.random.default_rng(0).integers(0, 17, (5, 1, 8, 8)).astype(np.uint8)
    np.testing.assert_array_equal(model.predict(raw), load_predictor(exported)(raw))
    assert not [path.name for path in (home / "artifacts").rglob("*.pkl")]


def test_close_without_start_is_nothing(tmp_path: Path) -> None:
    write_events(tmp_path, make_events(1))
    Mirror(tmp_path, "digits").close()
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]
