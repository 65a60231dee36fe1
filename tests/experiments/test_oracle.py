from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.config import LRConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job, JobResult
from autoprune.experiments.grid import OracleOptions, fit_silo, interval, log_grid
from autoprune.experiments.oracle import OracleDesign
from autoprune.search.engine import DONE
from autoprune.stages.base import closure
from autoprune.stages.train import Train
from autoprune.trial.plan import make_plan
from tests.experiments.support import Workbench, hill, trial
from tests.search.support import INFO

PEAKS = (0.01, 0.03, 0.1, 0.3)
BEST = {1: 0.01, 2: 0.03, 3: 0.3}
"""The peak that is best in each cycle of the made-up net."""


def options(**changes: object) -> OracleOptions:
    base = trial("imp", LRConfig(name="silo"), params={"rounds": 3}, sparsity=0.488)
    given = {"base": base, "peaks": PEAKS, "seeds": (0, 1), "epochs": 2, **changes}
    return OracleOptions(**given)  # type: ignore[arg-type]


def peak_of(job: Job, number: int) -> float:
    """Return the peak that a job trains a cycle with."""
    plan = make_plan(job, 6)
    stage = plan[number - 1]
    assert isinstance(stage, Train)
    return float(stage.lr.params.get("peak", 0.05))


def accuracy(job: Job, number: int) -> float:
    """Every cycle has its own best peak; seeds differ by a point."""
    if job.config.method == "dense":
        return 0.95
    return hill(peak_of(job, number), BEST[number]) + 0.01 * job.seed


@pytest.fixture(scope="module")
def bench() -> Workbench:
    found = Workbench(OracleDesign(options()), accuracy)
    found.run()
    return found


def test_the_oracle_takes_each_cycles_best_peak(bench: Workbench) -> None:
    rows = bench.summary()["cycles"]
    assert [row["oracle_peak"] for row in rows] == [0.01, 0.03, 0.3]
    assert [row["cycle"] for row in rows] == [1, 2, 3]
    # 1 - (1 - 0.488) ** (k / 3): a share of 0.2 of what remains, each time.
    assert [round(row["sparsity"], 12) for row in rows] == [0.2, 0.36, 0.488]


def test_every_candidate_of_a_cycle_starts_from_the_oracles_own_net(bench: Workbench) -> None:
    last = [j for j in bench.issued if j.tag == "cycle 3"]
    assert len(last) == len(PEAKS) * 2
    for job in last:
        peaks = [peak_of(job, number) for number in (1, 2)]
        assert peaks == [0.01, 0.03]
    by_seed = {seed: [j for j in last if j.seed == seed] for seed in (0, 1)}
    for jobs in by_seed.values():
        plans = [make_plan(job, 6) for job in jobs]
        starts = {plan[1].key(bench.engine.planner.context) for plan in plans}
        assert len(starts) == 1, "one start per seed"
        ends = {plan[2].key(bench.engine.planner.context) for plan in plans}
        assert len(ends) == len(PEAKS)


def test_candidates_of_a_cycle_train_that_cycle_only(bench: Workbench) -> None:
    """A grid of G peaks, R seeds and J cycles trains G R J cycles, and R dense nets."""
    grid = [job for job in bench.issued if job.tag.startswith("cycle")]
    stages: dict[str, float] = {}
    for job in grid:
        stages |= bench.engine.planner.stages(job)
    dense = 2 * 4
    assert sum(stages.values()) == dense + len(PEAKS) * 2 * 3 * 2


def test_what_silo_costs_beside_the_oracle(bench: Workbench) -> None:
    answer = bench.summary()
    assert answer["cost_ratio"] == pytest.approx(1 / len(PEAKS))
    assert answer["costs"]["oracle_epochs"] == len(PEAKS) * 2 * 3 * 2
    assert answer["costs"]["silo_epochs"] == 3 * 2 * 2


def test_the_ratio_of_costs_is_the_same_before_the_end() -> None:
    part = Workbench(OracleDesign(options()), accuracy)
    part.run(limit=len(PEAKS) * 2)  # the first cycle is decided
    assert len(part.summary()["cycles"]) == 1
    assert part.summary()["cost_ratio"] == pytest.approx(1 / len(PEAKS))


