from __future__ import annotations

import pytest
import torch
from torch import nn

from autoprune.core.config import OptimizerConfig, RecipeConfig, parse
from autoprune.training.recipes.optimizer import build_optimizer
from autoprune.training.registry import RECIPES


def net():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_tensors_of_two_dimensions_or_more_decay(name):
    model = net()
    config = OptimizerConfig(optimizer=name, weight_decay=0.01)
    decaying, rest = build_optimizer(model.named_parameters(), config).param_groups
    assert [id(p) for p in decaying["params"]] == [id(model[0].weight), id(model[3].weight)]
    assert len(rest["params"]) == 4
    assert (decaying["weight_decay"], rest["weight_decay"]) == (0.01, 0.0)


def test_nesterov_by_hand():
    # w = 1, g = 1, decay .1: d = 1.1; buffer 1.1; step d + .9 * 1.1 = 2.09, at rate .1: .791.
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    optimizer = build_optimizer(layer.named_parameters(), OptimizerConfig(weight_decay=0.1))
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    layer.weight.grad = torch.ones(1, 1)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(0.791, rel=1e-6)


def test_adamw_by_hand():
    # Decoupled decay 1 - .1 * .5 = .95, then a first step of the rate itself: .85.
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    config = OptimizerConfig(optimizer="adamw", weight_decay=0.5)
    optimizer = build_optimizer(layer.named_parameters(), config)
    for group in optimizer.param_groups:
        group["lr"] = 0.1
    layer.weight.grad = torch.full((1, 1), 3.0)
    optimizer.step()
    assert layer.weight.item() == pytest.approx(0.85, rel=1e-6)


def test_without_momentum_it_is_plain_sgd():
    optimizer = build_optimizer(nn.Linear(1, 1).named_parameters(), OptimizerConfig(momentum=0.0))
    assert not optimizer.param_groups[0]["nesterov"]


def test_frozen_parameters_are_left_out():
    model = net()
    model[0].requires_grad_(False)
    groups = build_optimizer(model.named_parameters(), OptimizerConfig()).param_groups
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize("name", RECIPES.names())
def test_every_recipe_introduces_itself_and_its_ranges_are_valid(name):
    recipe = RECIPES.get(name)
    assert recipe.name == name
    assert recipe.reference
    assert recipe.description
    for field, values in recipe.space.items():
        ends = values if isinstance(values, list) else [values]
        if isinstance(values, dict):
            ends = [values["low"], values["high"]]
        for value in ends:
            assert getattr(parse(RecipeConfig, {field: value}, "recipe"), field) == value
