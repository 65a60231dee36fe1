"""The ToST recipe in whole trials: each part alone, all together, and nothing left behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig, TrialConfig, parse
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import JobResult
from autoprune.methods.base import complete
from autoprune.stages.base import KeyContext, Numerics, Stage
from autoprune.stages.rescale import Rescale
from autoprune.stages.train import HookSpec, Train
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.plan import check_fit, make_plan
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job
from tests.methods.support import assert_equal, job, of_kind, plan, state

PARTS: dict[str, dict[str, Any]] = {
    "soft": {"tost_soft": 0.5},
    "skip": {"tost_skip": 0.5},
    "rescale": {"tost_rescale": 5},
}
ALL = {name: value for part in PARTS.values() for name, value in part.items()}
KEYS = KeyContext("data", Numerics("cpu", "float32", 1, "2.14"), "sources", None)


def with_recipe(method: str = "magnitude", **recipe: Any) -> Any:
    return job(method, recipe=RecipeConfig(**recipe))


def trained(result: Stage) -> Train:
    while not isinstance(result, Train):
        result = result.parents[0]
    return result


def assert_plain(model: torch.nn.Module) -> None:
    for module in model.modules():
        assert "forward" not in vars(module)
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert getattr(module, "track_running_stats", True)


# --- configuration


@pytest.mark.parametrize("name", ["tost_soft", "tost_skip"])
def test_a_share_of_1_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(RecipeConfig, {name: 1.0}, "recipe")
    assert str(caught.value) == (
        f"recipe.{name} must be less than 1: the last steps train the net that is exported; got 1.0"
    )
    assert getattr(parse(RecipeConfig, {name: 0.999}, "recipe"), name) == 0.999
    rules = {-0.1: "greater than or equal to 0", float("nan"): "must be a finite number"}
    for value, rule in rules.items():
        with pytest.raises(ConfigError, match=rule):
            parse(RecipeConfig, {name: value}, "recipe")


def test_steps_are_a_whole_number() -> None:
    for value in (-1, 2.5):
        with pytest.raises(ConfigError, match=r"recipe\.tost_rescale must be"):
            parse(RecipeConfig, {"tost_rescale": value}, "recipe")


def test_each_part_is_another_trial_and_another_key() -> None:
    configs = [TrialConfig(recipe=RecipeConfig(**part)) for part in ({}, *PARTS.values(), ALL)]
    assert len({config.trial_id for config in configs}) == 5
    keys = {plan(with_recipe(**part))[-1].key(KEYS) for part in ({}, *PARTS.values(), ALL)}
    assert len(keys) == 5


# --- refusals


def test_soft_needs_relu_modules_and_skip_a_hidden_layer(digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    assert info.has_relu_modules
    functional = replace(info, has_relu_modules=False)
    with pytest.raises(TaskError, match="must have ReLU modules for recipe 'tost_soft'"):
        check_fit(with_recipe(tost_soft=0.5).config, functional)
    check_fit(with_recipe(tost_skip=0.5, tost_rescale=5).config, functional)
    shallow = replace(info, layers=info.layers[-1:])
    with pytest.raises(TaskError, match=r"hidden convolution or linear layer .* 'tost_skip'"):
        check_fit(with_recipe(tost_skip=0.5).config, shallow)
    check_fit(with_recipe(tost_soft=0.5, tost_rescale=5).config, shallow)


def test_a_model_whose_relus_are_functions_is_refused_before_training(tmp_path: Path) -> None:
    file = tmp_path / "task.py"
    file.write_text(FUNCTIONAL_TASK)
    from autoprune.data.taskfile import identify

    task = identify(TaskConfig(task_file=str(file)))
    context = open_context(task, home=tmp_path / "home", top_epochs=TOP, threads=1)
    assert context.task.info.has_relu
    assert not context.task.info.has_relu_modules
    result = run_job(job("magnitude", task=task, recipe=RecipeConfig(tost_soft=0.5)), context)
    assert "must have ReLU modules for recipe 'tost_soft'" in result.error
    assert result.stages == ()


FUNCTIONAL_TASK = """
import torch
from torch import nn
from torch.utils.data import TensorDataset

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(64, 16), nn.Linear(16, 2)

    def forward(self, inputs):
        return self.two(torch.relu(self.one(inputs.flatten(1))))

def model():
    return Net()

def data(seed):
    inputs = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(inputs, (inputs.mean(dim=(1, 2, 3)) > 0).long())

def train_data():
    return data(0)