def test_silo_is_inside_where_its_peak_is_in_the_interval(bench: Workbench) -> None:
    for row in bench.summary()["cycles"]:
        low, high = row["interval"]
        assert row["inside"] == (low <= row["silo_peak"] <= high)
        # With a tenth per decade and half a decade between candidates, none is as good as the best.
        assert low == high == row["oracle_peak"]
    # Card silo, f3: preset vgg19, share 0.2, delay 1: S(0), S(0), S(0.2).
    peaks = [row["silo_peak"] for row in bench.summary()["cycles"]]
    assert peaks == pytest.approx([0.04, 0.040059, 0.043199], abs=1e-6) or peaks == pytest.approx(
        [0.04, 0.040059, 0.0432], abs=1e-4
    )


def test_every_schedule_runs_through_the_same_cycles(bench: Workbench) -> None:
    rows = {row["name"]: row for row in bench.summary()["schedules"]}
    assert set(rows) == {
        *("oracle", "silo", "silo_fitted", "fixed_peak", "cosine", "one_cycle", "lrw", "allr")
    }
    for row in rows.values():
        assert len(row["val_accuracy"]) == len(row["test_ci95"]) == 3
        assert [len(seeds) for seeds in row["test"]] == [2, 2, 2]
    # Mean of two seeds on the hill of cycle 3: 0.9 at the best peak, + 0.005.
    assert rows["oracle"]["val_accuracy"][2] == pytest.approx(0.905)
    assert rows["oracle"]["peaks"] == [0.01, 0.03, 0.3]


def test_the_best_fixed_peak_is_best_at_the_last_cycle(bench: Workbench) -> None:
    answer = bench.summary()
    assert answer["best_fixed"] == 0.3
    rows = {row["name"]: row for row in answer["schedules"]}
    assert rows["fixed_peak"]["peaks"] == [0.3, 0.3, 0.3]
    assert rows["cosine"]["config"]["peak"] == 0.3


def test_the_fitted_silo_meets_the_peaks_it_was_fitted_on(bench: Workbench) -> None:
    fitted = bench.summary()["fitted"]
    assert fitted["cycles_used"] == 2
    # S is 0 in both cycles (delay 1): the low is the geometric mean of their peaks.
    assert fitted["low"] == pytest.approx((0.01 * 0.03) ** 0.5, rel=1e-5)


def test_a_schedule_that_the_task_does_not_allow_is_left_out_with_its_reason() -> None:
    info = replace(INFO, pretrained=True)
    found = Workbench(OracleDesign(options()), accuracy, info=info)
    found.run()
    rows = {row["name"]: row for row in found.summary()["schedules"]}
    assert "pretrained" in rows["lrw"]["reason"]
    assert rows["lrw"]["val"] == []
    assert rows["silo"]["val"]


@pytest.mark.parametrize("workers", [2, 5])
def test_the_order_in_which_results_come_changes_nothing(workers: int, bench: Workbench) -> None:
    other = Workbench(OracleDesign(options()), accuracy, workers=workers)
    other.run()
    assert other.summary() == bench.summary()
    assert {j.trial for j in other.issued} == {j.trial for j in bench.issued}


def test_a_job_that_failed_is_tried_again_once_and_not_for_ever(bench: Workbench) -> None:
    part = Workbench(OracleDesign(options()), accuracy)
    job = part.engine.next()
    assert isinstance(job, Job)
    part.engine.record(JobResult(job.number, job.trial, "failed", error="no luck"))
    assert part.engine.next() is DONE
    assert part.engine.failure == "no luck"
    assert part.engine.state.status == "failed"
    part.engine = part.open()
    part.run()
    assert part.summary() == bench.summary()
    events = len(part.journal.events)
    part.engine = part.open()
    assert part.engine.next() is DONE
    assert len(part.journal.events) == events


@pytest.mark.parametrize("after", [1, 9, 30])
def test_a_study_goes_on_from_its_journal(after: int, bench: Workbench) -> None:
    part = Workbench(OracleDesign(options()), accuracy, workers=2)
    part.run(limit=after)
    part.engine = part.open()
    before = len(part.issued)
    part.run()
    assert part.summary() == bench.summary()
    again = [job.number for job in part.issued[before:] if job in part.issued[:before]]
    assert len(again) <= 2, "only what was out is run again"


def test_no_stage_is_computed_twice_at_once() -> None:
    found = Workbench(OracleDesign(options()), accuracy, workers=4)
    out: list[Job] = []
    while isinstance(job := found.engine.next(), Job):
        out.append(job)
    assert len(out) == 2, "one per seed trains the dense net, the others wait"


