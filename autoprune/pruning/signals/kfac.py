"""What a unit's removal costs and flattens, by Kronecker factors of the Fisher matrix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own spelling
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from autoprune.core.errors import TaskError
from autoprune.core.seeds import torch_stream
from autoprune.metrics.layers import prunable_parameters
from autoprune.pruning.compact import Slot, live_entries, slots
from autoprune.pruning.readers import by_position
from autoprune.pruning.signals.base import Scorable, scoring_batches
from autoprune.pruning.view import UnitGroup

NUM_IMAGES = 1000
BATCH = 100
CHUNK = 2**24
"""Entries of patches that exist at once, 64 MiB in float32."""
LIMIT = 2**26
"""Entries of factors that exist at once, 512 MiB; a layer with more has a sweep of its own."""
MAX_STEPS = 1000
TOLERANCE = 1e-12

Labels = Literal["sampled", "empirical"]


@dataclass(frozen=True)
class Factors:
    """The Kronecker factors of one layer's Fisher block, ``G (x) A``, and what it acts on.

    Parameters
    ----------
    inputs : Tensor ``(groups, d, d)``
        ``A``, float64. ``d`` is a filter's number of weights, and 1 more for a bias, at the end.
    gradients : Tensor ``(groups, out / groups, out / groups)``
        ``G``, float64.
    filters : Tensor ``(groups, out / groups, d)``
        ``W``, one row per filter, the bias last.
    """

    inputs: Tensor
    gradients: Tensor
    filters: Tensor

    def damage(self) -> Tensor:
        """Return ``1/2 G_jj w_j^T A w_j`` of every filter, in the order of the weight's rows."""
        curved = ((self.filters @ self.inputs) * self.filters).sum(2)
        return (curved * self.gradients.diagonal(dim1=1, dim2=2) / 2).flatten()

    def flatness(self, num_inputs: int) -> tuple[Tensor, Tensor]:
        """Return how far the spectral radius falls with an output, and with an input.

        Parameters
        ----------
        num_inputs : int
            Input channels of a group, or the inputs of a linear layer.

        Returns
        -------
        Tensor ``(out,)``, Tensor ``(in,)``
            To first order: the radius times the share of the unit in the top eigenvector of its
            factor; the entries of a channel's patch are summed.
        """
        (along_inputs, reads), (along_outputs, makes) = top(self.inputs), top(self.gradients)
        radius = (along_inputs * along_outputs).unsqueeze(1)
        width = reads.shape[1] // num_inputs * num_inputs  # without the bias
        shares = reads[:, :width].square().reshape(len(reads), num_inputs, -1).sum(2)
        return (radius * makes.square()).flatten(), (radius * shares).flatten()


