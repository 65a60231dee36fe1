from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autoprune.core.errors import AutoPruneError, BadInput, ConfigError
from autoprune.core.records import Job, JobResult
from autoprune.methods.base import METHODS
from autoprune.search.engine import DONE, WAIT, Engine, SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.executors.simulated import SimulatedExecutor, Simulation, VirtualClock
from autoprune.search.front import hypervolume, points
from autoprune.search.state import State
from autoprune.search.strategies import Strategy
from autoprune.search.strategies.contextual import Contextual, stratum_shares
from tests.search.support import (
    INFO,
    failing,
    resume,
    simulation,
    small_space,
    start,
    surface,
)

OPTIONS = SearchOptions(budget="20", confirm_seeds=2)
STRATEGIES = ("contextual", "moasha", "full")


def finished(
    options: SearchOptions = OPTIONS,
    workers: int = 1,
    seed: int = 0,
    strategy: Strategy | None = None,
) -> Engine:
    space, clock = small_space(), VirtualClock()
    engine = start(space, options, seed=seed, clock=clock, strategy=strategy)
    SimulatedExecutor(simulation(space), workers, clock).run(engine)
    return engine


@pytest.fixture(scope="module")
def inline() -> Engine:
    return finished()


def kinds(engine: Engine) -> Counter[str]:
    return Counter(job.purpose for job in engine.state.jobs.values())


def search_jobs(engine: Engine) -> int:
    count = kinds(engine)
    return count["explore"] + count["lift"]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("sampler", ["random", "forest"])
def test_a_budget_of_jobs_is_met_exactly(strategy: str, sampler: str) -> None:
    engine = finished(replace(OPTIONS, strategy=strategy, sampler=sampler))
    assert engine.state.status == "complete"
    assert search_jobs(engine) == 20
    assert len(engine.state.searched) == 20
    assert engine.state.pending == []


@pytest.mark.parametrize("budget", ["1", "2", "3", "7"])
def test_small_budgets_are_met_too(budget: str) -> None:
    engine = finished(replace(OPTIONS, budget=budget))
    assert engine.state.status == "complete"
    assert search_jobs(engine) == int(budget)


def test_the_same_seed_gives_the_same_journal_and_another_one_does_not(inline: Engine) -> None:
    again, other = finished(), finished(seed=1)
    assert again.journal.events == inline.journal.events
    assert [j.trial for j in other.state.jobs.values()] != [
        j.trial for j in inline.state.jobs.values()
    ]


def test_cut_anywhere_and_resumed_it_decides_the_same() -> None:
    # Few targets have few baselines, which all decide alike.
    space = small_space(targets={"high": 0.85, "always": [0.8]})
    options = SearchOptions("12", confirm_seeds=1)
    first = start(space, options)
    InlineExecutor(simulation(space)).run(first)
    whole = first.journal.events
    for cut in range(1, len(whole) + 1):
        kept: list[dict[str, Any]] = json.loads(json.dumps(whole[:cut]))
        engine = resume(space, options, kept)
        run = simulation(space)
        for event in kept:  # the store kept what finished jobs left in it
            if event["event"] == "result":
                run.planner.computed.update(s["key"] for s in event["result"]["stages"])
        InlineExecutor(run).run(engine)
        stripped = [{k: v for k, v in e.items() if k != "time"} for e in engine.journal.events]
        assert stripped == [{k: v for k, v in e.items() if k != "time"} for e in whole], cut


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_workers_lose_and_repeat_nothing(strategy: str) -> None:
    engine = finished(replace(OPTIONS, strategy=strategy), workers=3)
    jobs = list(engine.state.jobs.values())
    assert [job.number for job in jobs] == list(range(len(jobs)))
    assert Counter(r.job.number for r in engine.state.records) == dict.fromkeys(range(len(jobs)), 1)
    assert search_jobs(engine) == 20
    tried = [(j.trial, j.epochs) for j in engine.state.search_jobs]
    assert len(set(tried)) == len(tried)
    after = [(j.trial, j.seed, j.tag) for j in jobs if j.test]
    assert len(set(after)) == len(after)


