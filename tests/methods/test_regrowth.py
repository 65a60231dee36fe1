"""rigl, set, snfs and static: one random mask, four ways to move it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, complete
from autoprune.pruning.masks import mask_sha256
from autoprune.stages.train import HookSpec, Train
from autoprune.trial.context import WorkerContext
from tests.methods.support import TOTAL, assert_equal, job, kept, labelled, of_kind, plan, state

MOVING = ("rigl", "set", "snfs")
EVERY = (*MOVING, "static")


def hook_of(method: str, **params: Any) -> HookSpec:
    (trained,) = labelled(plan(job(method, **params))[-1], "scratch")
    (hook,) = trained.hooks
    return hook  # type: ignore[no-any-return] # a field of a stage found by kind


def test_all_start_from_the_same_mask_and_weights(digits_context: WorkerContext) -> None:
    starts = [
        state(of_kind(plan(job(m, sparsity=0.9))[-1], "mask")[0], digits_context) for m in EVERY
    ]
    for other in starts[1:]:
        assert_equal(other.weights, starts[0].weights)
        assert_equal(other.masks, starts[0].masks)


def test_the_mask_is_spread_by_erk(digits_context: WorkerContext) -> None:
    # 5,020 of 50,200 in proportion to 64 + 300, 300 + 100 and 100 + 10, 874 in all: 2,090.75,
    # 2,297.53 and 631.81 of 19,200, 30,000 and 1,000; the two units over go to .81 and .75.
    (mask,) = of_kind(plan(job("static", sparsity=0.9))[-1], "mask")
    counts = [int(m.sum()) for m in state(mask, digits_context).masks.values()]
    assert counts == [2091, 2297, 632]


def test_a_uniform_mask_has_one_density(digits_context: WorkerContext) -> None:
    (mask,) = of_kind(plan(job("static", sparsity=0.9, allocation="uniform"))[-1], "mask")
    counts = [int(m.sum()) for m in state(mask, digits_context).masks.values()]
    assert counts == [1920, 3000, 100]


def test_static_never_moves(digits_context: WorkerContext) -> None:
    last = plan(job("static", sparsity=0.9))[-1]
    start, end = (state(s, digits_context) for s in (of_kind(last, "mask")[0], last))
    assert_equal(end.masks, start.masks)
    assert any(not torch.equal(w, start.weights[n]) for n, w in end.weights.items())


@pytest.mark.parametrize("method", MOVING)
def test_masks_move_and_their_total_stays(method: str, digits_context: WorkerContext) -> None:
    last = plan(job(method, sparsity=0.9))[-1]
    start, end = (state(s, digits_context) for s in (of_kind(last, "mask")[0], last))
    assert end.log["mask_updates"] >= 20
    assert kept(end) == kept(start) == 5_020
    assert mask_sha256(end.masks) != mask_sha256(start.masks)
    same = [m.sum() == start.masks[n].sum() for n, m in end.masks.items()]
    assert all(same) if method != "snfs" else not all(same)


def test_each_grows_its_own_way(digits_context: WorkerContext) -> None:
    ends = {m: state(plan(job(m, sparsity=0.9))[-1], digits_context) for m in EVERY}
    assert len({mask_sha256(end.masks) for end in ends.values()}) == len(EVERY)


def test_training_costs_what_the_card_says(digits_context: WorkerContext) -> None:
    # In a plain MLP f_D is its 50,200 weights and f_S its 5,020. Per image 3 f_S = 15,060 for
    # static and SET; 2 f_S + f_D = 60,240 for sparse momentum at every step, for RigL at its
    # updates. 3 dense and 3 retraining epochs at the top rung: 102 steps of 17 a round of the
    # split, so the images are 6 times its size. RigL: up to 77 steps (.75 * 102 = 76.5 rounds to
    # 76), every 76 // 20 = 3: 25 updates of 64 images, or fewer where a last batch is short.
    images = 6 * digits_context.task.data.train.size
    macs = {
        m: state(plan(job(m, sparsity=0.9))[-1], digits_context).log["train_macs"] for m in EVERY
    }
    assert macs["static"] == pytest.approx(images * 15_060)
    assert macs["set"] == pytest.approx(images * 15_060)
    assert macs["snfs"] <= images * 60_240
    assert macs["snfs"] == pytest.approx(images * 60_240, rel=0.05)  # f_S hardly changes
    dense_images = (macs["rigl"] - images * 15_060) / (50_200 - 5_020)
    assert 25 * 64 - 64 < dense_images <= 25 * 64


def test_parameters_reach_the_hook() -> None:
    hook = hook_of("snfs", drop_fraction=0.4, end=0.5, interval=7, decay="linear", smoothing=0.99)
    assert hook.params == {
        "growth": "momentum",
        "drop_fraction": 0.4,
        "end": 0.5,
        "interval": 7,
        "least_updates": 20,
        "decay": "linear",
        "smoothing": 0.99,
    }
    assert {hook_of(m).params["growth"] for m in ("rigl", "set")} == {"gradient", "random"}


def test_sparse_training_takes_the_scratch_epochs() -> None:
    for method in EVERY:
        (trained,) = plan(job(method, epochs=1, dense_epochs=6))
        assert isinstance(trained, Train)
        assert trained.epochs == 3.0  # 1 and a third of 6


@pytest.mark.parametrize(
    ("key", "value"), [("drop_fraction", 1.0), ("end", 0.0), ("interval", 1), ("decay", "step")]
)
@pytest.mark.parametrize("method", MOVING)
def test_what_makes_no_sense_is_refused(method: str, key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{method}\.{key}"):
        complete(TrialConfig(method=method, params={key: value}))


def test_a_share_of_the_macs_needs_layers_that_keep_their_counts() -> None:
    for method in ("rigl", "set", "static"):
        assert complete(TrialConfig(method=method, of="macs")).of == "macs"
    for method in ("snfs", "sup_tickets"):
        with pytest.raises(ConfigError, match=r"trial\.of must be weights"):
            complete(TrialConfig(method=method, of="macs"))


def test_only_what_moves_says_so() -> None:
    assert [METHODS.get(m).regrows for m in EVERY] == [True, True, True, False]
    assert TOTAL == 50_200  # what the numbers above are worked out for
