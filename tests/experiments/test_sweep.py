from __future__ import annotations

from dataclasses import replace

import pytest

from autoprune.core.config import LRConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job, JobResult
from autoprune.experiments.checklist import checklist
from autoprune.experiments.points import Arm, SweepOptions, ratio_of, sparsity_for
from autoprune.experiments.sweep import SweepDesign
from autoprune.methods.scratch_of import ScratchOfParams, other
from autoprune.stages.base import closure
from autoprune.stages.init import Init
from autoprune.trial.plan import make_plan
from tests.experiments.support import Workbench, trial
from tests.search.support import INFO

MAGNITUDE = Arm("magnitude", "magnitude", {})
RANDOM = Arm("random", "random", {})
TICKETS = Arm("tickets", "lottery_ticket", {"rewind": "init"})
REINIT = Arm("re-initialised", "lottery_ticket", {"rewind": "init"}, reinit=True)


def options(**changes: object) -> SweepOptions:
    base = trial("magnitude", LRConfig(params={"peak": 0.1}), sparsity=0.5)
    given: dict[str, object] = {"base": base, "arms": (MAGNITUDE, RANDOM), "seeds": (0, 1)}
    given |= {"epochs": 2, "ratios": (1.0, 2.0, 4.0), **changes}
    return SweepOptions(**given)  # type: ignore[arg-type]


def accuracy(job: Job, number: int) -> float:
    """Random is worse, seeds differ by a point, sparser is worse; rounds fall by a tenth each."""
    if job.config.method == "dense":
        return 0.9 + 0.01 * job.seed
    base = 0.9 - 0.1 * job.config.sparsity - 0.02 * number
    worse = {"random": 0.2, "scratch_of": 0.05}.get(job.config.method, 0.0)
    return base - worse + 0.01 * job.seed


@pytest.fixture(scope="module")
def bench() -> Workbench:
    found = Workbench(SweepDesign(options()), accuracy)
    found.run()
    return found


@pytest.fixture(scope="module")
def levels() -> Workbench:
    asked = options(ratios=(), levels=3, arms=(TICKETS, REINIT, MAGNITUDE))
    found = Workbench(SweepDesign(asked), accuracy)
    found.run()
    return found


def test_a_ratio_counts_all_parameters() -> None:
    # INFO: 7510 parameters, 7400 of them prunable. Half of all: 3755 left, 3645 of them prunable.
    assert sparsity_for(2.0, INFO) == pytest.approx(1 - 3645 / 7400)
    assert ratio_of(sparsity_for(4.0, INFO), INFO) == pytest.approx(4.0)
    assert sparsity_for(1.0, INFO) == 0.0


def test_a_ratio_that_no_mask_reaches_is_refused_with_the_greatest() -> None:
    # Without any prunable weight 110 parameters are left: 7510 / 110 = 68.27.
    with pytest.raises(ConfigError, match=r"--ratios must be below 68\.27 .* got 70"):
        sparsity_for(70.0, INFO)


def test_a_ratio_of_one_is_the_dense_net_in_every_arm(bench: Workbench) -> None:
    rows = bench.summary()["rows"]
    dense = [row for row in rows if row["target_compression"] == 1.0]
    assert len(dense) == 2 * 2
    for row in dense:
        assert row["post_acc1"] == row["pre_acc1"] == pytest.approx(0.89 + 0.01 * row["seed"])
        assert row["size"] == row["size_nz"] == 7510
        assert row["real_compression"] == row["speedup"] == 1.0
    assert sum(job.config.method == "dense" for job in bench.issued) == 2


def test_a_row_keeps_the_record(bench: Workbench) -> None:
    (row,) = (
        r
        for r in bench.summary()["rows"]
        if (r["method"], r["target_compression"], r["seed"]) == ("random", 2.0, 1)
    )
    assert row["real_compression"] * row["size_nz"] == pytest.approx(row["size"])
    assert row["size_nz"] == 3755
    assert row["flops"] == 7400
    assert row["speedup"] == pytest.approx(7400 / 3645, rel=1e-3)
    assert row["post_acc1"] == pytest.approx(0.9 - 0.1 * row["sparsity"] - 0.02 - 0.2)
    assert (row["optim"], row["lr"], row["batch_size"], row["epochs"]) == ("sgd", 0.1, 64, 2)


