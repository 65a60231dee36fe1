"""Zero-padded shortcuts spelt out for a trace: what they add comes from layers, side by side.

Padding keeps no trace of which channels it moved. Where a shortcut is written as a concatenation
of layers' channels, its input, and more channels, torch-pruning follows each of them, and the
layers say how many zeros are left when units go.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn

from autoprune.metrics.macs import inference
from autoprune.models.resnet_net import PadShortcut

SIDES = ("before", "after")


class _Spelt(nn.Module):
    """A shortcut whose zero channels are the outputs of two layers."""

    def __init__(self, num_channels: int, shortcut: PadShortcut) -> None:
        super().__init__()
        self.before = nn.Conv2d(num_channels, shortcut.before, 1)
        self.after = nn.Conv2d(num_channels, shortcut.after, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Subsample, and put new channels on both sides."""
        some = F.max_pool2d(inputs, 1, 2)
        return torch.cat([self.before(some), some, self.after(some)], dim=1)


@dataclass(frozen=True)
class Spelling:
    """A model for a trace.

    Parameters
    ----------
    model : nn.Module
        The model itself, or a copy with its shortcuts spelt out.
    zeros : dict
        The layer, by id, that stands for zeros, to the shortcut's path and its integer.
    """

    model: nn.Module
    zeros: dict[int, tuple[str, str]] = field(default_factory=dict)


def spell_out(model: nn.Module, example: Tensor) -> Spelling:
    """Return a copy without padded shortcuts; the model itself if it has none."""
    paths = [path for path, module in model.named_modules() if isinstance(module, PadShortcut)]
    if not paths:
        return Spelling(model)
    widths = _widths(model, example, paths)
    spelling = Spelling(copy.deepcopy(model))
    for path, num_channels in widths.items():
        spelt = _Spelt(num_channels, model.get_submodule(path))  # type: ignore[arg-type] # by path
        spelling.model.set_submodule(path, spelt)
        for side in SIDES:
            spelling.zeros[id(spelt.get_submodule(side))] = (path, side)
    return spelling


def _widths(model: nn.Module, example: Tensor, paths: list[str]) -> dict[str, int]:
    """Return the channels that go into modules; one that does not run is absent."""
    found: dict[str, int] = {}

    def watch(path: str) -> torch.utils.hooks.RemovableHandle:
        def see(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[path] = inputs[0].shape[1]

        return model.get_submodule(path).register_forward_pre_hook(see)

    handles = [watch(path) for path in paths]
    try:
        with inference(model):
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return found
