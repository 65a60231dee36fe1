from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from autoprune.core.records import JobResult
from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.front import hypervolume, points
from autoprune.search.summary import entry_of, median_run, summarize
from tests.search.support import INFO, failing, simulation, small_space, start

OPTIONS = SearchOptions("16", confirm_seeds=3)


@pytest.fixture(scope="module")
def engine() -> Engine:
    space = small_space()
    found = start(space, OPTIONS)
    run = simulation(space)
    InlineExecutor(lambda job: failing(job) if job.number == 6 else run(job)).run(found)
    return found


@pytest.fixture(scope="module")
def summary(engine: Engine) -> dict[str, Any]:
    return summarize(engine.journal.events)


def test_it_is_json_and_a_pure_function_of_the_events(
    engine: Engine, summary: dict[str, Any]
) -> None:
    assert json.loads(json.dumps(summary, allow_nan=False)) == json.loads(json.dumps(summary))
    assert summarize(json.loads(json.dumps(engine.journal.events))) == summary


def test_the_contract(summary: dict[str, Any]) -> None:
    assert {
        *("study", "status", "trials", "jobs", "failed", "epochs_trained", "epochs_reused"),
        *("wall_s", "hypervolume", "dense", "front", "profile"),
    } <= set(summary)
    assert (summary["study"], summary["status"]) == ("small", "complete")
    assert (summary["jobs"], summary["failed"]) == (16, 1)
    assert summary["trials"] <= 15
    assert set(summary["dense"]) >= {"val_accuracy", "test_accuracy", "params", "macs"}
    entry_keys = {
        *("trial", "method", "kind", "lr_schedule", "allocation", "sparsity", "val_accuracy"),
        *("val_ci95", "test_accuracy", "test_ci95", "seeds", "params", "params_nonzero"),
        *("macs", "macs_effective", "config", "layers", "job", "median_job", "seeds_used"),
    }
    for entry in [*summary["front"], *summary["baselines"]]:
        assert entry_keys <= set(entry)
        assert entry["seeds"] == 3
        assert entry["seeds_used"] == [1, 2, 3]
        low, high = entry["val_ci95"]
        assert low < entry["val_accuracy"] < high


@pytest.mark.parametrize("measured", [["sparsity", "latency_ms"], ["latency_ms"], ["size_bytes"]])
def test_measured_objectives_have_a_front_too(measured: list[str]) -> None:
    space = small_space(objectives=["accuracy", *measured])
    found = start(space, SearchOptions("6", confirm_seeds=1))
    InlineExecutor(simulation(space)).run(found)
    summary = summarize(found.journal.events)
    assert summary["front"]
    for entry in [*summary["front"], *summary["baselines"]]:
        share = entry[measured[-1]] / entry[f"dense_{measured[-1]}"]
        assert entry["reduction"] == pytest.approx(
            entry["sparsity"] if measured[0] == "sparsity" else 1.0 - share
        )
    # Stopped before the confirmation, the search's own front stands in.
    events = found.journal.events
    early = events[: [event["event"] for event in events].index("confirm")]
    assert summarize(early)["front"]


def test_the_front_is_made_of_confirmed_means(engine: Engine, summary: dict[str, Any]) -> None:
    runs = [r for r in engine.state.records if r.job.purpose == "confirm"]
    for entry in summary["front"]:
        mine = [r for r in runs if r.job.trial == entry["trial"]]
        accuracies = sorted(r.result.metrics["val_accuracy"] for r in mine)
        assert entry["val_accuracy"] == pytest.approx(sum(accuracies) / 3)
        median = next(r for r in mine if r.job.number == entry["median_job"])
        assert median.result.metrics["val_accuracy"] == accuracies[1]
    for before, after in pairwise(summary["front"]):
        assert before["sparsity"] < after["sparsity"]
        assert before["val_accuracy"] > after["val_accuracy"]


def test_the_hypervolume_curve_rises_to_the_searchs_own(
    engine: Engine, summary: dict[str, Any]
) -> None:
    curve = summary["hypervolume_curve"]
    assert len(curve) == 16
    assert all(a[0] <= b[0] and a[1] <= b[1] + 1e-12 for a, b in pairwise(curve))
    found = points(engine.state.searched, ["accuracy", "sparsity"], INFO)
    assert curve[-1][1] == pytest.approx(hypervolume([p.values for p in found]))
    assert summary["hypervolume"] == pytest.approx(curve[-1][1])
    assert 0 < summary["confirmed_hypervolume"] < 1


