from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.errors import ConfigError, UnknownNameError
from autoprune.stages.train import HookSpec
from autoprune.trial.context import WorkerContext
from tests.methods.support import (
    TOTAL,
    assert_equal,
    job,
    kept,
    labelled,
    masked,
    of_kind,
    plan,
    state,
)


def test_each_round_removes_the_same_share_of_what_remains(digits_context: WorkerContext) -> None:
    # S = .9 in 3 rounds: 1 - .1^(1/3) = .5358411, 1 - .1^(2/3) = .7845565, .9 of 50,200 weights,
    # so 26,899, 39,385 and 45,180 are gone.
    rounds = plan(job("imp", sparsity=0.9, rounds=3))
    gone = [TOTAL - kept(state(stage, digits_context)) for stage in rounds]
    assert gone == [26_899, 39_385, 45_180]


@pytest.mark.parametrize("rewind", ["init", "reinit"])
def test_every_round_starts_from_the_snapshot(rewind: str, digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=2, rewind=rewind))[-1]
    label = rewind
    (snapshot,) = {s for s in of_kind(last, "init") if s.label == label}  # type: ignore[attr-defined]
    weights = state(snapshot, digits_context).weights
    starts = [stage.parents[0] for stage in labelled(last, "retrain")]
    assert [stage.kind for stage in starts] == ["rewind", "rewind"]
    for start in starts:
        found = state(start, digits_context)
        assert_equal(found.weights, masked(weights, found.masks))
    assert kept(state(starts[0], digits_context)) > kept(state(starts[1], digits_context))


def test_reinit_is_another_draw(digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=1, rewind="reinit"))[-1]
    one, other = (state(s, digits_context).weights for s in of_kind(last, "init"))
    both = torch.stack([one["fc2.weight"].flatten(), other["fc2.weight"].flatten()])
    # 30,000 independent pairs correlate by 1 / sqrt(30,000) = .006 at one sigma; five are allowed.
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.03


def test_a_rewind_point_is_on_the_dense_run_s_way(digits_context: WorkerContext) -> None:
    # Half of 3 epochs of 17 steps is 25.5, so the snapshot is taken after round(25.5) = 26 steps.
    last = plan(job("imp", rounds=1, rewind="step:0.5"))[-1]
    (short,) = (s for s in labelled(last, "dense") if s.stop == 0.5)
    whole, *_ = (s for s in labelled(last, "dense") if s.stop == 1.0)
    watched = replace(whole, hooks=(HookSpec("tests.methods.support:WeightsAt", {"step": 26}),))
    on_the_way = state(watched, digits_context).tensors
    snapshot = state(short, digits_context)
    for name, value in snapshot.weights.items():
        assert torch.equal(value, on_the_way[f"at/{name}"]), name
    (start,) = (stage.parents[0] for stage in labelled(last, "retrain"))
    found = state(start, digits_context)
    assert_equal(found.weights, masked(snapshot.weights, found.masks))


def test_without_rewinding_weights_stay(digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=2))[-1]
    assert of_kind(last, "rewind") == []
    first, second = labelled(last, "retrain")
    trained = state(first, digits_context)
    start = state(second.parents[0], digits_context)
    assert_equal(start.weights, masked(trained.weights, start.masks))


def test_lr_rewinding_replays_the_dense_run(digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=1, lr="lrw"))[-1]
    dense = state(labelled(last, "dense")[0], digits_context).tensors["lr_curve"]
    assert len(dense) == 51
    assert torch.equal(state(last, digits_context).tensors["lr_curve"], dense)


def test_a_short_cycle_replays_the_end(digits_context: WorkerContext) -> None:
    last = plan(job("imp", rounds=2, epochs=2, lr="lrw"))[-1]
    dense = state(labelled(last, "dense")[0], digits_context).tensors["lr_curve"]
    for cycle in labelled(last, "retrain"):
        assert torch.equal(state(cycle, digits_context).tensors["lr_curve"], dense[-17:])


def test_another_batch_size_replays_the_same_epochs(digits_context: WorkerContext) -> None:
    # Batches of 16 make 68 steps of an epoch, four times the dense run's 17: the last 17 rates,
    # each four times (the position between two steps is rounded, so one may stand by one step).
    from autoprune.core.config import RecipeConfig

    recipe = RecipeConfig(batch_size=16)
    last = plan(job("imp", rounds=1, epochs=1, lr="lrw", recipe=recipe))[-1]
    dense = state(labelled(last, "dense")[0], digits_context).tensors["lr_curve"]
    found = state(last, digits_context).tensors["lr_curve"]
    assert len(found) == 68
    assert found[0] == dense[-17]
    assert found[-1] == dense[-1]
    assert set(found.tolist()) == set(dense[-17:].tolist())


def test_weight_rewinding_leaves_the_replayed_rates_alone(digits_context: WorkerContext) -> None:
    both = [plan(job("imp", rounds=1, epochs=2, lr="lrw", rewind=r))[-1] for r in ("none", "init")]
    one, other = (state(stage, digits_context) for stage in both)
    assert torch.equal(one.tensors["lr_curve"], other.tensors["lr_curve"])
    assert not torch.equal(one.weights["fc1.weight"], other.weights["fc1.weight"])


def test_a_cycle_longer_than_the_dense_run_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"trial\.lr must not be 'lrw' for cycles longer .* \(3 epochs\); got '4 e",
    ):
        plan(job("imp", rounds=1, epochs=4, lr="lrw"))
    assert plan(job("imp", rounds=2, epochs=6, lr="lrw"))


def test_nothing_to_replay_is_refused() -> None:
    from autoprune.trial.plan import make_plan

    with pytest.raises(ConfigError, match="must not be 'lrw' when the task brings pretrained"):
        make_plan(job("imp", lr="lrw"), 3, pretrained=True)
    with pytest.raises(ConfigError, match=r"trial\.imp\.rewind must be 'none' or 'reinit'"):
        make_plan(job("imp", rewind="init"), 3, pretrained=True)


@pytest.mark.parametrize("rewind", ["step:0", "step:1", "step:x", "step", "start", "init:0.5"])
def test_a_rewind_that_is_none_is_refused(rewind: str) -> None:
    with pytest.raises(ConfigError, match=r"trial\.imp\.rewind must be none, init, reinit or step"):
        job("imp", rewind=rewind)


@pytest.mark.parametrize("part", ["allocation", "schedule"])
@pytest.mark.parametrize("method", ["imp", "dropnet", "ap"])
def test_an_unknown_part_is_refused(method: str, part: str) -> None:
    with pytest.raises(UnknownNameError, match=rf"trial\.{method}\.{part} names an unknown"):
        job(method, **{part: "no such thing"})


def test_a_dense_run_without_a_peak_is_refused() -> None:
    from autoprune.core.config import TrainConfig, TrialConfig
    from autoprune.methods.base import complete

    with pytest.raises(ConfigError, match=r"train\.schedule must be a schedule with a peak"):
        complete(TrialConfig(train=TrainConfig(schedule="lrw")))
    with pytest.raises(UnknownNameError, match=r"did you mean 'cosine'"):
        complete(TrialConfig(train=TrainConfig(schedule="cosin")))
