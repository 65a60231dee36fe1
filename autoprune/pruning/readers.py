"""Which units are read: what the tensors behind a unit group say about its units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from autoprune.pruning.compact import live_entries, slots
from autoprune.pruning.view import UnitGroup


def units_with(groups: Iterable[UnitGroup], entries: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Say of every unit whether one of its entries is set in one of the tensors that read it.

    Parameters
    ----------
    groups : iterable of UnitGroup
        The units.
    entries : mapping of str to Tensor
        Reading weight's name to a bool vector along the dimension it reads by, or over all of its
        input channels; a reader that is absent counts as set.

    Returns
    -------
    dict of str to Tensor
        Group name to a bool vector with one entry per unit.
    """
    found = {}
    for group in groups:
        flags = torch.zeros(group.num_units, dtype=torch.bool)
        for place in slots([group]):
            if place.role == "in":
                known = entries.get(place.name, torch.ones(len(place.owner), dtype=torch.bool))
                known = by_position(known.cpu(), len(place.owner)).any(0)
                flags[place.owner[(place.owner >= 0) & known]] = True
        found[group.name] = flags
    return found


def by_position(channels: Tensor, size: int) -> Tensor:
    """Return what is known of input channels with a row per group of a convolution that reads them.

    Parameters
    ----------
    channels : Tensor ``(in,)``
        Any type.
    size : int
        Length of the reading slice: positions within a group, or all channels.

    Returns
    -------
    Tensor ``(in / size, size)``
    """
    return channels.reshape(-1, size)


def rows_of(groups: Iterable[UnitGroup], units: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return which rows of the tensors that make up units belong to a unit that is set.

    Returns
    -------
    dict of str to Tensor
        Tensor name to a bool vector over its first dimension; tensors no unit owns are absent.
    """
    places = [place for place in slots(groups) if place.role == "out" and place.dim == 0]
    return {name: dims[0] for name, dims in live_entries(places, units).items()}


def read_once(groups: Iterable[UnitGroup]) -> tuple[UnitGroup, ...]:
    """Return the groups whose units a single layer reads: those of no residual stream."""
    return tuple(g for g in groups if sum(m.role == "in" for m in g.members) == 1)
