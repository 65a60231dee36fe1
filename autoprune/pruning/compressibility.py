"""How compressible a vector is: effective counts, the PQ index, and the tails of sorted vectors.

Vectors stand in rows, float64 and non-negative, with 0 for entries that are gone; a row is a
neuron, a layer, or the whole net. The effective count of a vector with ``k`` equal entries and
zeros is ``k``; that of any other lies between 1 and its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Scope = Literal["neuron", "layer", "global"]

SLACK = 1e-9
"""Within this of a whole number, a count is one: powers and roots are not exact."""


def to_rows(tensors: Mapping[str, Tensor], scope: Scope) -> list[Tensor]:
    """Return tensors as rows: one per neuron or filter, per tensor, or one in all."""
    if scope == "global":
        return [torch.cat([tensor.reshape(-1) for tensor in tensors.values()]).unsqueeze(0)]
    return [t.flatten(1) if scope == "neuron" else t.reshape(1, -1) for t in tensors.values()]


def from_rows(rows: list[Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Undo `to_rows`."""
    flat = torch.cat([row.reshape(-1) for row in rows])
    parts = torch.split(flat, [tensor.numel() for tensor in like.values()])
    return {n: part.view(t.shape) for (n, t), part in zip(like.items(), parts, strict=True)}


def descending(values: Tensor, alive: Tensor) -> tuple[Tensor, Tensor]:
    """Sort absolute values along rows, the largest first.

    Parameters
    ----------
    values, alive : Tensor ``(rows, n)``
        Any values; which of them count (bool).

    Returns
    -------
    Tensor, Tensor
        float64 values, those that do not count as 0 at the end; and where they came from.
    """
    sizes = values.double().abs().nan_to_num()
    # Tie-break: a stable sort, so of equal values the lower index ranks higher.
    ordered, order = torch.sort(
        torch.where(alive, sizes, -1.0), dim=1, descending=True, stable=True
    )
    return ordered.clamp_min(0.0), order


def effective_count(values: Tensor, p: float, q: float) -> Tensor:
    """Return ``N = (|w|_p / |w|_q) ** (p q / (q - p))`` of every row; 0 for a row of zeros.

    Parameters
    ----------
    values : Tensor ``(rows, n)``
        float64, non-negative, finite.
    p, q : float
        Norms, ``0 < p < q``.

    Notes
    -----
    Computed as ``exp((q log S_p - p log S_q) / (q - p))`` with ``S_r`` the sum of r-th powers of
    the values over their maximum: no root or power can over- or underflow.
    """
    top = values.amax(1, keepdim=True)
    shares = values / torch.where(top > 0, top, 1.0)
    low, high = (shares.pow(power).sum(1).log() for power in (p, q))
    count = torch.exp((q * low - p * high) / (q - p)).clamp_min(1.0)
    return torch.where(top.squeeze(1) > 0, count, 0.0)


def pq_index(values: Tensor, sizes: Tensor, p: float, q: float) -> Tensor:
    """Return the PQ index ``1 - d ** (1/q - 1/p) |w|_p / |w|_q`` of every row; larger is sparser.

    Parameters
    ----------
    values : Tensor ``(rows, n)``
        float64, non-negative.
    sizes : Tensor ``(rows,)``
        Number d of entries that count, the zeros among them included.
    p, q : float
        Norms, ``0 < p < q``.

    Returns
    -------
    Tensor ``(rows,)``
        In ``[0, 1 - d ** (1/q - 1/p)]``; 0 for rows of zeros, as in the authors' code.
    """
    count = effective_count(values, p, q)
    share = torch.where(count > 0, count / sizes, 1.0).clamp_max(1.0)
    return 1.0 - share ** ((q - p) / (p * q))


def retained(values: Tensor, sizes: Tensor, p: float, q: float, eta: float) -> Tensor:
    """Return the PQ bound ``r = d (1 + eta) ** (-q/(q-p)) (1 - I) ** (p q/(q-p))`` of every row.

    Parameters
    ----------
    values, sizes, p, q
        As for `pq_index`.
    eta : float
        Share of the p-th powers that may be lost, relative to those kept; larger keeps fewer.

    Returns
    -------
    Tensor ``(rows,)``
        In ``[0, d]``, float64, not rounded, as in the paper; the authors' code rounds up, which
        removes as much at gamma 1. A row of zeros is kept: its index counts as 0.
    """
    count = effective_count(values, p, q) * (1.0 + eta) ** (-q / (q - p))
    full = (count == 0) | (count > sizes * (1.0 - SLACK))
    return torch.where(full, sizes, count)


def tails(ordered: Tensor, norm: int) -> Tensor:
    """Return, for every place, the norm of the entries from there on over that of the whole row.

    Parameters
    ----------
    ordered : Tensor ``(rows, n)``
        As `descending` returns it.
    norm : int
        1 or 2.

    Returns
    -------
    Tensor ``(rows, n)``
        1 at the first place, never rising, 0 where nothing is left.
    """
    top = ordered.amax(1, keepdim=True)
    powers = (ordered / torch.where(top > 0, top, 1.0)) ** norm
    # Summed from the smallest up: a total minus a prefix sum would cancel.
    left = powers.flip(1).cumsum(1).flip(1)
    return (left / torch.where(top > 0, left[:, :1], 1.0)) ** (1.0 / norm)
