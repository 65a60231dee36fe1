from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig
from autoprune.stages.prune import Recalibrate
from autoprune.stages.train import HookSpec, Train
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from tests.methods.support import assert_equal, job, labelled, plan, state

BN_TASK = TaskConfig(data="digits", model="resnet20", width=0.25, train_size=128)
INPUTS = HookSpec("tests.methods.support:KeepInputs")


@pytest.fixture(scope="module")
def bn_context(tmp_path_factory: pytest.TempPathFactory) -> WorkerContext:
    return open_context(BN_TASK, home=tmp_path_factory.mktemp("bn"), top_epochs=TOP, threads=1)


def dense() -> Train:
    (found,) = plan(job("dense", sparsity=0.0))
    assert isinstance(found, Train)
    return found


def test_the_rate_of_every_step_is_recorded(digits_context: WorkerContext) -> None:
    curve = state(dense(), digits_context).tensors["lr_curve"]
    # Linear from .1: step j of 51 has .1 (1 - j / 51).
    expected = 0.1 * (1 - torch.arange(51, dtype=torch.float64) / 51)
    assert torch.allclose(curve, expected)


def test_a_stopped_run_is_the_whole_one_s_beginning(digits_context: WorkerContext) -> None:
    half = state(replace(dense(), stop=0.5), digits_context).tensors["lr_curve"]
    assert torch.equal(half, state(dense(), digits_context).tensors["lr_curve"][:26])


def test_parents_are_left_as_they_were(digits_context: WorkerContext) -> None:
    start = state(dense().parents[0], digits_context)
    before = {name: value.clone() for name, value in start.weights.items()}
    dense().run([start], digits_context)
    assert_equal(start.weights, before)


def test_a_loss_that_is_no_number_is_divergence(digits_context: WorkerContext) -> None:
    huge = replace(dense(), lr=LRConfig(name="constant", params={"peak": 1e20}))
    found = state(huge, digits_context)
    assert found.log["status"] == "diverged"
    after = replace(dense(), parents=(huge,), label="after")
    assert state(after, digits_context) is found


def test_a_last_step_that_breaks_the_weights_is_divergence(digits_context: WorkerContext) -> None:
    # One step only: its loss, of the initial weights, is finite; what it leaves is not.
    huge = replace(
        dense(), length=1 / 17, lr=LRConfig(name="constant", params={"peak": 1e300}), label="one"
    )
    found = state(huge, digits_context)
    assert len(found.tensors["lr_curve"]) == 1
    assert found.log["status"] == "diverged"


@pytest.mark.parametrize("recipe", [RecipeConfig(cutout=3), RecipeConfig(mixup=0.4)])
def test_every_run_of_a_trial_cuts_and_blends_anew(
    recipe: RecipeConfig, digits_context: WorkerContext
) -> None:
    # With augmentation and order equal, what differs between two labels is the recipe's own
    # draw; so take the order out by training on one batch that holds the whole split.
    optimizer = replace(dense().optimizer, batch_size=2000)
    runs = [
        replace(
            dense(), recipe=recipe, hooks=(INPUTS,), length=1.0, label=label, optimizer=optimizer
        )
        for label in ("retrain/1", "retrain/2", "retrain/1")
    ]
    first, second, again = (state(run, digits_context).tensors["inputs"] for run in runs)
    blank = [(images == 0).flatten(1).sum(dim=1).sort().values for images in (first, second)]
    assert not torch.equal(*blank)  # sorted, so the order of images plays no part
    assert torch.equal(first, again)


def test_averaging_is_followed_by_recalibration(bn_context: WorkerContext) -> None:
    with_ema = plan(job("magnitude", task=BN_TASK, recipe=RecipeConfig(ema=0.9), epochs=1))[-1]
    assert with_ema.kind == "recalibrate"
    averaged = state(with_ema.parents[0], bn_context)
    found = state(with_ema, bn_context)
    changed = {n for n, w in averaged.weights.items() if not torch.equal(w, found.weights[n])}
    assert any(name.endswith("running_mean") for name in changed)
    assert all(name.rpartition(".")[2].startswith(("running", "num_batches")) for name in changed)
    assert found.masks is averaged.masks


def test_without_averaging_nothing_is_recalibrated() -> None:
    assert plan(job("magnitude"))[-1].kind == "train"
    assert plan(job("magnitude", recipe=RecipeConfig(bn_recalibration=True)))[-1].kind == (
        "recalibrate"
    )


def test_without_batch_norm_recalibration_passes_the_state_through(
    digits_context: WorkerContext,
) -> None:
    start = state(dense(), digits_context)
    assert Recalibrate(parents=(dense(),)).run([start], digits_context) is start


def test_the_teacher_is_the_dense_run(digits_context: WorkerContext) -> None:
    (last,) = plan(job("magnitude", recipe=RecipeConfig(distill=0.5), lr="lrw"))
    (stage,) = labelled(last, "retrain")
    inputs = [state(parent, digits_context) for parent in stage.parents]
    taught = stage.teacher(inputs)
    assert taught is not None
    assert_equal(taught.weights, state(dense(), digits_context).weights)
    (alone,) = plan(job("magnitude"))
    assert alone.teacher([inputs[0]]) is None  # type: ignore[attr-defined]


def test_latent_values_of_another_home_are_the_same(
    digits_context: WorkerContext, tmp_path: Path
) -> None:
    (last,) = plan(job("movement"))
    other = open_context(digits_context.settings.task, home=tmp_path, top_epochs=TOP, threads=1)
    assert_equal(state(last, other).weights, state(last, digits_context).weights)
