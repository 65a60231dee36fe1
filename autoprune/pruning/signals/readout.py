"""What the layer behind a group of units makes of them, summed over training images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autoprune.core.errors import TaskError
from autoprune.core.seeds import torch_stream
from autoprune.pruning.compact import Slot, slots
from autoprune.pruning.low_rank import bn_of
from autoprune.pruning.signals.base import Scorable
from autoprune.pruning.view import UnitGroup

NUM_IMAGES = 1280
BATCH = 128
CHUNK = 2**22  # numbers held at once for the maps of single units


class Reader:
    """Sums up what a layer reads, and says how its units work together.

    Parameters
    ----------
    layer : nn.Module
        A linear layer or a convolution.

    Notes
    -----
    A linear layer is a convolution of width 1 over one position; images, and tokens, are summed.
    A convolution in groups is one with zeros between the groups.
    """

    def __init__(self, layer: nn.Linear | _ConvNd) -> None:
        self.layer = layer
        self.total = torch.zeros(())
        self.sizes = torch.zeros(())

    def see(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Add a batch of inputs ``(B, in, ...)``, or ``(..., in)`` of a linear layer."""
        values = (args[0] if args else kwargs["input"]).detach()
        if isinstance(self.layer, nn.Linear):
            values = values.reshape(-1, values.shape[-1], 1)
        self.total = self.total + values.sum(0, dtype=torch.float64).cpu()
        sizes = values.abs().transpose(0, 1).flatten(1).sum(1, dtype=torch.float64)
        self.sizes = self.sizes + sizes.cpu()

    def pull(self, place: Slot, num_units: int, norm: nn.Module | None) -> Tensor:
        """Return the mass of a group's units, and their pull on each other.

        Returns
        -------
        Tensor ``(num_units, 1 + num_units)``
            See `readout`.
        """
        every = place.owner.repeat(len(self.total) // len(place.owner))
        owned = (every >= 0).nonzero().flatten()
        owner, total = every[owned], self.total[owned]
        weight = _after(norm, _ungrouped(self.layer))[:, owned]
        if isinstance(self.layer, nn.Linear):
            weight = weight.unsqueeze(2)
        mass = torch.zeros(num_units, dtype=torch.float64).index_add_(0, owner, self.sizes[owned])
        pull = torch.zeros(num_units, num_units, dtype=torch.float64)
        ones = torch.ones_like(total)
        for rows in torch.split(weight, max(1, CHUNK // total.numel())):
            on, of = (self._maps(values, rows, owner, num_units) for values in (ones, total))
            pull += on @ of.T
        return torch.cat([mass.unsqueeze(1), pull], dim=1)

    def _maps(self, values: Tensor, rows: Tensor, owner: Tensor, num_units: int) -> Tensor:
        """Return what some rows of the layer make of each unit alone, ``(num_units, rows * P)``."""
        convolve: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[values.dim() - 2]
        kernels = rows.transpose(0, 1).reshape(-1, 1, *rows.shape[2:])
        values = values.unsqueeze(0)
        geometry: dict[str, Any] = {}
        if isinstance(self.layer, _ConvNd):
            geometry = {"stride": self.layer.stride, "dilation": self.layer.dilation}
            if self.layer.padding_mode == "zeros":
                geometry["padding"] = self.layer.padding
            else:
                around = self.layer._reversed_padding_repeated_twice
                values = F.pad(values, around, mode=self.layer.padding_mode)
        maps = convolve(values, kernels, groups=len(owner), **geometry)
        maps = maps.reshape(len(owner), -1)
        return maps.new_zeros(num_units, maps.shape[1]).index_add_(0, owner, maps)


def _ungrouped(layer: nn.Linear | _ConvNd) -> Tensor:
    """Return a layer's weight ``(out, in, ...)`` on the CPU, float64, with 0 between groups."""
    weight = layer.weight.detach().cpu().double()
    if isinstance(layer, nn.Linear) or layer.groups == 1:
        return weight
    whole = weight.new_zeros(len(weight), layer.in_channels, *weight.shape[2:])
    parts = zip(weight.chunk(layer.groups), whole.chunk(layer.groups), strict=True)
    for group, (part, rows) in enumerate(parts):
        rows[:, group * weight.shape[1] : (group + 1) * weight.shape[1]] = part
    return whole


def _after(norm: nn.Module | None, weight: Tensor) -> Tensor:
    """Return a layer's weight with the scales of the batch norm behind it in its rows."""
    if norm is None:
        return weight
    norm = cast("nn.BatchNorm2d", norm)
    scale = torch.ones(len(weight), dtype=torch.float64)
    if norm.weight is not None:
        scale = norm.weight.detach().cpu().double()
    if norm.running_var is not None:
        scale = scale / (norm.running_var.cpu().double() + norm.eps).sqrt()
    return weight * scale.reshape(-1, *(1,) * (weight.dim() - 1))


def readout(
    model: nn.Module, task: Scorable, groups: tuple[UnitGroup, ...], seed: int
) -> dict[str, Tensor]:
    """Return each unit's mass, and its pull on every other unit through the layer that reads both.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data; up to 1,280 training images are passed, without augmentation.
    groups : tuple of UnitGroup
        The removable units.
    seed : int
        Root of the stream ``score``, which draws the images.

    Returns
    -------
    dict of str to Tensor
        Group name to ``(num_units, 1 + num_units)``, float64, on the CPU. Column 0 is the mass,
        ``sum |H_i|`` over images and positions. Column ``1 + j`` holds ``pull_ij``, the entry of
        unit ``i`` in ``sum_b K'K h_b`` where all units but ``j`` are silent.

    Raises
    ------
    TaskError
        If units are read by something else than a linear layer or a convolution called as a module.

    Notes
    -----
    ``K`` is what the reading layer does without its bias, with the scales of the batch norm behind
    it, if one is (running statistics). The gradient of ``|K h - K h_S|^2 / 2`` by the activation of
    unit ``i``, ``h_S`` held fixed, summed over images and positions, is linear in the activations:
    it is ``sum over j not in S of pull_ij``, and ``pull_ij = <K 1_i, K sum_b h_bj>`` with ``1_i``
    one wherever unit ``i`` has a value. So one map of summed inputs per layer is all that is kept,
    whatever the number of images. Of several readers the sums are taken.
    """
    model.eval().requires_grad_(False)
    order = torch.randperm(task.data.train.size, generator=torch_stream(seed, "score"))
    order = order[:NUM_IMAGES]
    device = next(model.parameters()).device
    example, _ = next(iter(task.data.train.batches(2, order=order[:2])))
    norms = bn_of(model, example.to(device))
    places = [place for place in slots(groups) if place.role == "in"]
    readers = {name: _reader(model, name) for name in sorted({place.name for place in places})}
    with torch.no_grad():
        for inputs, _ in task.data.train.batches(BATCH, order=order):
            model(inputs.to(device))
    found: dict[str, Tensor] = {}
    sizes = {group.name: group.num_units for group in groups}
    for place in places:
        reader = readers[place.name]
        if not reader.total.dim():
            raise _unseen(place.name)
        norm = model.get_submodule(norms[place.name]) if place.name in norms else None
        part = reader.pull(place, sizes[place.group], norm)
        found[place.group] = found[place.group] + part if place.group in found else part
    return found


def _reader(model: nn.Module, name: str) -> Reader:
    """Watch the layer that owns a reading weight."""
    layer = model.get_submodule(name.rpartition(".")[0])
    plain = isinstance(layer, _ConvNd) and not isinstance(layer, _ConvTransposeNd)
    if not (isinstance(layer, nn.Linear) or plain):
        raise _unseen(name)
    reader = Reader(cast("nn.Linear | _ConvNd", layer))
    layer.register_forward_pre_hook(reader.see, with_kwargs=True)
    return reader


def _unseen(name: str) -> TaskError:
    return TaskError(
        f"the model's {name}",
        "must belong to a linear layer or a plain convolution that is called as a module, for a "
        "score of units by what is read of them",
        remedy="use another method",
    )