def test_decisions_of_three_workers_replay_from_the_recorded_order() -> None:
    whole = finished(workers=3).journal.events
    space = small_space()
    for cut, event in enumerate(whole):
        if event["event"] != "job" or event["job"]["test"]:
            continue
        engine = resume(space, OPTIONS, whole[:cut])
        engine._again = []  # the jobs that were out then are still out
        decided = engine.next()
        assert isinstance(decided, Job)
        assert decided.to_json() == event["job"], cut


def test_pending_jobs_are_issued_again_first_and_unchanged() -> None:
    whole = finished(workers=3).journal.events
    cut = next(i for i in range(20, len(whole)) if len(State(whole[:i]).pending) == 3)
    pending = State(whole[:cut]).pending
    engine = resume(small_space(), OPTIONS, whole[:cut])
    assert [engine.next() for _ in pending] == pending
    assert len(engine.journal.events) == cut


def test_no_stage_is_ever_computed_twice_at_once() -> None:
    space, clock = small_space(), VirtualClock()
    engine = start(space, OPTIONS, clock=clock)
    run = simulation(space)
    done: set[str] = set()
    out: dict[int, set[str]] = {}
    overlaps = held = 0

    def watched(job: Job) -> JobResult:
        nonlocal overlaps
        mine = set(run.planner.stages(job)) - done
        overlaps += any(mine & theirs for theirs in out.values())
        out[job.number] = mine
        return run(job)

    executor = SimulatedExecutor(watched, 4, clock)
    record = engine.record

    def recorded(result: JobResult) -> None:
        nonlocal held
        done.update(out.pop(result.job))
        held += len(out) < 3
        record(result)

    engine.record = recorded  # type: ignore[method-assign] # an ear on the engine, not a double
    executor.run(engine)
    assert overlaps == 0
    assert engine.state.status == "complete"
    # Total work is what one worker trains: nothing was computed twice, at once or later.
    assert sum(s.epochs for r in engine.state.records for s in r.result.stages if not s.reused) == (
        sum({s.key: s.epochs for r in engine.state.records for s in r.result.stages}.values())
    )


def test_a_job_that_shares_the_dense_run_waits_while_another_kind_starts() -> None:
    space = small_space()
    engine = start(space, OPTIONS)
    out = [job for _ in range(3) if isinstance(job := engine.next(), Job)]
    starts = [METHODS.get(job.config.method).start for job in out]
    # One computes the dense run, and those that need none go ahead.
    assert sorted(starts) == ["dense", "scratch", "scratch"]
    first = next(job for job in out if METHODS.get(job.config.method).start == "dense")
    engine.record(simulation(space)(first))
    following = engine.next()
    assert isinstance(following, Job)
    assert METHODS.get(following.config.method).start == "dense"


@pytest.mark.parametrize(
    ("methods", "units"),
    [
        # magnitude and imp remove weights, dropnet and filter_l2 units, lrpet rank.
        ({"magnitude": None, "imp": {"rounds": 2}, "snip": None, "dropnet": {"rounds": 1}}, 1 / 3),
        ({"dropnet": {"rounds": 1}, "filter_l2": {"rounds": 1}, "lrpet": None}, 2 / 3),
        ({"magnitude": None, "imp": {"rounds": 2}}, 0.0),
    ],
)
def test_units_get_a_third_of_exploring_or_their_part_of_the_methods(
    methods: dict[str, Any], units: float
) -> None:
    shares = stratum_shares(start(small_space(method=methods), OPTIONS).view)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert sum(v for (kind, _), v in shares.items() if kind == "units") == pytest.approx(units)


def test_it_waits_when_everything_needs_what_is_being_computed() -> None:
    space = small_space(method={"magnitude": {}, "imp": {"rounds": 2}})
    engine = start(space, OPTIONS)
    job = engine.next()
    assert isinstance(job, Job)
    assert engine.next() is WAIT
    assert engine.next() is WAIT
    engine.record(simulation(space)(job))
    assert isinstance(engine.next(), Job)
    assert isinstance(engine.next(), Job)


