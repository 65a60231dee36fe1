"""How much of a unit's incoming signal each of its inputs carries."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autoprune.core.errors import TaskError
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.readers import rows_of, units_with
from autoprune.pruning.signals.base import Scorable, scoring_batches
from autoprune.pruning.view import UnitGroup

NUM_IMAGES = 1000
BATCH = 100

Reduce = Literal["mean_fro", "fro_mean", "l1"]


class LinearMeter:
    """``|w| mean|x|`` and ``|b|``; images and tokens are averaged alike."""

    def __init__(self, layer: nn.Linear) -> None:
        self.layer, self.count = layer, 0
        self.total = torch.zeros(layer.in_features, dtype=torch.float64)
        self.lit = torch.zeros(layer.in_features, dtype=torch.bool)

    def see(self, inputs: Tensor) -> None:
        """Sum up absolute inputs ``(..., in)``."""
        rows = inputs.reshape(-1, inputs.shape[-1]).abs()
        self.total += rows.sum(0, dtype=torch.float64).cpu()
        self.lit |= (rows > 0).any(0).cpu()
        self.count += len(rows)

    def weights(self) -> Tensor:
        """Return ``|w| mean|x|``."""
        return self.layer.weight.detach().cpu().double().abs() * (self.total / self.count)

    def bias(self) -> Tensor:
        """Return ``|b|``."""
        return _absolute(self.layer.bias)


class ConvMeter:
    """The size of the map ``|K| * |x|`` that one kernel makes of one input channel.

    Parameters
    ----------
    layer : nn.Module
        A convolution of any dimension, grouped or not.
    reduce : str
        ``mean_fro``: the mean over images of each map's Frobenius norm. ``fro_mean``: the norm of
        the mean map. ``l1``: the sum of the mean map.

    Notes
    -----
    The map is linear in ``|x|``, so the mean map is that of the mean ``|x|``, and only
    ``mean_fro`` needs the maps of every image.
    """

    def __init__(self, layer: _ConvNd, reduce: Reduce) -> None:
        self.layer, self.reduce, self.count = layer, reduce, 0
        self.lit = torch.zeros(layer.in_channels, dtype=torch.bool)
        self.total: Tensor | float = 0.0
        self.spread = 0.0

    def see(self, inputs: Tensor) -> None:
        """Sum up norms of maps, or absolute inputs ``(B, in, ...)``."""
        values = inputs.abs()
        self.lit |= (values > 0).transpose(0, 1).flatten(1).any(1).cpu()
        self.count += len(values)
        if self.reduce == "mean_fro":
            sizes, positions = self._norms(values)
            self.total = self.total + sizes.sum(0).cpu()
            self.spread += len(values) * math.sqrt(positions)
        else:
            self.total = self.total + values.sum(0, dtype=torch.float64, keepdim=True)

    def weights(self) -> Tensor:
        """Return each kernel's contribution, at each of its weights."""
        kernels, _ = self._finish()
        shape = self.layer.weight.shape
        return kernels.reshape(*shape[:2], *(1,) * (len(shape) - 2)).expand(shape).clone()

    def bias(self) -> Tensor:
        """Return what the bias adds, in the same measure: it is on at every position."""
        return _absolute(self.layer.bias) * self._finish()[1]

    def _finish(self) -> tuple[Tensor, float]:
        """Return contributions ``(out, in / groups)``, and that of a bias of 1."""
        assert isinstance(self.total, Tensor)
        if self.reduce == "mean_fro":
            return self.total / self.count, self.spread / self.count
        sizes, positions = self._norms(self.total / self.count)
        return sizes[0].cpu(), math.sqrt(positions) if self.reduce == "fro_mean" else positions

    def _norms(self, values: Tensor) -> tuple[Tensor, int]:
        """Return sizes of maps ``(B, out, in / groups)``, float64, and positions per map."""
        order = 1 if self.reduce == "l1" else 2
        sizes, positions = [], 1
        for channel in range(self.layer.weight.shape[1]):
            maps = _maps(self.layer, values, channel).flatten(2)
            sizes.append(torch.linalg.vector_norm(maps, order, dim=2).double())
            positions = maps.shape[2]
        return torch.stack(sizes, dim=2), positions


