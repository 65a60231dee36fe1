"""Sharing, scale and honesty of the front: the arithmetic, and the real thing at tiny sizes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from autoprune.core.errors import StudyError
from benchmarks import optimism as honest
from benchmarks.common import Row
from benchmarks.scale import busy, recorded, rows_of, simulate
from benchmarks.sharing import count, differing, train
from tests.cli.support import write_space


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object, list[str]]:
    folder = tmp_path_factory.mktemp("shared")
    return folder, *train(folder, 4, write_space(folder))


# --- sharing ----------------------------------------------------------------------------------


def test_every_bit_is_the_same_without_the_store(shared) -> None:
    _, state, different = shared
    assert len(state.records) > 6
    assert count(state.records).factor > 1.5  # the store was of use, so its absence can show
    assert different == []


def test_a_result_that_is_not_what_the_job_gives_is_told(shared) -> None:
    folder, state, _ = shared
    path = folder / "studies" / "shared" / "journal.jsonl"
    recorded_text = path.read_text()
    job = state.records[0].job.number
    try:
        path.write_text(recorded_text.replace('"val_accuracy":0.', '"val_accuracy":0.0'))
        assert list(differing(folder, "shared", [job]))
    finally:
        path.write_text(recorded_text)


# --- scale ------------------------------------------------------------------------------------


def test_busy_shares_are_told_apart() -> None:
    # Two workers. The search hands out its last job at 4 and ends at 6; one finalist runs to 8.
    spans = [(0.0, 4.0, "explore"), (0.0, 6.0, "lift"), (4.0, 5.0, "lift"), (6.0, 8.0, "confirm")]
    found = busy(spans, 2)
    assert found.search == 1.0
    assert found.drain == pytest.approx(3 / 4)
    assert found.confirmation == pytest.approx(2 / 4)
    assert found.whole == pytest.approx(13 / 16)
    assert found.most == pytest.approx(13 / 16)  # the lift of 6 and the finalist of 2 are a chain


def test_a_simulated_cluster_keeps_its_workers_busy_while_the_search_has_jobs() -> None:
    found = simulate(16, workers=4)
    assert found.search > 0.95
    assert [row.holds for row in rows_of(16, found, 4)][:1] == [True]


def test_durations_come_from_a_journal(shared) -> None:
    folder, state, _ = shared
    durations = recorded(folder / "studies" / "shared" / "journal.jsonl")
    trained = [r for r in state.records if r.result.epochs_trained]
    assert len(durations.factors) == len(trained)
    assert durations(0.0) < durations(1e6) < math.inf


def test_times_must_not_fall_below() -> None:
    assert Row("x", 3.5, "times", 3.0, 1).holds
    assert not Row("x", 2.5, "times", 3.0, 1).holds


# --- optimism ---------------------------------------------------------------------------------


def test_the_greater_error_counts() -> None:
    # Points: means of (0, 2) and (2, 4); seeds: means of (0, 2) and (2, 4) as well.
    found = honest.optimism([0.90, 0.92], [[0.90, 0.88], [0.90, 0.88]])
    assert found.by_point == pytest.approx([1.0, 3.0])
    assert found.mean == pytest.approx(2.0)
    assert found.error_points == pytest.approx(1.0)
    assert found.error_seeds == pytest.approx(1.0)
    # Points alike, seeds apart: the dense nets are what was drawn.
    found = honest.optimism([0.9, 0.9], [[0.90, 0.86], [0.90, 0.86]])
    assert found.error_points == pytest.approx(0.0)
    assert found.error == found.error_seeds == pytest.approx(2.0)


def test_a_front_is_measured_again_and_goes_on_where_it_stopped(shared, tmp_path: Path) -> None:
    folder, state, _ = shared
    front = honest.load(folder, "shared", 2)
    used = {job.seed for job in state.jobs.values()}
    assert not used & set(front.seeds)
    results = honest.results_of(folder, "shared")
    assert honest.report(front, results, tmp_path) is None
    assert honest.run(front, results, inline=True)
    count_rows = len(results.path.read_text().splitlines())
    assert count_rows == 2 * len(front.points)
    # A second run finds everything; after a torn line only that job runs again.
    assert honest.run(front, honest.results_of(folder, "shared"), inline=True)
    assert len(results.path.read_text().splitlines()) == count_rows
    results.path.write_text(results.path.read_text()[:-40])
    again = honest.results_of(folder, "shared")
    assert len(again.rows) == count_rows - 1
    assert honest.run(front, again, inline=True)
    assert len(honest.results_of(folder, "shared").rows) == count_rows
    path = honest.report(front, results, tmp_path)
    assert path is not None
    text = path.read_text()
    assert "Mean optimism" in text
    assert text.count("| `") == len(front.points)
    assert "nan" not in text


def test_a_study_that_is_not_finished_is_refused(shared, tmp_path: Path) -> None:
    folder, _, _ = shared
    source = folder / "studies" / "shared" / "journal.jsonl"
    target = tmp_path / "studies" / "half" / "journal.jsonl"
    target.parent.mkdir(parents=True)
    target.write_text("".join(source.read_text().splitlines(keepends=True)[:6]))
    with pytest.raises(StudyError, match="--study must be complete"):
        honest.load(tmp_path, "half")
