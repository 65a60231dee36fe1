from __future__ import annotations

import math
from typing import Any

import pytest

from autoprune.core.config import LRConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job
from autoprune.experiments.scratch import ScratchDesign, ScratchOptions, verdict
from autoprune.stages.base import closure
from autoprune.stages.init import Init
from autoprune.stages.train import Train
from autoprune.trial.plan import make_plan
from tests.experiments.support import Workbench, trial

LRW = LRConfig(name="lrw")


def options(**changes: Any) -> ScratchOptions:
    base = trial("imp", LRW, params={"rounds": 2}, sparsity=0.75)
    given = {"trial": base, "epochs": 6, "top_epochs": 6, "seeds": (1, 2, 3), "study": "made up"}
    return ScratchOptions(**{**given, **changes})


def accuracy(job: Job, number: int) -> float:
    """Scratch-E is four points worse, Scratch-B level; seeds differ."""
    if job.config.method != "scratch_of":
        return 0.9 + 0.001 * job.seed
    return (0.86 if job.epochs == 10 else 0.9) + 0.001 * job.seed * (job.epochs % 7)


@pytest.fixture(scope="module")
def bench() -> Workbench:
    found = Workbench(ScratchDesign(options()), accuracy)
    found.run()
    return found


def test_e_costs_the_epochs_of_the_trial_and_b_its_multiply_adds(bench: Workbench) -> None:
    answer = bench.summary()
    epochs = {arm["name"]: arm["epochs"] for arm in answer["arms"]}
    # Dense 4 + retraining 6 at a quarter: 5.5 dense epochs' worth, 22 epochs of the sparse net.
    assert epochs == {"retrained": 10, "scratch_e": 10, "scratch_b": 22}
    assert answer["epochs_ratio"] == pytest.approx(2.2)
    assert not answer["capped"]


def test_b_is_capped_and_says_so() -> None:
    found = Workbench(ScratchDesign(options(cap=1.5)), accuracy)
    found.run()
    answer = found.summary()
    assert answer["capped"]
    assert answer["arms"][2]["epochs"] == 15
    assert "capped" in answer["arms"][2]["label"]


def test_equal_multiply_adds_at_a_ratio_of_one_are_equal_epochs() -> None:
    whole = trial("imp", LRW, params={"rounds": 2}, sparsity=0.0)
    found = Workbench(ScratchDesign(options(trial=whole)), accuracy)
    found.run()
    answer = found.summary()
    by_name = {arm["name"]: arm for arm in answer["arms"]}
    assert by_name["scratch_e"]["epochs"] == by_name["scratch_b"]["epochs"] == 10
    assert by_name["scratch_e"]["test_accuracies"] == by_name["scratch_b"]["test_accuracies"]


def test_the_control_has_the_trials_masks_other_weights_and_the_dense_schedule(
    bench: Workbench,
) -> None:
    job = next(j for j in bench.issued if j.tag == "scratch_e" and j.seed == 1)
    original = next(j for j in bench.issued if j.tag == "retrained" and j.seed == 1)
    (stage,) = make_plan(job, 6)
    assert isinstance(stage, Train)
    assert stage.lr.name == "linear"
    assert stage.lr.params["peak"] == pytest.approx(0.1)
    context = bench.engine.planner.context
    keys = {s.key(context) for s in closure(stage)}
    assert make_plan(original, 6)[-1].key(context) in keys
    assert "reinit/2" in {s.label for s in closure(stage) if isinstance(s, Init)}


def test_a_round_of_a_trial_can_be_asked_about() -> None:
    part = trial("imp", LRW, params={"rounds": 2}, sparsity=0.75, stop_round=1)
    found = Workbench(ScratchDesign(options(trial=part)), accuracy)
    found.run()
    # Half of the six retraining epochs.
    assert found.summary()["arms"][0]["epochs"] == 7


def test_seeds_are_paired(bench: Workbench) -> None:
    rows = {row["against"]: row for row in bench.summary()["comparisons"]}
    assert rows["scratch_e"]["outcome"] == "better"
    assert rows["scratch_b"]["outcome"] == "worse" or rows["scratch_b"]["n"] == 3
    assert all(row["n"] == 3 for row in rows.values())


def test_a_low_rank_trial_is_refused() -> None:
    low_rank = trial("lrpet", LRConfig(), sparsity=0.5)
    with pytest.raises(ConfigError, match="--trial must have a mask or units"):
        Workbench(ScratchDesign(options(trial=low_rank)), accuracy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seeds": ()}, "--seeds"), ({"cap": 0.5}, "--cap"), ({"cap": math.nan}, "--cap")],
)
def test_bad_input_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(**changes)


@pytest.mark.parametrize(
    ("e", "b", "words"),
    [
        ("better", "better", "worth keeping"),
        ("better", "within noise", "at equal epochs, but not clearly"),
        ("within noise", "better", "at equal multiply-adds, but not clearly"),
        ("within noise", "within noise", "Within the noise"),
        ("worse", "better", "is the architecture"),
        ("better", "worse", "equal MACs (B) beats"),
        ("no interval", "no interval", "use more seeds"),
    ],
)
def test_the_verdict_follows_the_comparisons(e: str, b: str, words: str) -> None:
    rows = [{"against": "scratch_e", "outcome": e}, {"against": "scratch_b", "outcome": b}]
    assert words in verdict(rows)


def test_nothing_is_said_without_results() -> None:
    assert verdict([]) == "Nothing can be said yet."
