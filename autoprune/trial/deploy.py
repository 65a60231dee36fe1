"""A state as it would ship: the compact model, its masks, its size and its speed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autoprune.metrics.latency import Latency, measure_latency
from autoprune.pruning.compact import compact
from autoprune.pruning.packing import pack

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState
    from autoprune.trial.context import WorkerContext


def compacted(state: TrialState, context: WorkerContext) -> nn.Module:
    """Return a state's model on the CPU in eval mode, removed units gone and ranks factorised."""
    return _compact(state, context, state.weights, state.structure.ranks)


def compacted_masks(state: TrialState, context: WorkerContext) -> dict[str, Tensor]:
    """Return the masks of the compact model's tensors, True = kept; factorised ones have none.

    The masks go through the same removal as the weights, as weights of 0 and 1, so that their
    shapes fit whatever was removed.
    """
    if not state.masks:
        return {}
    ones: Mapping[str, Tensor] = {
        name: state.masks[name].to(value.dtype) if name in state.masks else value
        for name, value in state.weights.items()
    }
    slim = _compact(state, context, ones, {}).state_dict()
    return {n: slim[n].bool() for n in state.masks if n not in state.structure.ranks}


def _compact(
    state: TrialState,
    context: WorkerContext,
    weights: Mapping[str, Tensor],
    ranks: Mapping[str, int],
) -> nn.Module:
    model = context.task.build_model(0)
    model.load_state_dict(weights)
    units = state.structure.units
    groups = context.groups if units else ()
    slim = compact(model, units, ranks, groups).eval().requires_grad_(False)
    for parameter in slim.parameters():  # factors are views of larger storages
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    return slim


def packed_bytes(state: TrialState, context: WorkerContext) -> bytes:
    """Return the packed safetensors file of a state."""
    return pack(compacted(state, context).state_dict(), compacted_masks(state, context))


def deployed_figures(state: TrialState, context: WorkerContext) -> dict[str, float]:
    """Measure what the worker's settings ask for.

    Returns
    -------
    dict
        ``latency_ms`` (median of one input, measured in turns with the dense model's,
        ``dense_latency_ms``) and ``size_bytes`` (of the packed safetensors file, beside
        ``dense_size_bytes``), as named in ``settings.measure``.
    """
    measure = context.settings.measure
    found: dict[str, float] = {}
    if "size_bytes" in measure:
        found["size_bytes"] = float(len(packed_bytes(state, context)))
        found["dense_size_bytes"] = float(len(pack(state.weights, {})))
    if "latency_ms" in measure:
        timed = latency_in_turns(compacted(state, context), context)
        found["latency_ms"] = timed["compact"].p50_ms
        found["dense_latency_ms"] = timed["dense"].p50_ms
    return found


def latency_in_turns(slim: nn.Module, context: WorkerContext) -> dict[str, Latency]:
    """Time a compact model and the dense one (``compact``, ``dense``) in torch, one input a call.

    Torch rather than onnxruntime, because every round of every trial is measured: making an ONNX
    file takes seconds, 55 calls of a small net in turns less than a tenth of one. An export times
    both runtimes.
    """
    device = context.settings.device
    example = torch.zeros(1, *context.task.info.input_shape, device=device)
    dense = context.task.build_model(0).to(device).eval()
    return measure_latency({"compact": copy.deepcopy(slim).to(device), "dense": dense}, example)
