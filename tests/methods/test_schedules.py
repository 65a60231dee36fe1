"""Learning-rate schedules in real plans: what they are told, and what is refused beforehand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from autoprune.core.config import LRConfig, RecipeConfig, TrainConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, complete, lr_needs
from autoprune.training.lr.base import CycleInfo, Need
from autoprune.training.registry import LR_SCHEDULES
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import make_plan
from tests.methods.support import job, labelled, plan, state

READERS = [name for name in LR_SCHEDULES if Need.DENSE_CURVE in lr_needs(name)]
CONTINUING = [name for name in LR_SCHEDULES if Need.TRAINED_START in lr_needs(name)]


def curve(stage: Any, context: WorkerContext) -> torch.Tensor:
    return state(stage, context).tensors["lr_curve"]


def test_which_schedules_need_what() -> None:
    assert READERS == ["ft", "lrw", "slr", "clr", "llr", "allr"]
    assert CONTINUING == ["ft", "lrw", "allr"]
    assert [n for n in LR_SCHEDULES if Need.DENSE_LENGTH in lr_needs(n)] == ["lrw"]


@pytest.mark.parametrize("name", LR_SCHEDULES.names())
def test_every_schedule_runs_in_rounds(name: str, digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=2, epochs=2, lr=name))[-1]
    dense = curve(labelled(last, "dense")[0], digits_context).tolist()
    for index, stage in enumerate(labelled(last, "retrain"), start=1):
        done, start = state(stage, digits_context), state(stage.parents[0], digits_context)
        assert done.log["status"] == "ok"
        info = CycleInfo(
            index=index,
            count=2,
            sparsity=stage.cycle.sparsity,
            round_share=1 - math.sqrt(0.2),
            norm_lost=start.log["norm_lost"],
            share_lost=start.log["share_lost"],
            length_ratio=1 / 3,  # one of three epochs
            dense_curve=dense,
            num_steps=17,
        )
        schedule = LR_SCHEDULES.get(name)()
        assert done.tensors["lr_curve"].tolist() == [schedule(j / 17, info) for j in range(17)]


def test_the_adaptive_peak_follows_from_the_damage(digits_context: WorkerContext) -> None:
    # W = 1 of 17 steps, so the peak is the rate of step 1. S = .8 in 3 rounds: s = 1 - .2^(1/3).
    last = plan(job("imp", rounds=3, epochs=3, lr="allr"))[-1]
    share = 1 - 0.2 ** (1 / 3)
    for stage in labelled(last, "retrain"):
        masked = stage.parents[0]
        before, after = (state(s, digits_context).weights for s in (masked.parents[0], masked))
        norm = sum(float(w.double().square().sum()) for w in before.values())
        left = sum(float(w.double().square().sum()) for w in after.values())
        d1 = math.sqrt(1 - left / norm) / math.sqrt(share)
        found = curve(stage, digits_context)
        assert found[0] == 0
        # The share is rounded to whole weights.
        assert found[1].item() == pytest.approx(0.1 * max(d1, 17 / 51), rel=1e-4)
        assert found.max() == found[1]


def test_a_rewind_does_not_change_the_damage(digits_context: WorkerContext) -> None:
    kept, rewound = (plan(job("imp", rounds=1, lr="allr", rewind=r))[-1] for r in ("none", "init"))
    assert torch.equal(curve(kept, digits_context), curve(rewound, digits_context))


def test_fine_tuning_ends_where_the_dense_run_did(digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=1, epochs=1, lr="ft"))[-1]
    # The dense run's last of 51 steps: .1 / 51.
    assert curve(last, digits_context).tolist() == pytest.approx([0.1 / 51] * 17)


@pytest.mark.parametrize(
    ("sparsity", "rounds", "share"),
    [(0.9, 3, 0.535841), (0.9, 10, 0.205672), (0.98, 4, 0.623940), (0.9, 1, 0.9)],
)
def test_every_round_takes_the_same_share(sparsity: float, rounds: int, share: float) -> None:
    # Card imp (f) 1: s, and 1 - (1 - s)^k after k rounds.
    found = plan(job("imp", sparsity=sparsity, rounds=rounds, epochs=rounds))
    cycles = [labelled(stage, f"retrain/{k}")[0].cycle for k, stage in enumerate(found, start=1)]
    for k, cycle in enumerate(cycles, start=1):
        assert cycle.round_share == pytest.approx(share, abs=5e-7)
        assert cycle.sparsity == pytest.approx(1 - (1 - cycle.round_share) ** k, rel=1e-12)


@pytest.mark.parametrize("name", CONTINUING)
@pytest.mark.parametrize("method", ["snip", "rigl", "scratch_e"])
def test_from_scratch_nothing_goes_on_from_trained_weights(method: str, name: str) -> None:
    assert METHODS.get(method).start == "scratch"
    with pytest.raises(ConfigError, match=f"trial.lr must not be '{name}' for method '{method}'"):
        job(method, lr=name)


@pytest.mark.parametrize("name", [n for n in READERS if n not in CONTINUING])
def test_from_scratch_a_restart_may_be_longer_than_the_dense_run(
    name: str, digits_context: WorkerContext
) -> None:
    # 3 epochs at the top rung and 3 of the dense run: 6, twice as long as the dense run.
    (last,) = plan(job("snip", lr=name))
    (stage,) = labelled(last, "scratch")
    found = curve(stage, digits_context)
    assert len(found) == 102
    assert found.max() == found[10] == 0.1  # W = 10
    assert stage.parents[-1].label == "dense"


@pytest.mark.parametrize("name", [n for n in READERS if n != "lrw"])
def test_only_a_replay_needs_a_dense_run_as_long_as_the_cycle(name: str) -> None:
    assert plan(job("imp", rounds=1, epochs=9, dense_epochs=1, lr=name))


@pytest.mark.parametrize("name", READERS)
def test_pretrained_weights_leave_nothing_to_read(name: str) -> None:
    with pytest.raises(ConfigError, match=f"must not be '{name}' when the task brings pretrained"):
        make_plan(job("imp", lr=name), 3, pretrained=True)


@pytest.mark.parametrize("name", [n for n in LR_SCHEDULES if n not in READERS])
def test_schedules_with_their_own_peak_need_no_dense_run(name: str) -> None:
    last = make_plan(job("imp", lr=name), 3, pretrained=True)[-1]
    assert labelled(last, "dense") == []


def test_the_dense_curve_is_read_beside_a_teacher(digits_context: WorkerContext) -> None:
    recipe = RecipeConfig(distill=0.5)
    last = plan(job("imp", rounds=1, epochs=1, lr="llr", recipe=recipe))[-1]
    assert [p.kind for p in last.parents] == ["mask", "train", "train"]
    assert curve(last, digits_context).max() == pytest.approx(0.1)


def test_a_dense_run_whose_schedule_refuses_its_peak_is_refused() -> None:
    # The triangle's low is .01 by default.
    train = TrainConfig(schedule="cyclical", lr=0.005)
    with pytest.raises(ConfigError, match=r"train\.schedule .*low must be below peak = 0\.005"):
        complete(TrialConfig(train=train, lr=LRConfig()))
    complete(TrialConfig(train=TrainConfig(schedule="cyclical", lr=0.1)))


def test_a_third_partys_schedule_needs_nothing_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        """A plug-in's, without `needs`."""

    monkeypatch.setattr(LR_SCHEDULES, "get", lambda name, place="": Own)
    assert lr_needs("own") == frozenset()