def top(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Find the largest eigenvalues of positive semi-definite matrices, by power iteration.

    Parameters
    ----------
    matrices : Tensor ``(m, n, n)``
        float64.

    Returns
    -------
    Tensor ``(m,)``, Tensor ``(m, n)``
        Eigenvalues, and eigenvectors of length 1; both are 0 for a matrix of zeros.
    """
    # The start has no structure: the gradients of a softmax sum to 0, so G maps ones to 0.
    stream = torch_stream(0, "power iteration")
    start = torch.randn(matrices.shape[1:2], generator=stream, dtype=torch.float64)
    vectors = start.to(matrices.device).expand(len(matrices), -1)
    values = matrices.new_zeros(len(matrices))
    for _ in range(MAX_STEPS):
        images = (matrices @ vectors.unsqueeze(2)).squeeze(2)
        before, values = values, torch.linalg.vector_norm(images, dim=1)
        vectors = images / values.clamp(min=torch.finfo(values.dtype).tiny).unsqueeze(1)
        if bool(((values - before).abs() <= TOLERANCE * values).all()):
            break
    return values, vectors


class Meter:
    """Sums up the factors of one layer while a model runs.

    Parameters
    ----------
    layer : nn.Module
        A linear layer, or a convolution of any dimension, grouped or not.

    Notes
    -----
    A grouped convolution has a pair of factors for each of its groups, as if they were layers.
    """

    def __init__(self, layer: nn.Linear | _ConvNd) -> None:
        self.layer, self.positions = layer, 0
        self.groups, rows, width = _sizes(layer)
        zeros = partial(torch.zeros, dtype=torch.float64, device=layer.weight.device)
        self.inputs = zeros((self.groups, width, width))
        self.gradients = zeros((self.groups, rows, rows))

    def see(
        self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Tensor
    ) -> None:
        """Add what a call of the layer reads, and wait for the gradient of what it makes.

        Gradients are taken where the call ends: an activation that works in place comes later.
        """
        values = (args[0] if args else kwargs["input"]).detach()
        positions = outputs.numel() // (self.groups * self.gradients.shape[1])
        self.positions += positions
        held = positions // len(values) * self.groups * self.inputs.shape[1]
        for part in values.split(max(1, CHUNK // held)):
            patches = _patches(self.layer, part)
            self.inputs += (patches.transpose(1, 2) @ patches).double()
        if outputs.requires_grad:
            outputs.register_hook(self._add)  # type: ignore[no-untyped-call] # as in torch

    def _add(self, gradients: Tensor) -> None:
        dim = -1 if isinstance(self.layer, nn.Linear) else 1
        rows = gradients.movedim(dim, -1).reshape(-1, self.groups, self.gradients.shape[1])
        rows = rows.transpose(0, 1)
        self.gradients += (rows.transpose(1, 2) @ rows).double()

    def factors(self, num_images: int) -> Factors:
        """Return ``A``, the mean over images of the sum over positions, and ``G``, the mean."""
        weight = self.layer.weight.detach().double().flatten(1)
        if self.layer.bias is not None:
            weight = torch.cat([weight, self.layer.bias.detach().double().unsqueeze(1)], 1)
        return Factors(
            inputs=self.inputs / num_images,
            gradients=self.gradients / self.positions,
            filters=weight.reshape(self.groups, -1, weight.shape[1]),
        )


def _sizes(layer: nn.Linear | _ConvNd) -> tuple[int, int, int]:
    """Return groups, outputs of a group, and a filter's number of weights with its bias."""
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    width = layer.weight[0].numel() + (layer.bias is not None)
    return groups, len(layer.weight) // groups, width


def _patches(layer: nn.Linear | _ConvNd, values: Tensor) -> Tensor:
    """Return what a layer's filters are multiplied with, ``(groups, images * positions, d)``."""
    if isinstance(layer, nn.Linear):
        found = values.reshape(1, -1, values.shape[-1])
    else:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        values = F.pad(values, layer._reversed_padding_repeated_twice, mode=mode)
        steps = zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)
        for dim, (size, stride, dilation) in enumerate(steps, start=2):
            window = dilation * (size - 1) + 1
            values = values.unfold(dim, window, stride)[..., ::dilation]
        # To image, group, channel, *out, *kernel.
        values = values.reshape(len(values), layer.groups, -1, *values.shape[2:])
        middle = 3 + len(layer.kernel_size)
        outs, kernel = range(3, middle), range(middle, values.dim())
        width = layer.weight[0].numel()
        found = values.permute(1, 0, *outs, 2, *kernel).reshape(layer.groups, -1, width)
    if layer.bias is None:
        return found
    return torch.cat([found, found.new_ones(*found.shape[:2], 1)], 2)


def kronecker_factors(
    model: nn.Module, task: Scorable, names: Iterable[str], seed: int, labels: Labels = "sampled"
) -> dict[str, Factors]:
    """Gather the Kronecker factors of layers in one sweep over training images.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data and loss; up to 1,000 training images are passed, without augmentation.
    names : iterable of str
        Weights of linear layers and convolutions.
    seed : int
        Root of the stream ``score``, which draws the images, and of the labels' stream.
    labels : str
        ``sampled``: classes drawn from the model's own outputs, which gives the Fisher matrix.
        ``empirical``: those of the data.

    Returns
    -------
    dict of str to Factors
        By weight name, on the model's device.

    Raises
    ------
    TaskError
        If a layer is never called as a module.

    Notes
    -----
    With ``a_t`` the patch at position t, a 1 appended for the bias, and ``g_t`` the derivative of
    one image's loss by the layer's output there, ``A = E[sum_t a_t a_t^T]`` and
    ``G = E[sum_t g_t g_t^T] / T`` (card kfac_neuron, c). Eval mode, in the model's precision;
    sums are float64.
    """
    model.eval().requires_grad_(False)
    meters = {name: Meter(_layer(model, name)) for name in names}
    handles = [m.layer.register_forward_hook(m.see, with_kwargs=True) for m in meters.values()]
    num_images = 0
    for loss, count in _losses(model, task, seed, labels):
        loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
        num_images += count
    for handle in handles:
        handle.remove()
    for name, meter in meters.items():
        if not meter.positions:
            raise _unseen(name)
    return {name: meter.factors(num_images) for name, meter in meters.items()}


def _losses(
    model: nn.Module, task: Scorable, seed: int, labels: Labels
) -> Iterator[tuple[Tensor, int]]:
    """Yield the sum of a batch's losses, and its size; the gradient of an image is its own."""
    first = next(model.parameters())
    draws = torch_stream(seed, "labels")
    for inputs, targets in scoring_batches(task, seed, NUM_IMAGES, BATCH):
        # A copy that is no leaf: a model may work on its input in place.
        outputs = model(inputs.to(first).detach().requires_grad_().clone())
        if labels == "sampled":
            chances = outputs.detach().double().softmax(1).cpu()
            targets = torch.multinomial(chances, 1, generator=draws).squeeze(1)
        yield task.loss(outputs, targets.to(first.device)) * len(targets), len(targets)