def _absolute(bias: Tensor | None) -> Tensor:
    return torch.zeros(0) if bias is None else bias.detach().cpu().double().abs()


def _maps(layer: _ConvNd, values: Tensor, channel: int) -> Tensor:
    """Convolve one input channel of each group with that channel's kernels, all absolute."""
    convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[values.dim() - 3]
    step = layer.weight.shape[1]
    padding: Any = layer.padding
    values = values[:, channel::step]
    if layer.padding_mode != "zeros":
        around = layer._reversed_padding_repeated_twice
        values, padding = F.pad(values, around, mode=layer.padding_mode), 0
    kernels = layer.weight.detach()[:, channel : channel + 1].abs().to(values.dtype)
    return convolve(
        values, kernels, None, layer.stride, padding, layer.dilation, groups=layer.groups
    )


def contribution(
    model: nn.Module,
    task: Scorable,
    groups: tuple[UnitGroup, ...],
    seed: int,
    *,
    reduce: Reduce = "mean_fro",
) -> dict[str, Tensor]:
    """Return the mean absolute signal that each connection, or kernel, brings to its unit.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data; up to 1,000 training images are passed, without augmentation.
    groups : tuple of UnitGroup
        The removable units: what their readers see tells which are dead.
    seed : int
        Root of the stream ``score``, which draws the images.
    reduce : str
        How the map of a convolution's kernel becomes a number, see `ConvMeter`.

    Returns
    -------
    dict of str to Tensor
        Prunable weight's name to a float64 tensor of its shape (all entries of a kernel alike),
        and the names of their biases to vectors; on the CPU. Rows of dead units are 0.

    Raises
    ------
    TaskError
        If the model reads a prunable weight in a way that cannot be watched.

    Notes
    -----
    One forward sweep in eval mode: every layer's inputs are those of the net as it stands, before
    any new mask (the authors' order, card connection_importance, g5).
    Deviation: a unit is dead if no layer that reads it ever sees anything but 0 from it; the
    paper looks right behind the unit's own nonlinearity, which is the same but for residual sums
    and pooling in between. Units that cannot be removed (outputs) are never dead.
    """
    model.eval()
    meters = {name: _meter(model, name, reduce) for name in prunable_parameters(model)[0]}
    device = next(model.parameters()).device
    with torch.no_grad():
        for inputs, _ in scoring_batches(task, seed, NUM_IMAGES, BATCH):
            model(inputs.to(device))
        found: dict[str, Tensor] = {}
        for name, meter in meters.items():
            if not meter.count:
                raise _unseen(name)
            found[name] = meter.weights()
            if len(bias := meter.bias()):
                found[f"{name.removesuffix('weight')}bias"] = bias
    alive = rows_of(groups, units_with(groups, {name: m.lit for name, m in meters.items()}))
    for name in found.keys() & alive.keys():
        found[name][~alive[name]] = 0.0
    return found


def _meter(model: nn.Module, name: str, reduce: Reduce) -> LinearMeter | ConvMeter:
    """Hang a meter before the layer that owns a weight."""
    layer = model.get_submodule(name.rpartition(".")[0])
    meter: LinearMeter | ConvMeter
    if isinstance(layer, nn.Linear):
        meter = LinearMeter(layer)
    elif isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd):
        meter = ConvMeter(layer, reduce)
    else:
        raise _unseen(name)

    def watch(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        meter.see(args[0] if args else kwargs["input"])

    layer.register_forward_pre_hook(watch, with_kwargs=True)
    return meter


def _unseen(name: str) -> TaskError:
    return TaskError(
        f"the model's {name}",
        "must belong to a linear layer or a plain convolution that is called as a module, for a "
        "score of connections by the signal they carry",
        remedy="use another method",
    )


contribution_fro_mean = partial(contribution, reduce="fro_mean")
contribution_l1 = partial(contribution, reduce="l1")
