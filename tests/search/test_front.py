from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.core.config import TrialConfig
from autoprune.core.records import Job, JobResult, RoundRecord
from autoprune.search.front import (
    fill,
    front,
    hypervolume,
    nondominated,
    points,
    ranks,
    spread,
    values,
)
from autoprune.search.state import Record
from tests.search.support import INFO

OBJECTIVES = ("accuracy", "sparsity")
TABLE = st.lists(st.tuples(st.integers(0, 20), st.integers(-20, 0)), min_size=1, max_size=30)


@settings(derandomize=True, max_examples=100)
@given(TABLE, st.randoms(use_true_random=False))
def test_the_front_ignores_order(table: list[tuple[int, int]], random: object) -> None:
    shuffled = list(table)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis' Random
    kept = {table[i] for i in nondominated(table)}
    assert kept == {shuffled[i] for i in nondominated(shuffled)}


@settings(derandomize=True, max_examples=100)
@given(TABLE)
def test_the_front_ignores_monotone_rescaling(table: list[tuple[int, int]]) -> None:
    scaled = [(math.exp(a / 5), float(b) ** 3 - 7) for a, b in table]
    assert nondominated(table) == nondominated(scaled)
    assert ranks(table) == ranks(scaled)


@settings(derandomize=True, max_examples=100)
@given(TABLE)
def test_nothing_kept_is_dominated_and_everything_left_out_is(
    table: list[tuple[int, int]],
) -> None:
    kept = nondominated(table)

    def dominates(a: tuple[int, int], b: tuple[int, int]) -> bool:
        return a != b and a[0] <= b[0] and a[1] <= b[1]

    for i, row in enumerate(table):
        beaten = any(dominates(table[k], row) or (table[k] == row and k < i) for k in kept)
        assert beaten == (i not in kept)


def test_hypervolume_by_hand() -> None:
    # One point at error 0.25, density 1/10 (log10 / 3 = -1/3): a box of 0.75 x 1/3.
    assert hypervolume([(0.25, -1 / 3)]) == pytest.approx(0.25)
    # A second one at (0.5, -2/3) adds 0.5 x 1/3.
    assert hypervolume([(0.25, -1 / 3), (0.5, -2 / 3)]) == pytest.approx(0.25 + 1 / 6)
    # Chance and dense dominate nothing.
    assert hypervolume([(1.0, -0.5), (0.1, 0.0)]) == 0.0
    assert hypervolume([]) == 0.0
    assert hypervolume([(0.0, -1.0)]) == pytest.approx(1.0)


@settings(derandomize=True, max_examples=50)
@given(TABLE)
def test_hypervolume_never_falls(table: list[tuple[int, int]]) -> None:
    scaled = [(a / 20, b / 20) for a, b in table]
    found = [hypervolume(scaled[: i + 1]) for i in range(len(scaled))]
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(found))


def test_values_scale_error_by_chance_and_take_logs_of_shares() -> None:
    metrics = {
        "val_accuracy": 0.55,
        "test_accuracy": 1.0,
        "sparsity": 0.9,
        "macs": INFO.macs / 100,
        "latency_ms": 1.0,
        "dense_latency_ms": 10.0,
        "size_bytes": 1.0,
        "dense_size_bytes": 1e9,
    }
    # Ten classes: chance error 0.9, so 0.45 is half of it.
    assert values(metrics, OBJECTIVES, INFO) == pytest.approx((0.5, -1 / 3))
    assert values(metrics, OBJECTIVES, INFO, "test")[0] == 0.0
    assert values({**metrics, "params": INFO.params / 10}, ("accuracy", "params"), INFO)[1] == (
        pytest.approx(-1 / 3)
    )
    wide = ("accuracy", "macs", "latency_ms", "size_bytes")
    # Shares below a thousandth count as a thousandth.
    assert values(metrics, wide, INFO) == pytest.approx((0.5, -2 / 3, -1 / 3, -1.0))


def record(
    status: str, accuracy: float, sparsity: float, number: int = 0, **rest: object
) -> Record:
    config = TrialConfig(sparsity=sparsity)
    metrics = {"val_accuracy": accuracy, "val_loss": 1.0, "sparsity": sparsity}
    job = Job(number, config, 9, 0, "lift")
    return Record(job, JobResult(number, job.trial, status, metrics, **rest))  # type: ignore[arg-type] # test literals


def test_rounds_stand_as_trials_that_stopped_there() -> None:
    middle = RoundRecord(1, 4.5, {"val_accuracy": 0.95, "sparsity": 0.6, "val_loss": 1.0})
    found = points([record("ok", 0.9, 0.9, rounds=(middle,))], OBJECTIVES, INFO)
    assert [(p.config.stop_round, p.epochs, p.metrics["val_accuracy"]) for p in found] == [
        (1, 4.5, 0.95),
        (None, 9, 0.9),
    ]
    assert [p.config.stop_round for p in front(found)] == [1, None]


@pytest.mark.parametrize("status", ["failed", "diverged", "collapsed"])
def test_only_jobs_that_ended_well_are_candidates(status: str) -> None:
    assert points([record(status, 0.99, 0.99)], OBJECTIVES, INFO) == []


def test_the_front_is_ordered_by_density() -> None:
    records = [
        record("ok", a, s, i) for i, (a, s) in enumerate([(0.5, 0.99), (0.9, 0.5), (0.8, 0.5)])
    ]
    assert [p.config.sparsity for p in front(points(records, OBJECTIVES, INFO))] == [0.5, 0.99]


def test_every_beginning_of_the_spread_is_spread() -> None:
    line = [(0.0, -i / 10) for i in range(11)]
    # Both ends, the middle, then the quarters (rounded to whole rows).
    assert spread(line, 3) == [10, 0, 5]
    assert set(spread(line, 5)[3:]) <= {2, 3, 7, 8}
    assert sorted(spread(line, 99)) == list(range(11))
    assert spread([], 3) == []
    assert spread([(0.5, -0.5)], 3) == [0]


def test_fill_keeps_what_was_chosen() -> None:
    line = [(0.0, -i / 10) for i in range(11)]
    assert fill(line, [5], 1) == [5]
    assert fill(line, [5], 3) == [5, 0, 10]
    assert fill(line, [], 2)[0] == 0
    assert np.array_equal(fill([(0.0, 0.0)] * 3, [0], 3), [0, 1, 2])
