"""Masks: bool tensors, True = kept, and the arithmetic on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskSet:
    """Which entries of which tensors live.

    Parameters
    ----------
    masks : dict
        Parameter name to a bool tensor of its shape. Always holds every prunable weight; for
        units also the biases and norm parameters that die with a unit.
    units : dict
        Unit group name to a bool vector, for masks that remove whole units; empty otherwise.
    """

    masks: dict[str, Tensor]
    units: dict[str, Tensor] = field(default_factory=dict)

    def sparsity(self, names: Mapping[str, object] | list[str]) -> float:
        """Fraction of the named prunable weights removed."""
        kept = sum(int(self.masks[name].sum()) for name in names)
        total = sum(self.masks[name].numel() for name in names)
        return 1.0 - kept / total


def dense_masks(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return masks that keep everything."""
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}


def mask_sha256(masks: Mapping[str, Tensor]) -> str:
    """Hash masks: names in order, shapes and packed bits."""
    state = hashlib.sha256()
    for name, mask in masks.items():
        state.update(f"{name}{tuple(mask.shape)}".encode())
        state.update(mask.to("cpu", torch.uint8).contiguous().numpy().tobytes())
    return state.hexdigest()


def top_k_mask(scores: Tensor, keep: int) -> Tensor:
    """Keep the `keep` highest entries of a tensor; ties go to the lower flat index.

    A score that is no number ranks last, so the count is exact whatever a diverging run gives.
    """
    flat = scores.reshape(-1)
    if flat.is_floating_point():
        flat = flat.masked_fill(flat.isnan(), -torch.inf)
    if not 0 < keep < flat.numel():
        return torch.full_like(scores, keep > 0, dtype=torch.bool)
    # A selection, not a sort: masks that move during training are made anew again and again.
    threshold = flat.kthvalue(flat.numel() - keep + 1).values
    mask = flat > threshold
    # Tie-break: what equals the threshold is kept in order of storage, so the count is exact.
    ties = torch.nonzero(flat == threshold).reshape(-1)
    mask[ties[: keep - int(mask.sum())]] = True
    return mask.reshape(scores.shape)