def test_wait_is_only_said_while_a_job_is_out() -> None:
    for workers in (2, 4):
        engine = finished(workers=workers)
        assert engine.next() is DONE
    space = small_space()
    engine = start(space, OPTIONS)
    run = simulation(space)
    while engine.state.status != "complete":
        answer = engine.next()
        if isinstance(answer, Job):
            engine.record(run(answer))
        else:
            assert answer is DONE


def test_explore_takes_about_a_third_of_the_epochs_and_units_a_third_of_it() -> None:
    engine = finished(SearchOptions(budget="100", confirm_seeds=1))
    jobs = engine.state.search_jobs
    epochs = Counter({"explore": 0, "lift": 0})
    for job in jobs:
        epochs[job.purpose] += job.epochs
    share = epochs["explore"] / sum(epochs.values())
    assert 0.28 < share < 0.42
    explored = [j for j in jobs if j.purpose == "explore"]
    units = sum(METHODS.get(j.config.method).kind == "units" for j in explored)
    assert abs(units / len(explored) - 1 / 3) < 0.05
    assert {j.epochs for j in explored} == {1}
    assert {j.epochs for j in jobs if j.purpose == "lift"} == {9}
    per_method = Counter(j.config.method for j in explored[:8])
    assert set(per_method.values()) == {2}  # random ones first, two per method
    rarest = min(Counter(j.config.method for j in explored).values())
    assert rarest > 5  # every second one goes to the method of its stratum that had the fewest


def test_every_second_lift_follows_the_sequence_and_the_others_fill_gaps() -> None:
    engine = finished(replace(OPTIONS, budget="60"))
    lifts = [j.config.sparsity for j in engine.state.search_jobs if j.purpose == "lift"]
    assert lifts[:2] == [0.9, 0.95]
    assert lifts[2] == engine.space.targets.high  # nothing lies beyond 0.95 yet
    assert lifts[3::2] == [engine.view.target(2 + i) for i in range(len(lifts[3::2]))]
    assert len(lifts) > 8
    # A gap's middle is a place of its own, and another one each time.
    assert len(set(lifts)) > 0.8 * len(lifts)


def test_lifts_may_follow_the_sequence_alone() -> None:
    engine = finished(replace(OPTIONS, budget="40"), strategy=Contextual(fill_gaps=False))
    lifts = [j.config.sparsity for j in engine.state.search_jobs if j.purpose == "lift"]
    assert lifts == [engine.view.target(i) for i in range(len(lifts))]


def test_lifts_begin_once_every_method_was_seen() -> None:
    jobs = finished(replace(OPTIONS, budget="40")).state.search_jobs
    first = next(i for i, job in enumerate(jobs) if job.purpose == "lift")
    assert {job.config.method for job in jobs[:first]} == set(small_space().methods)
    assert first == len(small_space().methods)


def test_a_method_that_needs_more_steps_enters_at_a_higher_rung() -> None:
    info = replace(INFO, num_train=640)  # 10 steps an epoch; imp wants 10 a round
    space = small_space(method={"imp": {"rounds": [1, 2, 5]}})
    engine = start(space, SearchOptions(budget="40", confirm_seeds=1), info=info)
    run = simulation(space)
    run.planner.info = info
    InlineExecutor(run).run(engine)
    entered: dict[Any, set[int]] = {}
    for job in engine.state.search_jobs:
        if job.purpose == "explore":
            entered.setdefault(job.config.params["rounds"], set()).add(job.epochs)
    assert entered == {1: {1}, 2: {3}, 5: {9}}


def test_a_method_that_never_fits_is_refused_before_anything_runs() -> None:
    info = replace(INFO, num_train=64)
    with pytest.raises(ConfigError, match=r"method\.imp needs more training steps"):
        start(small_space(method={"imp": {"rounds": 2}}), OPTIONS, info=info)


def test_more_knobs_than_the_model_has_layers_are_refused_before_anything_runs() -> None:
    knobs = {"searched": {"groups": 3, "low": -1, "high": 1}}  # the model has two layers
    space = small_space(method={"magnitude": {"allocation": ["global", knobs]}})
    message = r"allocation\.searched\.groups must be at most 2, the model's prunable layers; got 3"
    with pytest.raises(ConfigError, match=message):
        start(space, OPTIONS)


