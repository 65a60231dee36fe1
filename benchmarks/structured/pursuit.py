"""i-SpaSP on two random layers: what is missing of the dense output, over the units kept.

Units ``h_i >= 0`` of ``n`` inputs, output weights ``w_i``; a choice S misses the share
``|| sum over i not in S of w_i h_i ||^2 / || sum over all of w_i h_i ||^2`` (Frobenius).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.pruning.scores.i_spasp import pursue

UNITS, OUTPUTS, INPUTS, SAMPLES = 100, 10, 20, 200
AT = 10
"""Units kept where the rules are compared."""

FALL = (4, 6, 8, 12, 16, 24, 32, 40)
"""Units kept over which the fall is fitted: fewer than half, where the residual matters."""

RULES = ("i_spasp", "activation mass", "random", "norm score")


def measure(draws: int, seed: int = 0) -> dict[str, Any]:
    """Compare the rules, fit how the residual falls, and find where the weights play no part.

    Returns
    -------
    dict
        ``kept`` and ``residuals`` (rule to one list of draws a count), ``falls`` (sparsity p to
        one exponent a draw), ``same`` (count to the share of draws where i-SpaSP keeps just the
        units of greatest mass).
    """
    stream = torch.Generator().manual_seed(seed)
    kept = (5, AT, 20, 30, 40, 50, 60)
    residuals: dict[str, list[list[float]]] = {rule: [[] for _ in kept] for rule in RULES}
    same = dict.fromkeys(range(5, UNITS, 5), 0.0)
    for _ in range(draws):
        hidden = torch.randn(UNITS, INPUTS, generator=stream) @ torch.randn(
            INPUTS, SAMPLES, generator=stream
        )
        hidden, weight = hidden.relu(), torch.randn(OUTPUTS, UNITS, generator=stream)
        for place, count in enumerate(kept):
            for rule, chosen in _choices(hidden, weight, count, stream).items():
                residuals[rule][place].append(_residual(hidden, weight, chosen))
        for count in same:
            found = _choices(hidden, weight, count, stream)
            same[count] += float(torch.equal(found["i_spasp"], found["activation mass"])) / draws
    return {
        "kept": list(kept),
        "residuals": residuals,
        "same": {str(count): share for count, share in same.items()},
        **_falls(draws, stream),
    }


def _choices(
    hidden: Tensor, weight: Tensor, count: int, stream: torch.Generator
) -> dict[str, Tensor]:
    """Return the flags of each rule."""
    mass = hidden.sum(1).double()
    pull = (weight.T @ weight).double() * mass
    norms = weight.square().sum(0) * hidden.square().sum(1)
    order = {
        "activation mass": mass,
        "random": torch.rand(UNITS, generator=stream),
        "norm score": norms,
    }
    found = {"i_spasp": pursue(mass, pull, torch.tensor([count]))[0]}
    for rule, values in order.items():
        flags = torch.zeros(UNITS, dtype=torch.bool)
        flags[torch.sort(values, descending=True, stable=True).indices[:count]] = True
        found[rule] = flags
    return found


def _residual(hidden: Tensor, weight: Tensor, chosen: Tensor) -> float:
    gone = weight[:, ~chosen] @ hidden[~chosen]
    return float(gone.square().sum() / (weight @ hidden).square().sum())


def _falls(draws: int, stream: torch.Generator) -> dict[str, Any]:
    """Fit the exponent of the residual for hidden layers of two sparsities.

    The i-th largest unit has the size ``i ** (-1 / p)``: it lies in the l_p ball.
    """
    falls: dict[str, list[float]] = {}
    for p in (0.3, 0.9):
        sizes = torch.arange(1, UNITS + 1).double() ** (-1 / p)
        lines = []
        for _ in range(draws):
            order = torch.randperm(UNITS, generator=stream)
            noise = torch.randn(UNITS, SAMPLES, generator=stream).abs().double()
            hidden = (sizes[:, None] * noise)[order]
            weight = torch.randn(OUTPUTS, UNITS, generator=stream).double()
            lines.append(
                [
                    _residual(hidden, weight, _choices(hidden, weight, s, stream)["i_spasp"])
                    for s in FALL
                ]
            )
        falls[str(p)] = [_slope(FALL, line) for line in lines]
    return {"falls": falls}


def _slope(counts: Sequence[int], values: Sequence[float]) -> float:
    """Fit ``log value = a + slope * log count`` by least squares."""
    points = [(math.log(c), math.log(max(v, 1e-300))) for c, v in zip(counts, values, strict=True)]
    return statistics.linear_regression(*zip(*points, strict=True)).slope
