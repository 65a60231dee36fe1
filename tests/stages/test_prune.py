from __future__ import annotations

from functools import partial

import pytest
import torch

from autoprune.stages.prune import Mask, MaskRounds, Score, _nearest, removed_macs
from autoprune.stages.state import TrialState
from autoprune.stages.support import damage
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, of_kind, plan, state


def test_the_share_of_the_norm_and_of_the_weights_that_is_lost() -> None:
    # |(3, 4, 12)| = 13; dropping 3 and 4 loses |(3, 4)| = 5. BatchNorm's statistics and integers
    # are no weights. 2 of the 4 weights kept before are gone, and a bias that unit masks carry.
    running = {"bn.running_mean": torch.tensor([50.0]), "bn.running_var": torch.tensor([70.0])}
    before = TrialState(
        {"a": torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]), "b": torch.tensor([12.0])}
        | running,
        {"a": torch.tensor([[True, True, True], [False, False, True]]), "b": torch.tensor([True])},
    )
    after = TrialState(
        {"a": torch.zeros(2, 3), "b": torch.tensor([12.0])} | running,
        {
            "a": torch.tensor([[False, False, True], [False, False, True]]),
            "b": torch.tensor([False]),
        },
    )
    assert damage(before, after) == {"norm_lost": pytest.approx(5 / 13), "share_lost": 0.5}
    # Nothing was masked before: 4 of 6 are gone.
    assert damage(TrialState(before.weights), after)["share_lost"] == pytest.approx(4 / 6)
    assert damage(before, before) == {"norm_lost": 0.0, "share_lost": 0.0}


def test_rounds_in_a_row_count_their_damage_from_the_start(digits_context: WorkerContext) -> None:
    # Magnitude in three rounds without training between keeps what one round keeps.
    (dense,) = plan(job("dense", sparsity=0.0))
    common = {"parents": (dense,), "score": "magnitude", "allocation": "global", "sparsity": 0.9}
    rows = [state(MaskRounds(**common, rounds=n, seed=0), digits_context).log for n in (1, 3)]
    for name in ("norm_lost", "share_lost"):
        assert rows[0][name] == rows[1][name]
    assert rows[0]["share_lost"] == 45_180 / TOTAL


def test_masks_remove_what_was_asked(digits_context: WorkerContext) -> None:
    (mask,) = of_kind(plan(job("magnitude", sparsity=0.9))[0], "mask")
    found = state(mask, digits_context)
    assert kept(found) == TOTAL - 45_180
    for name, value in found.masks.items():
        assert value.dtype is torch.bool
        assert not found.weights[name][~value].any()
    assert 0 < found.log["norm_lost"] < 1


def test_targets_in_macs_are_met_in_macs(digits_context: WorkerContext) -> None:
    # A linear layer's MACs are its weights, so here both targets mean the same count.
    (dense,) = plan(job("dense", sparsity=0.0))
    score = Score(parents=(dense,), score="magnitude", seed=0)
    mask = Mask(parents=(dense, score), allocation="erk", sparsity=0.9, of="macs")
    # 24 halvings of 50,200 weights leave less than one.
    assert abs(kept(state(mask, digits_context)) - 5_020) <= 1


def test_bisection_weighs_layers_by_their_macs() -> None:
    # Two layers of 10 weights; one costs 90 MACs, the other 10. Removing k of 20 takes the costly
    # layer's first (9 each), so 45 % of the MACs are gone with 5 weights: a sparsity of .25.
    from autoprune.pruning.masks import MaskSet

    def at(sparsity: float) -> MaskSet:
        gone = round(20 * sparsity)
        first = torch.arange(10) >= min(gone, 10)
        second = torch.arange(10) >= gone - 10
        return MaskSet({"a": first, "b": second})

    found = _nearest(at, 0.45, partial(removed_macs, macs={"a": 90, "b": 10}))
    assert int(found.masks["a"].sum()) == 5
    assert bool(found.masks["b"].all())


def test_scores_travel_beside_the_weights(digits_context: WorkerContext) -> None:
    (score,) = of_kind(plan(job("magnitude"))[0], "score")
    found = state(score, digits_context)
    assert set(found.tensors) == {f"score/{n}" for n in ("fc1.weight", "fc2.weight", "fc3.weight")}
    assert torch.equal(found.tensors["score/fc1.weight"], found.weights["fc1.weight"].abs())
