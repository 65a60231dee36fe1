"""The contract of a score."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.seeds import global_stream
from autoprune.data.base import Split
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.signals.gather import gather
from autoprune.pruning.view import ModelView, Score, UnitGroup, UnitMember


@dataclass(frozen=True)
class ScoringTask:
    """The least that signals are gathered from: a training split and a loss."""

    train: Split

    @property
    def data(self) -> ScoringTask:
        """Itself."""
        return self

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy."""
        return functional.cross_entropy(outputs, targets)


def make_model() -> nn.Module:
    """Return a small net with batch norm and dropout, in train mode, that has been used."""
    with global_stream(0, "contract"):
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(64, 3),
        )
        loss = functional.cross_entropy(model(torch.rand(8, 1, 6, 6)), torch.arange(8) % 3)
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
    return model


def make_task(size: int = 60, num_classes: int = 3) -> ScoringTask:
    """Return random images ``(size, 1, 6, 6)`` of `num_classes` classes."""
    inputs = torch.rand(size, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    split = TensorSplit(inputs, torch.arange(size) % num_classes, torch.zeros(1, 1, 1))
    return ScoringTask(cast(Split, split))


def make_groups() -> tuple[UnitGroup, ...]:
    """Return the one group of `make_model`: its four channels."""
    rows = tuple((unit,) for unit in range(4))
    columns = tuple(tuple(range(16 * unit, 16 * unit + 16)) for unit in range(4))
    made_of = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    members = [UnitMember(name, 0, rows, "out") for name in made_of]
    members.append(UnitMember("5.weight", 1, columns, "in"))
    return (UnitGroup("0.weight", 4, tuple(members)),)


def make_view(score: Score, model: nn.Module, seed: int = 0) -> ModelView:
    """Return what a score sees of `make_model`, with one weight in three masked."""
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    masks = dense_masks(weights)
    for mask in masks.values():
        mask.view(-1)[::3] = False
    groups = make_groups()
    signals = gather(score.needs, model, make_task(), groups, seed)
    others = {n: v for n, v in model.state_dict().items() if n not in weights}
    return ModelView(weights, masks, signals, groups, seed, others)


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """Copy everything of a model that scoring must leave alone, and torch's global state."""
    state = {f"state/{n}": v.clone() for n, v in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            state[f"grad/{name}"] = parameter.grad.clone()
    for name, module in model.named_modules():
        state[f"mode/{name}"] = torch.tensor(module.training)
    return {**state, "rng": torch.get_rng_state()}


class ScoreContract:
    """Inherit it and supply `make`; every test then runs on your score."""

    @pytest.fixture
    def make(self) -> Callable[[], Score]:
        """Return a factory, so that tests share no state."""
        raise NotImplementedError

    def test_scores_have_the_shapes_of_what_they_rate(self, make: Callable[[], Score]) -> None:
        score = make()
        view = make_view(score, make_model())
        scores = score(view)
        shapes: dict[str, tuple[int, ...]]
        if score.of_units:
            shapes = {group.name: (group.num_units,) for group in view.groups}
        else:
            shapes = {name: tuple(weight.shape) for name, weight in view.weights.items()}
        assert {name: tuple(value.shape) for name, value in scores.items()} == shapes
        assert list(scores) == list(shapes)

    def test_scores_are_finite_floats(self, make: Callable[[], Score]) -> None:
        score = make()
        for value in score(make_view(score, make_model())).values():
            assert value.is_floating_point()
            assert torch.isfinite(value).all()

    def test_scoring_leaves_the_model_untouched(self, make: Callable[[], Score]) -> None:
        score, model = make(), make_model()
        before = snapshot(model)
        score(make_view(score, model))
        after = snapshot(model)
        assert before.keys() == after.keys()
        assert all(torch.equal(before[key], after[key]) for key in before)

    def test_the_view_is_left_as_it_is(self, make: Callable[[], Score]) -> None:
        score = make()
        view = make_view(score, make_model())
        twin = copy.deepcopy(view)
        score(view)
        for name in view.weights:
            assert torch.equal(view.weights[name], twin.weights[name])
            assert torch.equal(view.masks[name], twin.masks[name])
        for signal, values in view.signals.items():
            assert all(torch.equal(v, twin.signals[signal][n]) for n, v in values.items())

    def test_same_seed_same_bits_whatever_global_state(self, make: Callable[[], Score]) -> None:
        score = make()
        first = score(make_view(score, make_model(), seed=3))
        with torch.random.fork_rng():
            torch.rand(5)
            second = make()(make_view(score, make_model(), seed=3))
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_order_and_presence_of_other_tensors_do_not_matter(
        self, make: Callable[[], Score]
    ) -> None:
        score = make()
        view = make_view(score, make_model())
        last = list(view.weights)[-1]
        alone = replace(view, weights={last: view.weights[last]})
        whole = score(view)
        for name, value in score(alone).items():
            assert torch.equal(value, whole[name])

    def test_what_is_cheap_needs_no_data(self, make: Callable[[], Score]) -> None:
        score = make()
        assert not (score.cheap and score.needs)

    def test_passes_are_counted(self, make: Callable[[], Score]) -> None:
        score = make()
        assert isinstance(score.passes, int)
        assert (score.passes > 0) == bool(score.needs)

    def test_pickles(self, make: Callable[[], Score]) -> None:
        score = make()
        view = make_view(score, make_model())
        twin = pickle.loads(pickle.dumps(score))  # noqa: S301 - our own bytes
        assert all(torch.equal(value, score(view)[name]) for name, value in twin(view).items())