def test_a_search_turns_the_knobs_of_an_allocation() -> None:
    knobs = {"searched": {"groups": 2, "low": -1, "high": 1}}
    space, clock = small_space(method={"magnitude": {"allocation": [knobs, "erk"]}}), VirtualClock()
    engine = start(space, OPTIONS, clock=clock)
    SimulatedExecutor(simulation(space), 1, clock).run(engine)
    assert engine.state.status == "complete"
    drawn = {job.config.params["allocation"] for job in engine.state.search_jobs}
    turned = {text for text in drawn if str(text).startswith("searched:")}
    assert len(turned) > 2
    assert drawn - turned == {"erk"}


def test_a_kind_that_the_model_cannot_reach_is_left_out() -> None:
    info = replace(INFO, reach={"units": 0.0})
    engine = start(small_space(), OPTIONS, info=info)
    assert "dropnet" not in engine.view.usable
    with pytest.raises(ConfigError, match="must name a method that reaches"):
        start(small_space(method={"dropnet": {}}), OPTIONS, info=info)


@pytest.mark.parametrize("of", ["weights", "macs"])
def test_targets_are_clipped_to_what_a_method_reaches_on_the_model(of: str) -> None:
    # The method's own limit, far below that of its kind.
    key = "inner_channel" if of == "weights" else "inner_channel_macs"
    info = replace(INFO, reach={"units": 0.99, "units_macs": 0.99, key: 0.62})
    targets = {"low": 0.3, "high": 0.98, "always": [0.9], "of": of}
    space = small_space(method={"i_spasp": {}}, targets=targets)
    engine = start(space, SearchOptions("8", confirm_seeds=1), info=info)
    run = simulation(space)
    run.planner.info = info
    InlineExecutor(run).run(engine)
    asked = [job.config.sparsity for job in engine.state.search_jobs]
    assert len(asked) == 8
    assert all(0.3 <= sparsity <= 0.62 for sparsity in asked)
    assert len(set(asked)) > 3


def test_a_method_for_relus_is_left_out_where_there_are_none() -> None:
    info = replace(INFO, has_relu=False)
    methods: dict[str, Any] = {"ap": {"rounds": 1}, "magnitude": None}
    assert "ap" in start(small_space(method=methods), OPTIONS).view.usable
    engine = start(small_space(method=methods), OPTIONS, info=info)
    assert engine.view.usable == ("magnitude",)
    assert engine.view.left_out == {
        "ap": "the model must have ReLU units for method 'ap'; use another method, or a model "
        "whose activations are ReLUs"
    }
    run = simulation(small_space(method=methods))
    run.planner.info = info
    InlineExecutor(run).run(engine)
    assert {job.config.method for job in engine.state.search_jobs} == {"magnitude"}
    with pytest.raises(ConfigError, match=r"got \['ap'\]; ap: the model must have ReLU units"):
        start(small_space(method={"ap": {"rounds": 1}}), OPTIONS, info=info)


def test_targets_beyond_the_models_reach_are_moved_into_it() -> None:
    info = replace(INFO, reach={"units": 0.8})
    space = small_space(method={"dropnet": {"rounds": 1}})
    engine = start(space, OPTIONS, info=info)
    InlineExecutor(simulation(space)).run(engine)
    found = [j.config.sparsity for j in engine.state.search_jobs]
    assert len(found) == 20
    assert max(found) <= 0.8
    assert len(set(found)) > 10


# --- failures -------------------------------------------------------------------------------


def test_failed_jobs_use_budget_and_stay_off_the_front() -> None:
    space = small_space()
    engine = start(space, OPTIONS)
    run = simulation(space)
    InlineExecutor(lambda job: failing(job) if job.number % 3 == 1 else run(job)).run(engine)
    assert engine.state.status == "complete"
    assert search_jobs(engine) == 20
    broken = {r.job.number for r in engine.state.searched if r.result.status == "failed"}
    assert len(broken) == 7
    assert not broken & {
        p.job for p in points(engine.state.searched, space.objectives, engine.info)
    }


