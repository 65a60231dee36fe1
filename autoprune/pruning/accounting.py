"""What a pruned model holds and costs, counted the same way for weights, units and low rank.

Sparsity is 1 - kept / dense prunable weights whatever was removed, so at one sparsity every kind
of model holds the same number of weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from autoprune.core.canonical import digest
from autoprune.core.records import LayerInfo
from autoprune.metrics.macs import count_macs
from autoprune.metrics.params import count_nonzero, count_params, effective_macs
from autoprune.pruning.compact import compact
from autoprune.pruning.masks import dense_masks, mask_sha256
from autoprune.pruning.view import UnitGroup


def account(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    units: Mapping[str, Sequence[int]],
    ranks: Mapping[str, int],
    groups: Sequence[UnitGroup],
    layers: tuple[LayerInfo, ...],
    example: Tensor,
    dense_macs: int | None = None,
) -> dict[str, Any]:
    """Count what is left of a model.

    Parameters
    ----------
    model : nn.Module
        The dense-shaped model with its final weights (masked entries are exactly 0, low-rank
        weights of their rank).
    masks : mapping
        Dense-shaped bool masks by parameter name, True = kept; may be empty.
    units, ranks : mapping
        What `compact` removes and splits.
    groups : sequence of UnitGroup
        The groups that `units` names.
    layers : tuple of LayerInfo
        All prunable weights of the dense model.
    example : Tensor
        One input, shape ``(1, ...)``; run only when something was removed physically.
    dense_macs : int, optional
        MACs of the dense model; the sum over `layers` by default (it lacks attention's products).

    Returns
    -------
    dict
        ``sparsity``, ``sparsity_total`` (over all parameters), ``params`` and ``macs`` of the
        compact model, ``params_nonzero``, ``macs_effective`` (each layer's MACs x its density),
        ``layers`` (name to density) and ``mask_sha256`` (over the masks of the prunable weights;
        over the ranks for low rank).
    """
    structured = bool(units or ranks)
    slim = compact(model, units, ranks, groups) if structured else model
    parameters = dict(model.named_parameters())
    kept = {name: int(mask.sum()) for name, mask in masks.items()}
    kept |= {name: _stored(slim, name) for name in ranks}
    num_kept = {layer.name: kept.get(layer.name, layer.num_weights) for layer in layers}
    density = {layer.name: num_kept[layer.name] / layer.num_weights for layer in layers}
    total = sum(value.numel() for value in parameters.values())
    left = sum(kept.get(name, value.numel()) for name, value in parameters.items())
    if structured:
        macs = count_macs(slim, example)
    else:
        macs = sum(layer.macs for layer in layers) if dense_macs is None else dense_macs
    # What no prunable layer computes, such as attention's products, is computed all the same.
    beside = 0 if structured else macs - sum(layer.macs for layer in layers)
    prunable = {layer.name: parameters[layer.name] for layer in layers}
    all_masks = {**dense_masks(prunable), **{n: m for n, m in masks.items() if n in prunable}}
    return {
        "sparsity": 1.0 - sum(num_kept.values()) / sum(layer.num_weights for layer in layers),
        "sparsity_total": 1.0 - left / total,
        "params": count_params(slim),
        "params_nonzero": count_nonzero(slim),
        "macs": macs,
        "macs_effective": effective_macs(layers, density) + beside,
        "layers": density,
        "mask_sha256": digest(dict(ranks)) if ranks else mask_sha256(all_masks),
    }


def _stored(slim: nn.Module, name: str) -> int:
    """Return the number of weights of the two layers that replaced one."""
    pair = slim.get_submodule(name.rpartition(".")[0])
    return sum(value.numel() for last, value in pair.named_parameters() if last.endswith("weight"))
