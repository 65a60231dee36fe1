"""What several stages share: a model with a state's weights in it, and a score's view of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from autoprune.pruning.masks import dense_masks
from autoprune.pruning.view import ModelView, Signal, UnitGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

    from autoprune.stages.base import RunContext
    from autoprune.stages.state import TrialState


def load_model(state: TrialState, context: RunContext) -> nn.Module:
    """Return the worker's model with the state's weights in it, in train mode."""
    model = context.model
    model.load_state_dict(state.weights)
    model.zero_grad(set_to_none=True)
    model.train()
    return model


def export_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copy a model's state dict to the CPU."""
    return {n: v.detach().to("cpu", copy=True) for n, v in model.state_dict().items()}


def prunable_masks(state: TrialState, context: RunContext) -> dict[str, Tensor]:
    """Return the state's masks, or masks that keep everything when nothing was pruned yet."""
    if state.masks:
        return state.masks
    return dense_masks(
        {layer.name: state.weights[layer.name] for layer in context.task.info.layers}
    )


def make_view(
    state: TrialState,
    context: RunContext,
    *,
    seed: int,
    needs: frozenset[Signal] = frozenset(),
    groups: tuple[UnitGroup, ...] = (),
) -> ModelView:
    """Build what a score, an allocation and a granularity see of a state."""
    signals: Mapping[Signal, Mapping[str, Tensor]] = {}
    if needs:
        from autoprune.pruning.signals.gather import gather

        signals = gather(needs, load_model(state, context), context.task, groups, seed)
    names = [layer.name for layer in context.task.info.layers]
    masks = prunable_masks(state, context)
    return ModelView(
        weights={name: state.weights[name] for name in names},
        masks={name: masks[name] for name in names},
        signals=signals,
        groups=groups,
        seed=seed,
        others={name: value for name, value in state.weights.items() if name not in names},
    )


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights with masked entries at exactly zero (also where they were not finite)."""
    return {
        name: torch.where(masks[name], value, torch.zeros_like(value)) if name in masks else value
        for name, value in weights.items()
    }


def damage(before: TrialState, after: TrialState) -> dict[str, float]:
    """Measure what pruning took, for the schedule of the training that follows.

    Returns
    -------
    dict
        ``norm_lost``: ``||w - w*m|| / ||w||`` over all weights, biases and norm parameters;
        ``share_lost``: the fraction of the prunable weights kept before that are gone (card imp,
        c: numerator and s of ALLR).
    """
    lost = total = 0.0
    for name, value in before.weights.items():
        if value.is_floating_point() and not name.endswith(("running_mean", "running_var")):
            total += float(value.double().square().sum())
            lost += float((value - after.weights[name]).double().square().sum())
    norm = math.sqrt(lost / total) if total > 0 and math.isfinite(total) else 0.0
    # Masks of one dimension are those of biases and norm parameters, which units take along.
    masks = {name: mask for name, mask in after.masks.items() if mask.dim() > 1}
    held = {**dense_masks(masks), **before.masks}
    kept = sum(int(held[name].sum()) for name in masks)
    gone = sum(int((held[name] & ~mask).sum()) for name, mask in masks.items())
    return {"norm_lost": norm, "share_lost": gone / kept if kept else 0.0}