def test_five_failures_at_the_start_end_the_study() -> None:
    engine = start(small_space(), OPTIONS)
    InlineExecutor(failing).run(engine)
    assert engine.state.status == "failed"
    assert len(engine.state.records) == 5
    assert engine.next() is DONE


def test_four_failures_do_not() -> None:
    space = small_space()
    engine = start(space, OPTIONS)
    run = simulation(space)
    InlineExecutor(lambda job: failing(job) if job.number < 4 else run(job)).run(engine)
    assert engine.state.status == "complete"


def test_a_short_search_in_which_everything_failed_ends_as_failed() -> None:
    engine = start(small_space(), replace(OPTIONS, budget="3"))
    InlineExecutor(failing).run(engine)
    assert engine.state.status == "failed"
    assert len(engine.state.records) == 3


def test_a_result_is_recorded_once_and_only_for_a_job_that_is_out() -> None:
    space = small_space()
    engine = start(space, OPTIONS)
    job = engine.next()
    assert isinstance(job, Job)
    result = simulation(space)(job)
    engine.record(result)
    before = len(engine.journal.events)
    for wrong in (result, replace(result, job=99)):
        with pytest.raises(AutoPruneError, match="is not out"):
            engine.record(wrong)
    assert len(engine.journal.events) == before


# --- confirmation ---------------------------------------------------------------------------


def test_test_is_read_after_the_search_only_and_never_with_its_seed(inline: Engine) -> None:
    events = [e["event"] for e in inline.journal.events]
    assert events.count("confirm") == events.count("test") == 1
    at = events.index("test")
    for index, event in enumerate(inline.journal.events):
        if event["event"] == "job":
            assert event["job"]["test"] == (index > at)
            assert (event["job"]["seed"] == 0) == (index < at)
    assert events[-1] == "end"


def test_finalists_run_on_every_seed_at_the_top_rung(inline: Engine) -> None:
    confirm = inline.state.confirm
    assert confirm is not None
    finalists = {row["trial"] for row in confirm["finalists"]}
    assert 1 <= len(finalists) <= 12
    runs = Counter(j.trial for j in inline.state.jobs.values() if j.purpose == "confirm")
    assert runs == dict.fromkeys(finalists, 2)
    assert {j.seed for j in inline.state.jobs.values() if j.test} == {1, 2}
    assert {j.epochs for j in inline.state.jobs.values() if j.test} == {9}


def test_every_study_holds_its_baselines(inline: Engine) -> None:
    found = Counter(
        (j.tag, j.config.sparsity) for j in inline.state.jobs.values() if j.purpose == "baseline"
    )
    expected = {("dense", 0.0): 2}
    for sparsity in (0.8, 0.9, 0.95, 0.98):
        expected |= {("random", sparsity): 2, ("scratch_e", sparsity): 2}
        expected[("magnitude", sparsity)] = 4  # two peaks
    assert found == expected
    peaks = {j.config.lr.params["peak"] for j in inline.state.jobs.values() if j.tag == "magnitude"}
    assert sorted(peaks) == pytest.approx([0.1, 0.3])


# --- budgets of epochs and time ---------------------------------------------------------------


def test_an_epoch_budget_includes_everything() -> None:
    engine = finished(replace(OPTIONS, budget="300ep"))
    assert engine.state.status == "complete"
    assert 250 < engine.state.epochs_trained <= 310
    assert kinds(engine)["confirm"] >= 4
    search = sum(r.result.epochs_trained for r in engine.state.searched)
    assert search <= 0.6 * 300 + 9


def test_a_time_budget_includes_everything() -> None:
    space, clock = small_space(), VirtualClock()
    engine = start(space, replace(OPTIONS, budget="10m"), clock=clock)
    run = Simulation(surface, simulation(space).planner, seconds_per_epoch=2.0)
    SimulatedExecutor(run, 2, clock).run(engine)
    assert engine.state.status == "complete"
    assert 400 < clock.now_s <= 640
    assert kinds(engine)["confirm"] >= 4


def test_a_budget_too_small_to_confirm_still_confirms_a_point() -> None:
    engine = finished(replace(OPTIONS, budget="12ep"))
    assert engine.state.status == "complete"
    count = kinds(engine)
    assert (count["confirm"], count["baseline"]) == (2, 2)


