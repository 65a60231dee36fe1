"""snip, rigl and scratch_e train from an initialisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from autoprune.core.errors import ConfigError
from autoprune.methods.reach import kind_of
from autoprune.trial.context import WorkerContext
from autoprune.trial.run import run_job
from tests.methods.support import TOTAL, assert_equal, job, kept, masked, of_kind, plan, state

BOTH = ("scratch_e", "scratch_b")


def test_snip_scores_the_weights_it_trains(digits_context: WorkerContext) -> None:
    (last,) = plan(job("snip"))
    (init,), (score,), (mask,) = (of_kind(last, kind) for kind in ("init", "score", "mask"))
    assert score.parents == (init,)
    assert last.parents == (mask,)
    start = state(mask, digits_context)
    assert_equal(start.weights, masked(state(init, digits_context).weights, start.masks))


def test_snip_s_score_is_sensitivity(digits_context: WorkerContext) -> None:
    # |w * dL/dw| of the mean loss over its batch: weights whose inputs are zero in every image
    # (pixels that are blank in all of digits) have no gradient, so their score is exactly zero.
    (score,) = of_kind(plan(job("snip"))[0], "score")
    found = state(score, digits_context).tensors["score/fc1.weight"]
    images = digits_context.task.data.train.inputs  # type: ignore[attr-defined]
    blank = images.flatten(1).abs().sum(dim=0) == 0
    assert blank.any()
    assert not found[:, blank].any()
    assert (found[:, ~blank] > 0).any()
    # The whole training split's gradient ranks weights much as the batch's does.
    model = digits_context.task.build_model(0)
    model.load_state_dict(state(of_kind(score, "init")[0], digits_context).weights)
    targets = digits_context.task.data.train.targets  # type: ignore[attr-defined]
    cross_entropy(model(images), targets).backward()
    weight = model.get_parameter("fc3.weight")
    whole = (weight * weight.grad).abs().flatten()  # type: ignore[operator]
    own = state(score, digits_context).tensors["score/fc3.weight"].flatten()
    assert torch.corrcoef(torch.stack([whole, own.float()]))[0, 1] > 0.7


def test_scratch_e_shares_the_mask_and_not_the_weights(digits_context: WorkerContext) -> None:
    (control,) = plan(job("scratch_e", sparsity=0.9, base="magnitude", allocation="global"))
    (trial,) = plan(job("magnitude", sparsity=0.9))
    mine, theirs = (state(of_kind(p, "mask")[0], digits_context) for p in (control, trial))
    assert_equal(mine.masks, theirs.masks)
    assert_equal(state(control, digits_context).masks, theirs.masks)
    start = state(control.parents[0], digits_context)
    fresh = next(s for s in of_kind(control, "init") if s.label == "reinit")  # type: ignore[attr-defined]
    assert_equal(start.weights, masked(state(fresh, digits_context).weights, start.masks))
    mask = theirs.masks["fc2.weight"]
    both = [s.weights["fc2.weight"][mask] for s in (start, theirs)]
    # About 2,000 independent pairs: one sigma is .02, five are allowed.
    assert abs(torch.corrcoef(torch.stack(both))[0, 1].item()) < 0.12


def test_scratch_e_refuses_bases_whose_mask_is_not_their_score_s() -> None:
    with pytest.raises(
        ConfigError, match=r"scratch_e\.base must score.*magnitude, random, imp, lottery"
    ):
        job("scratch_e", base="rigl")
    with pytest.raises(ConfigError, match=r"scratch_b\.base must score, prune and retrain"):
        job("scratch_b", base="i_spasp")


def test_its_kind_is_the_base_s() -> None:
    kinds = [kind_of(job("scratch_e", **params).config) for params in ({}, {"base": "magnitude"})]
    assert kinds == ["units", "weights"]


def test_a_mask_s_fresh_weights_may_be_as_large_as_its_density_wants(
    digits_context: WorkerContext,
) -> None:
    (last,) = plan(job("scratch_e", sparsity=0.9, base="magnitude", rescale=True))
    (start,) = of_kind(last, "fresh_weights")
    found, drawn = state(start, digits_context), state(start.parents[1], digits_context)
    mask = found.masks["fc2.weight"]
    # Card rethinking (f)4: the draw times sqrt(1 / density), zero elsewhere; biases as they are.
    wanted = drawn.weights["fc2.weight"] * mask * (mask.numel() / int(mask.sum())) ** 0.5
    assert torch.allclose(found.weights["fc2.weight"], wanted)
    assert torch.equal(found.weights["fc2.bias"], drawn.weights["fc2.bias"])


def test_scratch_b_trains_as_long_as_its_multiply_adds_allow(
    digits_context: WorkerContext,
) -> None:
    (long,) = plan(job("scratch_b", sparsity=0.3, cap=8.0))
    assert (long.epochs, long.open_ended) == (8.0 * 6, True)  # what a forecast counts
    found = state(long, digits_context)
    left = sum(
        int(found.masks[f"{layer}.weight"].sum()) for layer in ("fc1", "fc2", "fc3")
    )  # of linear layers weights are multiply-adds
    epochs = math.floor(6 * TOTAL / left)
    assert epochs > 6
    assert found.log["longer_epochs"] == long.spent(found) == epochs
    assert len(found.tensors["lr_curve"]) == epochs * 17
    # As many multiply-adds as the dense net in 6 epochs, to less than one of its own.
    per_epoch = 3.0 * 1077 * left
    dense = 3.0 * 6 * 1077 * TOTAL
    spent = per_epoch * epochs
    assert dense - per_epoch < spent <= dense


def test_scratch_b_says_what_it_trained(digits_context: WorkerContext) -> None:
    one = job("scratch_b", sparsity=0.4)
    first, again = run_job(one, digits_context), run_job(one, digits_context)
    assert first.error == ""
    epochs = first.metrics["log/longer_epochs"]
    assert 6 < epochs < 12  # less than the cap of 2
    trained = [record for record in first.stages if record.kind == "train_longer"]
    assert [record.epochs for record in trained] == [epochs]
    assert again.epochs_trained == 0
    assert again.epochs_reused == first.epochs_trained + first.epochs_reused


def test_without_pruning_scratch_b_is_scratch_e(digits_context: WorkerContext) -> None:
    ends = [state(plan(job(name, sparsity=0.0))[0], digits_context) for name in BOTH]
    assert_equal(ends[0].weights, ends[1].weights)
    stages = [plan(job(name, sparsity=0.8))[0] for name in BOTH]
    assert stages[1].spent(state(stages[1], digits_context)) == 2 * stages[0].epochs  # the cap


def test_from_scratch_plans_train_for_dense_and_retraining_epochs() -> None:
    # A third of the top rung gets a third of the 6 dense epochs: 1 + 2.
    short = job("snip", epochs=1, dense_epochs=6)
    assert plan(short)[0].epochs == 3.0
    assert plan(job("snip", epochs=3, dense_epochs=6))[0].epochs == 9.0


def test_rigl_keeps_its_counts_and_makes_its_updates(digits_context: WorkerContext) -> None:
    (last,) = plan(job("rigl", sparsity=0.9))
    before, after = (state(s, digits_context) for s in (of_kind(last, "mask")[0], last))
    for name, mask in after.masks.items():
        assert mask.sum() == before.masks[name].sum(), name
    assert any(not torch.equal(m, before.masks[n]) for n, m in after.masks.items())
    assert after.log["mask_updates"] >= 20
    assert kept(after) == 5_020


def test_random_spreads_evenly(digits_context: WorkerContext) -> None:
    # Card pruning_at_init (f)6: |density_l - d| <= 4 sqrt(d (1 - d) / N_l).
    (last,) = plan(job("random", sparsity=0.9, allocation="global"))
    for mask in state(last, digits_context).masks.values():
        bound = 4 * (0.1 * 0.9 / mask.numel()) ** 0.5
        assert abs(mask.float().mean().item() - 0.1) <= bound


def test_magnitude_keeps_the_largest(digits_context: WorkerContext) -> None:
    (last,) = plan(job("magnitude", sparsity=0.9))
    (mask,) = of_kind(last, "mask")
    masks = state(mask, digits_context).masks
    dense = state(mask.parents[0], digits_context).weights
    alive = torch.cat([dense[n][m].abs() for n, m in masks.items()])
    gone = torch.cat([dense[n][~m].abs() for n, m in masks.items()])
    assert alive.min() >= gone.max()
    assert_equal(state(last, digits_context).masks, masks)
