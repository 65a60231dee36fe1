"""A training step with masks against one without, and torch.nn.utils.prune beside it."""

from __future__ import annotations

import copy
from functools import partial

from torch import nn
from torch.nn.utils import prune

from autoprune.models.build import build_model
from benchmarks.common import Row, in_turns, random_masks, random_split, ratio, train

SHAPES = {"lenet300": (1, 28, 28), "resnet20": (3, 32, 32)}
BATCH = 128
SPARSITY = 0.9
LIMIT = 1.08


def measure(quick: bool = False) -> list[Row]:
    """Time passes over a few batches, dense, masked by us and masked by torch."""
    rows = []
    for name, shape in SHAPES.items():
        steps = 2 if quick else {"lenet300": 200, "resnet20": 10}[name]
        width = 0.25 if quick else 1.0
        dense = build_model(name, 10, shape, width)
        masks = random_masks(dense, SPARSITY)
        split = random_split(steps * BATCH, shape)
        cases = {
            "dense": partial(train, copy.deepcopy(dense), split, BATCH),
            "masked": partial(train, copy.deepcopy(dense), split, BATCH, masks=masks),
            "torch": partial(train, _by_torch(copy.deepcopy(dense), masks), split, BATCH),
        }
        times = in_turns(cases, 2 if quick else 15)
        rows.append(ratio(f"masked step / dense step, {name}", times, "masked", "dense", LIMIT))
        rows.append(ratio(f"torch.nn.utils.prune / dense, {name}", times, "torch", "dense", None))
    return rows


def _by_torch(model: nn.Module, masks: dict) -> nn.Module:  # type: ignore[type-arg]
    for name, mask in masks.items():
        module, _, attribute = name.rpartition(".")
        prune.custom_from_mask(model.get_submodule(module), attribute, mask)
    return model