def test_stopping_is_journaled_and_a_stopped_study_goes_on() -> None:
    space = small_space()
    engine = start(space, OPTIONS)
    run = simulation(space)
    for _ in range(5):
        job = engine.next()
        assert isinstance(job, Job)
        engine.record(run(job))
    engine.stop()
    engine.stop()
    assert [e["event"] for e in engine.journal.events].count("end") == 1
    again = resume(space, OPTIONS, engine.journal.events)
    InlineExecutor(run).run(again)
    assert again.state.status == "complete"
    assert search_jobs(again) == 20


# --- quality ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_forest_beats_random_on_the_surface() -> None:
    def value(sampler: str, seed: int) -> float:
        engine = finished(SearchOptions("40", sampler=sampler, confirm_seeds=1), seed=seed)
        found = points(engine.state.searched, engine.space.objectives, INFO)
        return hypervolume([p.values for p in found])

    wins = [value("forest", seed) > value("random", seed) for seed in range(4)]
    assert sum(wins) >= 3


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_the_other_samplers_finish_a_study(sampler: str) -> None:
    engine = finished(replace(OPTIONS, budget="12", sampler=sampler))
    assert engine.state.status == "complete"
    assert search_jobs(engine) == 12


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "contextul"}, "did you mean 'contextual'"),
        ({"sampler": "forst"}, "did you mean 'forest'"),
        ({"budget": "0"}, "--budget"),
        ({"confirm_seeds": 0}, "--confirm-seeds must be at least 1"),
    ],
)
def test_options_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        SearchOptions(**changes)


def test_the_first_lifts_are_plain(inline: Engine) -> None:
    lifted = [job for job in inline.state.search_jobs if job.purpose == "lift"]
    named = inline.space.targets.always
    plain = [inline.space.middle(name) for name in inline.space.methods]
    for job, target in zip(lifted, named, strict=False):
        assert inline.space.flatten(job.config) in plain
        assert job.config.sparsity == pytest.approx(target)
    assert len(lifted) > len(named) > 0


def test_baselines_that_are_too_short_are_left_out() -> None:
    # Two steps an epoch, nine epochs: 18 steps are enough for one-shot magnitude (10), but not
    # for training from scratch (20).
    space, clock = small_space(method={"magnitude": None}), VirtualClock()
    info = replace(INFO, num_train=128)
    engine = start(space, OPTIONS, clock=clock, info=info)
    planner = engine.planner
    SimulatedExecutor(Simulation(surface, planner), 1, clock).run(engine)
    tags = {job.tag for job in engine.state.jobs.values() if job.purpose == "baseline"}
    assert tags == {"dense", "magnitude", "random"}
    assert not any(record.result.status == "failed" for record in engine.state.records)


def test_a_time_budget_on_a_warm_store_confirms_all() -> None:
    # Nothing was trained, so no speed is known; it must not be taken for zero.
    engine = start(small_space(), replace(OPTIONS, budget="1m"))
    engine.state.time_s = 6.0
    assert engine._epochs_left == float("inf")
    engine.state.epochs_trained = 30.0
    assert engine._epochs_left == pytest.approx(54.0 * 30.0 / 6.0)


def test_one_schedule_that_fits_the_task_is_enough() -> None:
    # Pretrained weights leave no dense run to read, which llr would need.
    lr = {"llr": None, "linear": {"peak": {"low": 0.01, "high": 0.5, "log": True}}}
    space, clock = small_space(method={"imp": {"rounds": [2, 3]}}, lr=lr), VirtualClock()
    info = replace(INFO, pretrained=True)
    engine = start(space, OPTIONS, clock=clock, info=info)
    SimulatedExecutor(Simulation(surface, engine.planner), 1, clock).run(engine)
    assert search_jobs(engine) == 20
    assert {job.config.lr.name for job in engine.state.search_jobs} == {"linear"}
    alone = small_space(method={"imp": None}, lr={"llr": None})
    with pytest.raises(ConfigError, match=r"imp: .* must not be 'llr' when the task brings pretr"):
        start(alone, OPTIONS, info=info)
