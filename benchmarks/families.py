"""Remove half of all units from whole model families, and compare with the masked models.

``python -m benchmarks.families [names]`` prints a table: one line per model of timm, at its real
width and depth on small images, in float64.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.compact import apply_plan, compact, compact_plan
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import GroupReport, inspect_groups
from autoprune.pruning.masks import MaskSet, dense_masks
from autoprune.pruning.view import ModelView

LIMIT = 1e-5
"""Greatest difference of a small model from its masked twin, relative to the largest output."""

FAMILIES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnext50_32x4d": {},
    "densenet121": {},
    "mobilenetv2_100": {},
    "mobilenetv3_small_100": {},
    "efficientnet_b0": {},
    "regnety_002": {},
    "convnext_atto": {},
    "vgg11_bn": {},
    "vit_tiny_patch16_224": {"img_size": 64},
    "deit_tiny_patch16_224": {"img_size": 64},
    "mixer_s32_224": {"img_size": 64},
    "swin_tiny_patch4_window7_224": {"img_size": 64, "window_size": 2},
}


@dataclass(frozen=True)
class Finding:
    """What came out of one model.

    Parameters
    ----------
    report : GroupReport
        The units that were found.
    kept, units : int
        Units after and before.
    params, slim_params : int
        Parameters before and after.
    difference : float
        Of the small model from the masked one, relative to the largest output.
    effect : float
        Of removal: the masked model from the dense one, likewise.
    rebuilt : bool
        Whether the plan rebuilt the architecture and its outputs, in an untouched dense model.
    counted : bool
        Whether the masks say how many parameters the small model holds.
    seconds : float
        Processor time of the search for units.
    """

    report: GroupReport
    kept: int
    units: int
    params: int
    slim_params: int
    difference: float
    effect: float
    rebuilt: bool
    counted: bool
    seconds: float
    masks: MaskSet = field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether there are units, and removing them is exact."""
        exact = self.difference <= LIMIT and self.rebuilt and self.counted
        return exact and self.effect > LIMIT


def liven(model: nn.Module) -> nn.Module:
    """Draw vectors and constants anew, so that nothing is hidden by a scale of 0 or 1e-6."""
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point() or not value.numel():
                continue
            if value.dim() < 2 or bool((value == value.flatten()[0]).all()):
                spread = torch.rand(value.shape, generator=stream, dtype=value.dtype)
                centred = name.endswith(("bias", "running_mean"))
                value.copy_(spread - 0.5 if centred else spread + 0.5)
    return model.eval()


def examine(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Finding:
    """Remove a random half of each group's units, and compare with the masked model.

    Parameters
    ----------
    build : callable
        Returns the dense model.
    shape : tuple of int
        Of a batch of inputs.
    """
    stream = torch.Generator().manual_seed(0)
    model = liven(build())
    start = time.process_time()
    report = inspect_groups(model, torch.zeros(shape))
    seconds = time.process_time() - start
    model.double()
    weights = {n: model.get_parameter(n).detach() for n in prunable_parameters(model)[0]}
    view = ModelView(weights, dense_masks(weights), groups=report.groups)
    granularity = ChannelGranularity()
    scores = {g.name: torch.rand(g.num_units, generator=stream) for g in report.groups}
    keep = {g.name: g.num_units - g.num_units // 2 for g in report.groups}
    masks = granularity.select(granularity.pool(scores, view), keep, view)
    params = sum(value.numel() for value in model.parameters())
    gone = sum(int((~mask).sum()) for mask in masks.masks.values())
    inputs = torch.randn(shape, generator=stream, dtype=torch.float64)
    with torch.no_grad():
        dense = model(inputs)
        for name, mask in masks.masks.items():
            model.get_parameter(name).mul_(mask)
        flags = {name: value.int().tolist() for name, value in masks.units.items()}
        slim = compact(model, flags, {}, report.groups)
        expected, got = model(inputs), slim(inputs)
        assert got.shape == expected.shape, f"{tuple(got.shape)} is not {tuple(expected.shape)}"
        again = _rebuild(build, json.loads(json.dumps(compact_plan(model, slim))), slim)
        rebuilt = str(again) == str(slim) and torch.equal(again(inputs), got)
    left = sum(value.numel() for value in slim.parameters())
    return Finding(
        report=report,
        kept=sum(keep.values()),
        units=sum(g.num_units for g in report.groups),
        params=params,
        slim_params=left,
        difference=_difference(got, expected),
        effect=_difference(expected, dense),
        rebuilt=rebuilt,
        counted=left == params - gone,
        seconds=seconds,
        masks=masks,
    )


def _rebuild(build: Callable[[], nn.Module], plan: Mapping[str, Any], slim: nn.Module) -> nn.Module:
    again = apply_plan(build().double(), plan)
    again.load_state_dict(slim.state_dict())
    return again.eval()


def _difference(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


def main(arguments: list[str]) -> int:
    """Return 1 when a small model is not its masked twin."""
    import timm

    parser = argparse.ArgumentParser(prog="python -m benchmarks.families", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(FAMILIES)}; all by default")
    names = parser.parse_args(arguments).names or list(FAMILIES)
    print("| model | parameters | left | groups | units | removed | left out | first reason "
          "| largest difference | seconds |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    holds = True
    for name in names:
        options = FAMILIES.get(name, {})

        def build(name: str = name, options: dict[str, Any] = options) -> nn.Module:
            model: nn.Module = timm.create_model(name, num_classes=10, **options)
            return model

        found = examine(build, (2, 3, 64, 64))
        reasons = found.report.left_out
        first = next((f"{weight}: {why}" for weight, why in reasons.items()), "")
        print(f"| {name} | {found.params:,} | {found.slim_params / found.params:.0%} "
              f"| {len(found.report.groups)} | {found.units:,} | {found.units - found.kept:,} "
              f"| {len(reasons)} | {first} | {found.difference:.1e}"
              f"{'' if found.holds else ' FAILS'} | {found.seconds:.1f} |", flush=True)  # fmt: skip
        holds = holds and found.holds
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