def test_curves_are_means_over_seeds(bench: Workbench) -> None:
    curve = bench.summary()["curves"][0]
    assert curve["method"] == "magnitude"
    assert [point["compression"] for point in curve["points"]] == [1.0, 2.0, 4.0]
    first = curve["points"][0]
    assert first["n"] == 2
    assert first["accuracy"] == pytest.approx(0.895)
    # Sample deviation of two values a point apart: 0.01 / sqrt(2).
    assert first["std"] == pytest.approx(0.01 / 2**0.5)


def test_every_arm_is_compared_with_the_first_seed_by_seed(bench: Workbench) -> None:
    found = bench.summary()["comparisons"]
    assert [(row["method"], row["compression"]) for row in found] == [
        ("random", 2.0),
        ("random", 4.0),
    ]
    assert all(row["difference"] == pytest.approx(-0.2) for row in found)
    assert all(row["outcome"] == "worse" for row in found)


def test_levels_remove_a_fifth_of_what_is_left(levels: Workbench) -> None:
    curve = levels.summary()["curves"][0]
    targets = [
        row["target_sparsity"]
        for row in levels.summary()["rows"]
        if (row["method"], row["seed"]) == ("tickets", 0)
    ]
    assert targets == pytest.approx([0.0, 0.2, 0.36, 0.488])
    # 0.9 - 0.1 * 0.488 - 0.02 * round + mean of the seeds - 0.01 for the test split.
    assert [point["accuracy"] for point in curve["points"][1:]] == pytest.approx(
        [0.9 - 0.0488 - 0.02 * level + 0.005 - 0.01 for level in (1, 2, 3)]
    )


def test_the_levels_of_an_iterative_arm_are_the_rounds_of_one_trial(levels: Workbench) -> None:
    tickets = [job for job in levels.issued if job.config.method == "lottery_ticket"]
    assert len(tickets) == 2, "one per seed"
    assert {job.config.params["rounds"] for job in tickets} == {3}
    assert {job.epochs for job in tickets} == {6}


def test_the_control_trains_each_levels_own_mask_from_a_start_of_its_own(
    levels: Workbench,
) -> None:
    controls = [j for j in levels.issued if j.config.method == "scratch_of" and j.seed == 0]
    stops = [
        other(ScratchOfParams(**job.config.params)).stop_round  # type: ignore[arg-type]
        for job in controls
    ]
    assert stops == [1, 2, None]
    context = levels.engine.planner.context
    starts = set()
    for job in controls:
        (stage,) = make_plan(job, 2)
        assert stage.epochs == 2
        starts |= {s.label for s in closure(stage) if isinstance(s, Init) and s.label != "init"}
    assert starts == {"reinit/1", "reinit/2", "reinit/3"}
    # They rest on the tickets' own chain.
    ticket = next(j for j in levels.issued if j.config.method == "lottery_ticket" and j.seed == 0)
    chain = {stage.key(context) for stage in make_plan(ticket, 2)}
    assert chain & {s.key(context) for s in closure(make_plan(controls[2], 2)[0])}


@pytest.mark.parametrize(
    "arm",
    [
        Arm("snip", "snip", {}),
        Arm("snip again", "snip", {}, reinit=True),
        Arm("controls", "lottery_ticket", {"rewind": "init", "control": "reinit"}),
        Arm("pqi", "pqi", {}),
    ],
)
def test_an_arm_that_offers_no_round_per_level_goes_to_each_in_a_trial(arm: Arm) -> None:
    found = Workbench(SweepDesign(options(ratios=(), levels=3, arms=(arm,))), accuracy)
    found.run()
    (curve,) = found.summary()["curves"]
    assert len(curve["points"]) == 4
    mine = [job for job in found.issued if job.config.method != "dense" and job.seed == 0]
    assert len(mine) == 3
    assert {job.epochs for job in mine} == {2}


