from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.data.taskfile import identify
from autoprune.metrics.macs import inference
from autoprune.pruning.low_rank import project
from autoprune.pruning.packing import unpack
from autoprune.stages.state import Structure, TrialState
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.deploy import compacted, compacted_masks, deployed_figures, packed_bytes


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> WorkerContext:
    """Digits on conv2 at a quarter of its width."""
    task = identify(TaskConfig(model="conv2", width=0.25))
    return open_context(task, home=tmp_path_factory.mktemp("home"), top_epochs=1)


def dense_state(context: WorkerContext) -> TrialState:
    return TrialState(context.task.build_model(0).state_dict())


def slimmed(context: WorkerContext) -> TrialState:
    """Every other unit of every group removed, and every third of the weights left."""
    state = dense_state(context)
    units = {g.name: tuple(n % 2 for n in range(g.num_units)) for g in context.groups}
    masks = {layer.name: torch.ones(layer.shape).bool() for layer in context.task.info.layers}
    for group in context.groups:
        for member in group.members:
            mask = masks.setdefault(member.name, torch.ones_like(state.weights[member.name]).bool())
            for unit, index in enumerate(member.index):
                if unit % 2 == 0:
                    mask.index_fill_(member.dim, torch.tensor(index), False)
    for layer in context.task.info.layers:
        thin = torch.arange(masks[layer.name].numel()).reshape(layer.shape) % 3 > 0
        masks[layer.name] &= ~thin
    weights = {
        n: torch.where(masks[n], v, 0.0) if n in masks else v for n, v in state.weights.items()
    }
    return TrialState(weights, masks, Structure(units=units))


def outputs(model: torch.nn.Module, context: WorkerContext) -> torch.Tensor:
    inputs = torch.randn(
        5, *context.task.info.input_shape, generator=torch.Generator().manual_seed(1)
    )
    with inference(model):
        return torch.as_tensor(model(inputs))


def masked(state: TrialState, context: WorkerContext) -> torch.nn.Module:
    model = context.task.build_model(0)
    model.load_state_dict(state.weights)
    return model


def test_a_slim_model_equals_the_masked_one_and_its_masks_fit(context: WorkerContext) -> None:
    assert len(context.groups) >= 3
    state = slimmed(context)
    slim = compacted(state, context)
    small, large = outputs(slim, context), outputs(masked(state, context), context)
    assert float((small - large).abs().max()) < 1e-5  # float32 sums in another order
    masks = compacted_masks(state, context)
    parameters = dict(slim.named_parameters())
    for layer in context.task.info.layers:
        assert masks[layer.name].shape == parameters[layer.name].shape
        assert int(masks[layer.name].sum()) == int(state.masks[layer.name].sum())
        assert bool((parameters[layer.name][~masks[layer.name]] == 0).all())
    # Two units in a layer of which one is removed: rows and columns of it are gone.
    first = context.task.info.layers[0]
    assert parameters[first.name].shape[0] == first.shape[0] // 2


def test_a_slim_state_survives_packing_bit_for_bit(context: WorkerContext) -> None:
    state = slimmed(context)
    packed = unpack(packed_bytes(state, context))
    expected = compacted(state, context).state_dict()
    assert all(torch.equal(packed.weights[n], v) for n, v in expected.items())
    for layer in context.task.info.layers:
        assert packed.num_kept(layer.name) == int(state.masks[layer.name].sum())


def test_a_factorised_state_is_two_layers_that_equal_one(context: WorkerContext) -> None:
    state = dense_state(context)
    name = next(layer.name for layer in context.task.info.layers if len(layer.shape) == 2)
    weight = project(state.weights[name], 3)
    state = replace(
        state,
        weights={**state.weights, name: weight},
        structure=Structure(ranks={name: 3}),
    )
    slim = compacted(state, context)
    small, large = outputs(slim, context), outputs(masked(state, context), context)
    assert float((small - large).abs().max()) < 1e-5  # float32 sums in another order
    path = name.removesuffix(".weight")
    assert slim.get_parameter(f"{path}.0.weight").shape == (3, weight.shape[1])
    assert slim.get_parameter(f"{path}.1.weight").shape == (weight.shape[0], 3)
    assert all(
        p.is_contiguous() and p.untyped_storage().nbytes() == 4 * p.numel()
        for p in slim.parameters()
    )
    packed = unpack(packed_bytes(state, context))
    assert packed.num_kept(f"{path}.0.weight") == 3 * weight.shape[1]
    assert not packed.masks


def test_a_dense_state_has_nothing_removed(context: WorkerContext) -> None:
    state = dense_state(context)
    assert compacted_masks(state, context) == {}
    found = compacted(state, context).state_dict()
    assert all(torch.equal(found[n], v) for n, v in state.weights.items())


@pytest.mark.parametrize(
    ("measure", "keys"),
    [
        ((), set()),
        (("size_bytes",), {"size_bytes", "dense_size_bytes"}),
        (
            ("latency_ms", "size_bytes"),
            {"latency_ms", "dense_latency_ms", "size_bytes", "dense_size_bytes"},
        ),
    ],
)
def test_what_is_asked_for_is_measured(
    tmp_path: Path, context: WorkerContext, measure: tuple[str, ...], keys: set[str]
) -> None:
    asked: Any = WorkerContext(
        replace(context.settings, measure=measure, home=str(tmp_path)), context.task
    )
    state = slimmed(context)
    found = deployed_figures(state, asked)
    assert set(found) == keys
    assert all(value > 0 for value in found.values())
    if "size_bytes" in keys:
        assert found["size_bytes"] == len(packed_bytes(state, context))
