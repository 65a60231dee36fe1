from __future__ import annotations

import pytest
import torch

from autoprune.stages.prune import Mask, Score, _nearest_macs, _norm_lost
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, job, kept, of_kind, plan, state


def test_the_share_of_the_norm_that_is_lost() -> None:
    # |(3, 4, 12)| = 13; dropping 3 and 4 loses |(3, 4)| = 5.
    before = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([12.0]), "n": torch.tensor(9)}
    after = {"a": torch.zeros(2), "b": torch.tensor([12.0]), "n": torch.tensor(9)}
    assert _norm_lost(before, after) == pytest.approx(5 / 13)


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

    found = _nearest_macs(at, 0.45, {"a": 90, "b": 10})
    assert int(found.masks["a"].sum()) == 5
    assert bool(found.masks["b"].all())


def test_scores_travel_beside_the_weights(digits_context: WorkerContext) -> None:
    (score,) = of_kind(plan(job("magnitude"))[0], "score")
    found = state(score, digits_context)
    assert set(found.tensors) == {f"score/{n}" for n in ("fc1.weight", "fc2.weight", "fc3.weight")}
    assert torch.equal(found.tensors["score/fc1.weight"], found.weights["fc1.weight"].abs())