def test_records_cover_every_search_job(summary: dict[str, Any]) -> None:
    rows = summary["records"]
    assert {row["job"] for row in rows} == set(range(16))
    broken = next(row for row in rows if row["job"] == 6)
    assert (broken["status"], broken["val_accuracy"], broken["pareto_rank"]) == (
        "failed",
        None,
        None,
    )
    assert not broken["on_front"]
    assert all(row["on_front"] == (row["pareto_rank"] == 0) for row in rows)


def test_of_two_magnitude_baselines_the_better_by_validation_stays(
    engine: Engine, summary: dict[str, Any]
) -> None:
    found = [e for e in summary["baselines"] if e["baseline"] == "magnitude"]
    assert sorted(e["config"]["sparsity"] for e in found) == [0.8, 0.9, 0.95, 0.98]
    for entry in found:
        sparsity = entry["config"]["sparsity"]
        rivals = [
            r.result.metrics["val_accuracy"]
            for r in engine.state.records
            if r.job.tag == "magnitude" and r.job.config.sparsity == sparsity and r.job.seed == 1
        ]
        assert len(rivals) == 2
        mine = next(
            r.result.metrics["val_accuracy"]
            for r in engine.state.records
            if r.job.trial == entry["trial"] and r.job.tag == "magnitude" and r.job.seed == 1
        )
        assert mine == max(rivals)


def test_costs_add_up(engine: Engine, summary: dict[str, Any]) -> None:
    costs = summary["costs"]
    by = costs["by_purpose"]
    assert set(by) == {"explore", "lift", "baseline", "confirm"}
    for key in ("epochs_trained", "epochs_reused"):
        assert sum(cost[key] for cost in by.values()) == pytest.approx(costs[key])
    assert by["explore"]["jobs"] + by["lift"]["jobs"] == 16
    assert 0 < costs["stages_reused"] < costs["stages_total"]


def test_an_unfinished_study_shows_the_searchs_own_front(engine: Engine) -> None:
    events = engine.journal.events
    cut = next(i for i, e in enumerate(events) if e["event"] == "confirm")
    summary = summarize(events[:cut])
    assert summary["status"] == "running"
    assert summary["front"]
    assert summary["profile"] == []
    assert summary["confirmed_hypervolume"] is None
    for entry in summary["front"]:
        assert (entry["seeds"], entry["test_accuracy"], entry["val_ci95"]) == (1, None, None)
    assert summary["dense"]["val_accuracy"] == 0.9
    assert summarize(events[:1])["front"] == []


def test_a_failed_study_tells_the_first_error() -> None:
    engine = start(small_space(), OPTIONS)
    InlineExecutor(failing).run(engine)
    summary = summarize(engine.journal.events)
    assert (summary["status"], summary["error"]) == ("failed", "boom in job 0")
    assert summary["front"] == []


def result(number: int, val: float, test: float | None = None) -> JobResult:
    metrics = {"val_accuracy": val, "val_loss": 1.0, "sparsity": 0.9, "params": 10.0}
    if test is not None:
        metrics["test_accuracy"] = test
    return JobResult(number, "t", "ok", metrics, final_key=f"k{number}")


def test_an_entry_of_one_run_without_test() -> None:
    config = small_space().plainest("imp")
    entry = entry_of(config, [result(0, 0.8)], INFO)
    assert (entry["method"], entry["kind"], entry["seeds"]) == ("imp", "weights", 1)
    assert entry["test_accuracy"] is entry["test_ci95"] is None
    assert isinstance(entry["params"], int)
    # One seed: the binomial term alone, 1.96 * sqrt(0.8 * 0.2 / 1000) = 0.0248.
    assert entry["val_ci95"] == pytest.approx([0.7752, 0.8248], abs=1e-4)


def test_the_median_run_is_the_lower_one_of_an_even_number() -> None:
    runs = [result(0, 0.9), result(1, 0.7), result(2, 0.8), result(3, 0.6)]
    assert median_run(runs).job == 1
    assert median_run(runs[:3]).job == 2
