"""The ready-made studies through the command line, on digits, to their files and into MLflow."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.cli.support import Done, call, succeed
from tests.e2e.support import Studied

pytestmark = [pytest.mark.slow, pytest.mark.mlflow]

ORACLE = (
    *("oracle", "--cycles", "2", "--peaks", "0.01,0.1,0.3", "--seeds", "2", "--epochs", "1"),
    *("--sparsity", "90%", "--set", "train.epochs=2", "--executor", "inline"),
)
SHRINKBENCH = [
    *("dataset", "model", "strategy", "compression", "size", "size_nz", "real_compression"),
    *("flops", "flops_nz", "speedup", "pre_acc1", "pre_acc5", "post_acc1", "post_acc5"),
    *("seed", "batch_size", "epochs", "optim", "lr", "completed_epochs", "path"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("experiments")


@pytest.fixture(scope="module")
def oracle(home: Path) -> Done:
    return succeed(*ORACLE, "--home", home, "--json")


def _events(home: Path) -> list[dict[str, Any]]:
    paths = list((home / "experiments").glob("*/journal.jsonl"))
    text = paths[0].read_text() if paths else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def test_the_oracle_answers_in_the_contracts_words(oracle: Done) -> None:
    found = oracle.json
    assert [row["cycle"] for row in found["cycles"]] == [1, 2]
    for row in found["cycles"]:
        assert set(row) >= {
            *("cycle", "sparsity", "oracle_peak", "interval", "silo_peak", "inside"),
            *("oracle_accuracy", "silo_accuracy"),
        }
        low, high = row["interval"]
        assert low <= row["oracle_peak"] <= high
        assert row["inside"] == (low <= row["silo_peak"] <= high)
        best = max(cell["val_accuracy"] for cell in row["grid"])
        assert best == next(
            cell["val_accuracy"] for cell in row["grid"] if cell["peak"] == row["oracle_peak"]
        )
        assert row["oracle_val_accuracy"] == pytest.approx(best)
    assert found["cycles"][-1]["sparsity"] == pytest.approx(0.9)
    assert found["cost_ratio"] == pytest.approx(1 / 3)
    assert found["status"] == "complete"
    names = [row["name"] for row in found["schedules"] if row["val"]]
    assert names == [
        *("oracle", "silo", "silo_fitted", "fixed_peak", "cosine", "one_cycle", "lrw", "allr")
    ]


def test_asked_again_it_runs_nothing_and_says_the_same(oracle: Done, home: Path) -> None:
    events = _events(home)
    again = succeed(*ORACLE, "--home", home, "--json").json
    assert _events(home) == events
    assert again == oracle.json


def test_it_leaves_a_picture_a_table_and_a_run_in_mlflow(oracle: Done, home: Path) -> None:
    import mlflow

    files = {name: Path(path) for name, path in oracle.json["files"].items()}
    assert files["picture.png"].read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(files["results.csv"].open()))
    assert len(rows) > 2 * 3, "the grid, and the schedules"
    ids = oracle.json["mlflow"]
    client = mlflow.MlflowClient(tracking_uri=ids["tracking_uri"])
    run = client.get_run(ids["run_id"])
    peaks = client.get_metric_history(ids["run_id"], "oracle_peak")
    assert [value.step for value in peaks] == [1, 2]
    assert run.data.metrics["cost_ratio"] == pytest.approx(1 / 3)
    mine = f"tags.`mlflow.parentRunId` = '{ids['run_id']}'"
    children = client.search_runs([ids["experiment_id"]], mine)
    assert len(children) == 8
    artifacts = {item.path for item in client.list_artifacts(ids["run_id"])}
    assert artifacts == {"picture.png", "results.csv", "answer.json"}


def test_sync_brings_an_answer_to_another_store(oracle: Done, home: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'other.db'}"
    name = oracle.json["study"]
    first = succeed("sync", name, "--tracking-uri", uri, "--home", home, "--json").json
    second = succeed("sync", name, "--tracking-uri", uri, "--home", home, "--json").json
    assert first == second
    assert first[0]["study"] == name


def test_a_killed_oracle_goes_on_with_the_same_command(
    oracle: Done, home: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "autoprune", *ORACLE, "--home", str(tmp_path)]
    for lines in (4, 15):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        while len(_events(tmp_path)) < lines:
            try:
                _, told = process.communicate(timeout=0.005)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"ended before line {lines}: {told.decode()}")
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    found = succeed(*ORACLE, "--home", tmp_path, "--json").json
    events = _events(tmp_path)
    results = Counter(e["result"]["job"] for e in events if e["event"] == "result")
    assert set(results.values()) == {1}
    assert sorted(results) == sorted(e["job"]["number"] for e in events if e["event"] == "job")
    for key in ("cycles", "schedules", "comparisons", "cost_ratio", "costs", "study"):
        assert found[key] == oracle.json[key], key


def test_a_sweep_writes_shrinkbenchs_columns(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    found = succeed(
        *("sweep", "--methods", "magnitude,random", "--ratios", "1,4", "--seeds", "2"),
        *("--epochs", "2", "--set", "train.epochs=2", "--executor", "inline"),
        *("--csv", out, "--home", home, "--json"),
    ).json
    table = list(csv.DictReader(out.open()))
    assert list(table[0])[: len(SHRINKBENCH)] == SHRINKBENCH
    assert len(table) == 2 * 2 * 2
    for row in table:
        # digits: 360 test images; a mean over examples is a whole number of them.
        assert float(row["post_acc1"]) * 360 == pytest.approx(round(float(row["post_acc1"]) * 360))
        assert float(row["post_acc1"]) <= float(row["post_acc5"]) <= 1.0
        assert float(row["size"]) == pytest.approx(
            float(row["real_compression"]) * float(row["size_nz"])
        )
    assert {row["n"] for curve in found["curves"] for row in curve["points"]} == {2}


def test_a_sweep_over_noisy_labels_tells_phases(home: Path) -> None:
    done = succeed(
        *("sweep", "--label-noise", "0.2", "--levels", "2", "--seeds", "1", "--epochs", "1"),
        *("--set", "train.epochs=1", "--executor", "inline", "--home", home, "--json"),
    )
    found = done.json
    assert found["label_noise"] == 0.2
    assert len(found["phases"]) == 2
    rows = [row for row in found["rows"] if row["target_sparsity"] > 0]
    assert all(0.0 <= row["train_acc1"] <= 1.0 for row in rows)
    for row in rows:
        parts = row["distance_alive"] ** 2 + row["distance_pruned"] ** 2
        assert row["distance"] ** 2 == pytest.approx(parts)
    paths = {}
    for row in rows:
        paths.setdefault("re-initialised" in row["method"], []).append(row["path"])
    assert not set(paths[True]) & set(paths[False]), "tickets and controls are other runs"


def test_a_trial_is_compared_with_its_own_mask_from_scratch(studied: Studied) -> None:
    entry = next(e for e in studied.summary["front"] if e["kind"] == "weights")
    found = studied(
        *("sweep", "scratch", "tiny", "--trial", entry["trial"], "--seeds", "2"),
        *("--executor", "inline", "--json"),
    )
    assert found.code == 0, found.err
    answer = found.json
    arms = {arm["name"]: arm for arm in answer["arms"]}
    assert set(arms) == {"retrained", "scratch_e", "scratch_b"}
    assert arms["scratch_e"]["mask_sha256"] == arms["retrained"]["mask_sha256"]
    # The trial's own runs are those of its confirmation: read from the store, bit for bit.
    assert arms["retrained"]["test_accuracies"] == entry["test_accuracies"]
    assert answer["verdict"] in found.said


def test_studies_are_listed_and_deleted(home: Path, oracle: Done, tmp_path: Path) -> None:
    rows = succeed("studies", "--home", home, "--json").json
    kinds = {row["study"]: row["kind"] for row in rows}
    assert kinds[oracle.json["study"]] == "oracle"
    small = (*ORACLE[:1], "--cycles", "1", *ORACLE[3:], "--name", "small", "--home", tmp_path)
    succeed(*small)
    assert call("oracle", "--cycles", "3", "--name", "small", "--home", tmp_path).code == 2
    assert succeed("rm", "small", "--home", tmp_path, "--json").json["freed_bytes"] > 0
    assert succeed("studies", "--home", tmp_path, "--json").json == []