def val_data():
    return data(1)
"""


# --- plans


def test_with_everything_off_the_plan_and_its_hooks_are_the_plain_ones() -> None:
    from autoprune.training.recipes.build import build_hooks

    (last,) = plan(with_recipe())
    assert of_kind(last, "rescale") == []
    assert build_hooks(trained(last).recipe, seed=0) == []


def test_scales_are_fitted_between_the_mask_and_the_training_of_every_round() -> None:
    base = job("imp", rounds=2, rewind="init", recipe=RecipeConfig(tost_rescale=5, batch_size=32))
    found = [trained(stage) for stage in plan(base)]
    for number, stage in enumerate(found, 1):
        (rescale,) = stage.parents
        assert isinstance(rescale, Rescale)
        assert rescale.parents[0].kind == "rewind"
        assert (rescale.steps, rescale.batch_size, rescale.lr) == (5, 32, 0.1)
        assert (rescale.seed, rescale.label) == (0, f"retrain/{number}")
    from_init = plan(job("snip", recipe=RecipeConfig(tost_rescale=5, label_smoothing=0.2)))[-1]
    (rescale,) = trained(from_init).parents
    assert isinstance(rescale, Rescale)
    assert rescale.parents[0].kind == "mask"
    assert rescale.label_smoothing == 0.2


def test_the_step_ahead_is_as_long_as_the_schedule_s_peak() -> None:
    recipe = RecipeConfig(tost_rescale=5)
    steep = job("snip", recipe=recipe, lr_params={"peak": 0.03})
    silo = job("snip", recipe=recipe, lr="silo")
    for base, expected in ((steep, 0.03), (silo, 0.1)):
        (rescale,) = trained(plan(base)[-1]).parents
        assert isinstance(rescale, Rescale)
        assert rescale.lr == expected


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 6},
        {"lr": 0.2},
        {"batch_size": 32},
        {"seed": 1},
        {"label": "other"},
        {"label_smoothing": 0.1},
        {"parents": ()},
    ],
    ids=str,
)
def test_everything_that_decides_the_scales_is_in_their_key(change: dict[str, Any]) -> None:
    (rescale,) = trained(plan(with_recipe("snip", tost_rescale=5))[-1]).parents
    assert replace(rescale).key(KEYS) == rescale.key(KEYS)
    assert replace(rescale, **change).key(KEYS) != rescale.key(KEYS)


# --- the stage


def test_scaled_tensors_keep_direction_zeros_and_masks(digits_context: WorkerContext) -> None:
    (rescale,) = trained(plan(with_recipe("snip", tost_rescale=20))[-1]).parents
    before, after = state(rescale.parents[0], digits_context), state(rescale, digits_context)
    assert after.masks is before.masks
    scales = []
    for name, value in before.weights.items():
        moved = after.weights[name]
        assert torch.equal(moved != 0, value != 0)
        if value.any():
            scale = (moved.flatten() @ value.flatten() / value.square().sum()).item()
            # Rounding of one product and one sum in float32.
            assert torch.allclose(moved, scale * value, rtol=1e-5)
            scales.append(scale)
    assert min(scales) == pytest.approx(after.log["rescale_least"], rel=1e-5)
    assert max(scales) == pytest.approx(after.log["rescale_greatest"], rel=1e-5)
    assert min(scales) < 1.0
    assert after.log["rescale_steps"] == 20


def test_scales_cost_what_they_take(digits_context: WorkerContext) -> None:
    # snip at .8 of an mlp keeps a fifth of its 50,200 weights, each used once an image: 10,040.
    # 20 steps of twice 64 images, six passes' worth each, and three more where the norm led.
    (rescale,) = trained(plan(with_recipe("snip", tost_rescale=20))[-1]).parents
    log = state(rescale, digits_context).log
    assert log["rescale_bound_steps"] == 0
    assert log["train_macs"] == pytest.approx(20 * 6 * 128 * 10_040, rel=1e-6)


# --- whole trials


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[WorkerContext, Any]:
    context = open_context(TASK, home=tmp_path_factory.mktemp("tost"), top_epochs=TOP, threads=1)
    cases = {"plain": {}, **PARTS, "all": {**ALL, "label_smoothing": 0.1}}
    found = {}
    for name, recipe in cases.items():
        base = with_recipe(**recipe)
        found[name] = (run_job(base, context), state(plan(base)[-1], context))
        assert_plain(context.model)
    return context, found


@pytest.mark.parametrize("name", [*PARTS, "all"])
def test_a_trial_ends_as_the_plain_net_it_will_be_exported_as(name: str, results: Any) -> None:
    found = results[1]
    (result, end), (plain, reference) = found[name], found["plain"]
    assert (result.error, result.status) == ("", "ok")
    assert result.metrics["val_accuracy"] > 0.8
    # Not `params_nonzero`: the bias of a unit that a ReLU keeps dead may have moved meanwhile.
    for metric in ("sparsity", "params", "macs", "macs_effective"):
        assert result.metrics[metric] == plain.metrics[metric]
    assert end.weights.keys() == reference.weights.keys()
    assert_equal(end.masks, reference.masks)
    for key, mask in end.masks.items():
        assert torch.count_nonzero(end.weights[key][~mask]) == 0
    assert any(not torch.equal(w, reference.weights[n]) for n, w in end.weights.items())


def test_ghosts_show_in_the_training_cost(results: Any) -> None:
    # Half of 51 steps begin before half time: 26 of them, 25 in the first epoch and a half.
    # Ghosts hold 64 * 300 + 300 * 100 = 49,200 weights; batches of 64, the last of an epoch 53.
    found = results[1]
    plain, skip = (found[n][0].metrics["log/train_macs"] for n in ("plain", "skip"))
    images = 26 * 64 - (64 - 53)
    assert skip - plain == pytest.approx(3 * 49_200 * images)
    assert found["soft"][0].metrics["log/train_macs"] == plain


def test_it_composes_with_every_other_recipe(tmp_path: Path) -> None:
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    others = {"distill": 0.5, "mixup": 0.2, "cutout": 2, "ema": 0.9, "optimizer": "adamw"}
    recipe = RecipeConfig(**ALL, **others, label_smoothing=0.1)
    for method in ("movement", "imp"):  # latent and hard masks
        base = job(method, recipe=recipe, lr_params={"peak": 0.003})
        result = run_job(base, context)
        assert (result.error, result.status) == ("", "ok")
        assert result.metrics["sparsity"] == pytest.approx(0.8)
        assert set(state(plan(base)[-1], context).weights) == set(context.model.state_dict())
        assert_plain(context.model)


def test_it_runs_on_convolutions_with_batch_norms(tmp_path: Path) -> None:
    task = replace(TASK, model="resnet20", width=0.25, train_size=128)
    context = open_context(task, home=tmp_path, top_epochs=TOP, threads=1)
    base = job("snip", task=task, epochs=10, dense_epochs=1, recipe=RecipeConfig(**ALL))
    (rescale,) = trained(plan(base)[-1]).parents
    before, after = state(rescale.parents[0], context), state(rescale, context)
    for name, value in before.weights.items():
        if name.rpartition(".")[2] in {"running_mean", "running_var", "num_batches_tracked"}:
            assert torch.equal(value, after.weights[name])
    result = run_job(base, context)
    assert (result.error, result.status) == ("", "ok")
    assert_plain(context.model)


# --- nothing is left behind


class Raise:
    """Fails in the second step."""

    def on(self, event: Any, loop: Any) -> None:
        if loop.step == 1:
            raise ZeroDivisionError


def comparable(result: JobResult) -> dict[str, Any]:
    content = result.to_json()
    for key in ("wall_s", "stages", "epochs_trained", "epochs_reused", "train_macs"):
        content.pop(key)
    return content


def test_what_follows_in_the_same_worker_is_as_in_a_fresh_one(tmp_path: Path) -> None:
    busy = open_context(TASK, home=tmp_path / "busy", top_epochs=TOP, threads=1)
    one = with_recipe("snip", **ALL)
    assert run_job(one, busy).status == "ok"
    huge = complete(replace(one.config, lr=LRConfig(name="constant", params={"peak": 1e20})))
    assert run_job(replace(one, config=huge), busy).status == "diverged"
    broken = replace(trained(plan(one)[-1]), hooks=(HookSpec("tests.trial.test_tost:Raise"),))
    with pytest.raises(ZeroDivisionError):
        Resolver(busy).state(broken)
    assert_plain(busy.model)
    fresh = open_context(TASK, home=tmp_path / "fresh", top_epochs=TOP, threads=1)
    for after in (job("imp", rounds=2), one):
        assert comparable(run_job(after, busy)) == comparable(run_job(after, fresh))
        ends = [Resolver(c).state(make_plan(after, TOP)[-1]) for c in (busy, fresh)]
        assert_equal(ends[0].weights, ends[1].weights)