def test_a_failed_job_leaves_a_hole_and_the_rest_is_told() -> None:
    found = Workbench(SweepDesign(options()), accuracy)
    lost = None
    while isinstance(job := found.engine.next(), Job):
        if lost is None and job.config.method == "random":
            lost = JobResult(job.number, job.trial, "failed", error="no luck")
            found.engine.record(lost)
        else:
            found.engine.record(found.result(job))
    assert found.engine.state.status == "failed"
    counts = {
        (curve["method"], point["compression"]): point["n"]
        for curve in found.summary()["curves"]
        for point in curve["points"]
    }
    assert counts["magnitude", 2.0] == 2
    assert sorted(counts.values()) == [1, 2, 2, 2, 2, 2]


def test_a_method_that_does_not_reach_a_point_on_the_model_is_refused() -> None:
    info = replace(INFO, reach={"low_rank": 0.7})
    asked = options(arms=(Arm("lrpet", "lrpet", {}),), ratios=(), sparsities=(0.5, 0.9))
    with pytest.raises(ConfigError, match=r"must reach every point; it gets to .* 0\.7"):
        Workbench(SweepDesign(asked), accuracy, info=info)


def test_a_one_shot_arm_goes_to_each_level_at_once(levels: Workbench) -> None:
    jobs = [j for j in levels.issued if j.config.method == "magnitude" and j.seed == 0]
    assert [job.config.sparsity for job in jobs] == pytest.approx([0.2, 0.36, 0.488])
    assert {job.epochs for job in jobs} == {2}


def test_phases_are_told_for_every_arm_of_levels(levels: Workbench, bench: Workbench) -> None:
    phases = levels.summary()["phases"]
    assert set(phases) == {"tickets", "re-initialised", "magnitude"}
    assert phases["tickets"]["verdict"] == "no double descent"
    assert bench.summary()["phases"] == {}


@pytest.mark.parametrize("after", [1, 5])
def test_a_sweep_goes_on_from_its_journal(after: int, bench: Workbench) -> None:
    part = Workbench(SweepDesign(options()), accuracy, workers=2)
    part.run(limit=after)
    part.engine = part.open()
    part.run()
    assert part.summary() == bench.summary()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": ()}, "--methods must be at least one"),
        ({"arms": (RANDOM, RANDOM)}, "--methods must be at least one, each once"),
        ({"seeds": ()}, "--seeds must be at least 1"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"ratios": (0.5, 2.0)}, r"--ratios must lie in \[1, inf\); got 0.5"),
        ({"ratios": (4.0, 2.0)}, "--ratios must ascend"),
        ({"ratios": ()}, "needs one of --sparsities, --ratios and --levels"),
        ({"levels": 3}, "needs one of --sparsities, --ratios and --levels"),
        ({"ratios": (), "sparsities": (0.5, 1.0)}, r"--sparsities must lie in \[0, 1\); got 1.0"),
    ],
)
def test_bad_input_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(**changes)


def test_a_method_that_cannot_go_so_far_is_refused_before_anything_runs() -> None:
    asked = options(arms=(Arm("dropnet", "dropnet", {}),), ratios=(), sparsities=(0.5, 0.999))
    with pytest.raises(ConfigError, match="must lie in"):
        Workbench(SweepDesign(asked), accuracy)


def test_the_checklist_names_what_is_missing() -> None:
    full = checklist(
        methods=[("magnitude", "global"), ("magnitude", "uniform"), ("random", "global")],
        num_points=7,
        num_seeds=3,
        num_classes=10,
    )
    assert {row["item"]: row["met"] for row in full} == {
        **dict.fromkeys("bcdefghi", True),
        "a": None,
    }
    poor = checklist(methods=[("magnitude", "global")], num_points=4, num_seeds=2, num_classes=10)
    met = {row["item"]: row for row in poor}
    assert [item for item, row in met.items() if row["met"] is False] == ["e", "f", "g"]
    assert met["f"]["note"] == "missing: random, magnitude layer by layer"