def test_ties_go_to_the_lowest_peak() -> None:
    found = Workbench(OracleDesign(options()), lambda job, number: 0.5)
    found.run()
    rows = found.summary()["cycles"]
    assert [row["oracle_peak"] for row in rows] == [0.01] * 3
    assert all(row["interval"] == [0.01, 0.3] and row["inside"] for row in rows)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peaks": (0.1,)}, "--peaks must be at least 2"),
        ({"peaks": (0.0, 0.1)}, "--peaks must be learning rates > 0; got 0.0"),
        ({"peaks": (-0.1, 0.1)}, "--peaks must be learning rates > 0; got -0.1"),
        ({"peaks": (0.1, float("nan"))}, "--peaks must be learning rates > 0"),
        ({"peaks": (0.3, 0.1)}, "--peaks must ascend"),
        ({"peaks": (0.1, 0.1)}, "--peaks must ascend"),
        ({"seeds": ()}, "--seeds must be at least 1"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"tolerance": 1.0}, "--tolerance must be in"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(")):
        options(**changes)


def test_a_grid_is_even_in_the_logarithm() -> None:
    grid = log_grid(1e-3, 3e-1, 12)
    assert (grid[0], grid[-1], len(grid)) == (1e-3, 3e-1, 12)
    steps = [high / low for low, high in pairwise(grid)]
    assert max(steps) / min(steps) == pytest.approx(1.0, rel=1e-4)
    for count, words in ((1, "at least 2"), (0, "at least 2"), (-3, "at least 2")):
        with pytest.raises(ConfigError, match=words):
            log_grid(1e-3, 3e-1, count)
    for low, high in ((0.0, 0.1), (-1.0, 0.1), (0.1, 0.1)):
        with pytest.raises(ConfigError, match="0 < low < high"):
            log_grid(low, high, 5)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=15), st.floats(0.0, 0.2))
def test_an_interval_is_contiguous_and_within_the_tolerance(
    means: list[float], tolerance: float
) -> None:
    low, high = interval(means, tolerance)
    best = means.index(max(means))
    assert low <= best <= high
    assert all(max(means) - value <= tolerance + 1e-9 for value in means[low : high + 1])
    for beside in (low - 1, high + 1):
        assert not 0 <= beside < len(means) or max(means) - means[beside] > tolerance - 1e-9


def test_a_fit_finds_the_parameters_behind_exact_peaks() -> None:
    shares = [0.0, 0.1, 0.5, 0.9]
    found = fit_silo(shares, [0.02 + 0.1 * share for share in shares], (0.001, 0.3), 0.06)
    assert found["low"] == pytest.approx(0.02, rel=1e-3)
    assert found["rise"] == pytest.approx(0.1, rel=1e-3)


@given(
    st.lists(st.sampled_from(log_grid(1e-3, 0.3, 12)), min_size=2, max_size=8),
    st.integers(0, 1000),
)
def test_a_fit_never_leaves_the_grid(peaks: list[float], seed: int) -> None:
    shares = [((seed + 37 * k) % 101) / 100 for k in range(len(peaks))]
    found = fit_silo(shares, peaks, (1e-3, 0.3), 0.06)
    assert found["low"] >= 1e-3 * 0.999
    assert found["low"] + found["rise"] <= 0.3 * 1.001


def test_a_rise_that_the_first_cycles_do_not_show_stays_silos_own(bench: Workbench) -> None:
    fitted = bench.summary()["fitted"]
    assert not fitted["rise_fitted"]
    assert fitted["rise"] == pytest.approx(0.06)


def test_the_plan_of_a_listed_cycle_is_that_of_one_fixed_peak() -> None:
    listed = trial("imp", LRConfig(name="listed", params={"peaks": "0.01,0.1"}), sparsity=0.5)
    fixed = trial("imp", LRConfig(name="fixed_peak", params={"peak": 0.01}), sparsity=0.5)
    ours, theirs = (make_plan(Job(0, config, 6, 0, "run"), 6) for config in (listed, fixed))
    for number, same in enumerate((True, False, False)):
        assert (ours[number].lr == theirs[number].lr) == same  # type: ignore[attr-defined]
    assert len([s for s in closure(ours[-1]) if isinstance(s, Train)]) == 4
