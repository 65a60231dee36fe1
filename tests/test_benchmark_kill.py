"""The checks behind benchmarks.kill see what they are there to see, on journals made by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.engine import Engine, SearchOptions
from autoprune.search.executors.simulated import SimulatedExecutor, Simulation
from autoprune.search.journal import Journal
from autoprune.search.plans import Planner
from autoprune.space import load_space
from autoprune.stages.base import KeyContext, Numerics
from benchmarks.kill import checks
from benchmarks.kill.checks import Moment
from benchmarks.kill.decisions import Parts, replayed_otherwise
from benchmarks.kill.mirrored import differences
from benchmarks.kill.process import Search
from benchmarks.kill.table import COLUMNS, Row, cells, table
from tests.cli.support import write_space
from tests.tracking.study import INFO

Event = dict[str, Any]


def job(number: int) -> Event:
    return {"event": "job", "job": {"number": number}}


def result(number: int, *trained: str, reused: tuple[str, ...] = ()) -> Event:
    stages = [{"key": key, "epochs": 1.0, "reused": key in reused} for key in (*trained, *reused)]
    return {"event": "result", "result": {"job": number, "status": "ok", "stages": stages}}


WHOLE = [job(0), job(1), result(1, "dense", "b"), result(0, "a", reused=("dense",))]


def test_a_whole_journal_has_no_faults() -> None:
    assert checks.lost(WHOLE) == checks.duplicated(WHOLE) == checks.failed(WHOLE) == []
    assert checks.trained_twice(WHOLE) == set()
    assert checks.trained_though_stored(WHOLE, [Moment(4, stored=frozenset({"a"}))]) == set()


def test_a_lost_job_is_seen() -> None:
    assert checks.lost([*WHOLE, job(2)]) == [2]


@pytest.mark.parametrize(("more", "number"), [(job(1), 1), (result(1), 1), (result(7), 7)])
def test_a_job_decided_or_recorded_twice_or_never_decided_is_seen(more: Event, number: int) -> None:
    assert checks.duplicated([*WHOLE, more]) == [number]


def test_a_failed_job_is_seen() -> None:
    broken = {"event": "result", "result": {"job": 2, "status": "failed", "stages": []}}
    assert checks.failed([*WHOLE, broken]) == [2]


def test_a_stage_that_two_jobs_trained_is_seen() -> None:
    assert checks.trained_twice([*WHOLE, job(2), result(2, "dense")]) == {"dense"}


def test_a_stage_that_was_stored_and_trained_again_is_seen() -> None:
    at_kill = Moment(2, stored=frozenset({"dense"}))
    assert checks.trained_though_stored(WHOLE, [at_kill]) == {"dense"}
    # Beside a killed worker another job goes on, and reports its stages later.
    going_on = dataclasses.replace(at_kill, quiet=False)
    assert checks.trained_though_stored(WHOLE, [going_on]) == set()


@pytest.mark.parametrize(
    ("stored", "stopped", "count"), [((), 2, 2), (("a",), 2, 1), (("a", "b"), 2, 0), ((), 1, 1)]
)
def test_what_a_kill_cut_off_is_counted_once_per_process(
    stored: tuple[str, ...], stopped: int, count: int
) -> None:
    moment = Moment(2, stopped, frozenset(stored))
    assert checks.unfinished(WHOLE, [moment], lambda job: ["ab"[job["number"]]]) == count


def test_missing_and_other_items_differ() -> None:
    assert checks.differing([1, 2, 3], [1, 2, 3]) == 0
    assert checks.differing([1, 9], [1, 2, 3]) == 2


def test_outcomes_leave_out_who_did_the_work_and_when() -> None:
    one, other = result(0, "a"), result(0, reused=("a",))
    assert checks.outcomes([one]) == checks.outcomes([other])
    other["result"]["status"] = "diverged"
    assert checks.outcomes([one]) != checks.outcomes([other])


def test_what_was_on_disk_must_stay() -> None:
    assert checks.is_prefix(WHOLE[:2], WHOLE)
    assert not checks.is_prefix(WHOLE, WHOLE[:2])
    assert not checks.is_prefix([job(5)], WHOLE)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Event], Parts]:
    """A search of nine jobs on two workers that answer at once."""
    space = load_space(write_space(tmp_path_factory.mktemp("space")))
    keys = KeyContext("data", Numerics(), "sources")
    options = SearchOptions(budget="9", confirm_seeds=1)
    journal = Journal()
    header = {"seed": 0, "options": dataclasses.asdict(options)}
    journal.append({"event": "study", **header, "task": INFO.to_json()})
    engine = Engine(space, INFO, journal, context=keys, options=options)

    def answer(config: Any, epochs: int, seed: int) -> dict[str, float]:
        return {"val_accuracy": 0.9 - 0.3 * config.sparsity, "val_loss": 0.1}

    simulation = Simulation(answer, Planner(keys, INFO, space.rungs))
    SimulatedExecutor(simulation, workers=2).run(engine)
    return journal.events, Parts(space, INFO, keys, journal.events[0])


def test_decisions_replay_from_what_was_on_record(study: tuple[list[Event], Parts]) -> None:
    events, parts = study
    assert events[-1]["status"] == "complete"
    assert replayed_otherwise(events, parts) == 0


def test_a_decision_that_differs_is_seen(study: tuple[list[Event], Parts]) -> None:
    events, parts = study
    place = next(n for n, e in enumerate(events) if e["event"] == "job" and n > 8)
    other = {**events[place]["job"], "epochs": 77}
    edited = [*events[:place], {**events[place], "job": other}, *events[place + 1 :]]
    assert replayed_otherwise(edited[: place + 1], parts) == 1


def test_a_file_that_is_written_again_is_seen(tmp_path: Path) -> None:
    search = Search(tmp_path)
    folder = search.home / "store" / "aa"
    folder.mkdir(parents=True)
    path, new = folder / "aab.safetensors", folder / "tmpxyz"
    path.write_text("state")
    search.look()
    assert not search.rewrites.total()
    new.write_text("state")
    assert search.temporary == [new]
    new.replace(path)
    search.look()
    assert search.rewrites == {"aab": 1}


def test_a_row_says_what_is_not_zero() -> None:
    good = Row("kill", "inline", 3, 3, repeated=2, allowed=3, front=True)
    assert good.faults == []
    assert len(cells(good)) == len(COLUMNS)
    bad = dataclasses.replace(good, injuries=2, repeated=4, lost=1, front=False, wrong=("hung",))
    assert len(bad.faults) == 5
    shown = table([good, bad])
    assert all(fault in shown for fault in bad.faults)


def test_differences_name_the_run_and_the_field() -> None:
    want = {"runs": {"s": {"params": {"a": "1"}, "tags": {}}}, "files": {"f": "1", "g": "1"}}
    have = {
        "runs": {"s": {"params": {"a": "2"}, "tags": {}}, "t": {}},
        "files": {"f": "2", "g": "1"},
    }
    assert differences(want, want) == []
    assert differences(want, have) == ["runs s: params", "runs t: only in MLflow", "files f"]