def _layer(model: nn.Module, name: str) -> nn.Linear | _ConvNd:
    """Return the layer that owns a weight."""
    layer = model.get_submodule(name.rpartition(".")[0])
    if not isinstance(layer, (nn.Linear, _ConvNd)) or isinstance(layer, _ConvTransposeNd):
        raise _unseen(name)
    return layer


def _unseen(name: str) -> TaskError:
    return TaskError(
        f"the model's {name}",
        "must belong to a linear layer or a plain convolution that is called as a module, for a "
        "score of units by curvature",
        remedy="use another method, such as dropnet",
    )


def unit_curvature(
    model: nn.Module,
    task: Scorable,
    groups: tuple[UnitGroup, ...],
    seed: int,
    *,
    labels: Labels = "sampled",
) -> dict[str, Tensor]:
    """Return what each unit's removal costs, and how far it flattens the loss.

    Parameters
    ----------
    model : nn.Module
        A copy that may be changed; its weights are the effective (masked) ones.
    task : Scorable
        Data and loss, see `kronecker_factors`.
    groups : tuple of UnitGroup
        The removable units.
    seed : int
        Root of the streams that draw images and labels.
    labels : str
        ``sampled`` or ``empirical``, see `kronecker_factors`.

    Returns
    -------
    dict of str to Tensor
        Group name to a float64 tensor ``(2, num_units)``, on the CPU: damage and flatness, both
        >= 0.

    Raises
    ------
    TaskError
        If a layer whose units can be removed is never called as a module.

    Notes
    -----
    Damage ``1/2 G_jj w_j^T A w_j`` is summed over the layers that make a unit. Flatness, a
    reconstruction (card kfac_neuron, c' 3), is the first-order fall of the blocks' spectral radii
    ``lambda_max(A) lambda_max(G)``, summed over the layers that make a unit and those that read
    it. What dead units send is left out of ``A``, as if they had been removed.

    Memory is bounded: layers whose factors exceed `LIMIT` together are gathered in several
    sweeps, on the same images and labels.
    """
    weights = {name: model.get_parameter(name).detach() for name in prunable_parameters(model)[0]}
    places = [place for place in slots(groups) if place.name in weights]
    names = list(dict.fromkeys(place.name for place in places))
    live = live_entries(
        [place for place in places if place.role == "in"], _used(groups, places, weights)
    )
    columns: dict[tuple[str, str], Tensor] = {}
    for some in _portions(model, names):
        for name, factors in kronecker_factors(model, task, some, seed, labels).items():
            num_inputs = weights[name].shape[1]
            if name in live:
                factors = _without(factors, live[name][1], num_inputs)
            made, read = factors.flatness(num_inputs)
            columns[name, "out"] = torch.stack([factors.damage(), made]).cpu()
            read = by_position(read, num_inputs).sum(0)
            columns[name, "in"] = torch.stack([torch.zeros_like(read), read]).cpu()
    units = {g.name: torch.zeros(2, g.num_units, dtype=torch.float64) for g in groups}
    for place in places:
        owned = place.owner >= 0
        found = columns[place.name, place.role][:, owned]
        units[place.group].index_add_(1, place.owner[owned], found)
    return units


unit_curvature_empirical = partial(unit_curvature, labels="empirical")


def _used(
    groups: Iterable[UnitGroup], places: Iterable[Slot], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Say which units have a weight left, among those that make them or those that read them."""
    used = {group.name: torch.zeros(group.num_units, dtype=torch.bool) for group in groups}
    for place in places:
        filled = weights[place.name].movedim(place.dim, 0).flatten(1).any(1).cpu()
        used[place.group][place.owner[(place.owner >= 0) & filled]] = True
    return used


def _without(factors: Factors, live: Tensor, num_inputs: int) -> Factors:
    """Leave what dead inputs send out of ``A``; the bias, at the end, stays."""
    width = factors.inputs.shape[1]
    kept = torch.ones(width, dtype=torch.float64)
    kept[: width // num_inputs * num_inputs] = live.double().repeat_interleave(width // num_inputs)
    kept = kept.to(factors.inputs.device)
    return replace(factors, inputs=factors.inputs * kept * kept.unsqueeze(1))


def _portions(model: nn.Module, names: Iterable[str]) -> Iterator[list[str]]:
    """Divide layers into runs whose factors fit the limit together, one layer at least."""
    some: list[str] = []
    held = 0
    for name in names:
        groups, rows, width = _sizes(_layer(model, name))
        size = groups * (rows**2 + width**2)
        if some and held + size > LIMIT:
            yield some
            some, held = [], 0
        some.append(name)
        held += size
    if some:
        yield some
