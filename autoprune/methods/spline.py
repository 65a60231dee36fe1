"""Spline pruning: remove units whose hyperplanes others of their layer have already.

A net of ReLUs divides its inputs along the hyperplanes on which its units switch. Of two units
whose hyperplanes nearly coincide one can go: the partition hardly changes. The closest pairs lose
a member each, and the net is retrained.

Notes
-----
A reconstruction: the distance is recalled, its constants and the choice of the member that goes
are unconfirmed, and no released code has them; see `autoprune.pruning.scores.spline.Spline`.
`normalised: false` is the distance as recalled. ``allocation: uniform`` drops units layer by layer,
``global`` over the net: directions of many inputs are far apart, so it takes most units from layers
with few.

# Deviation: the paper prunes once the partition stops moving during dense training; here the
shared dense run is finished. ``early_bird`` with ``rule: partition`` and ``score: spline`` is that
pipeline.

# Deviation: a sparsity is a share of the dense weights, a ratio of the paper one of units.

# Deviation: offsets are compared for normals of length one, because those of layers with small
biases would all seem alike.

References
----------
H. You, R. Balestriero, Z. Lu, Y. Kou, H. Shi, S. Zhang, S. Wu, Y. Lin, R. Baraniuk, "Max-Affine
Spline Insights Into Deep Network Pruning", TMLR 2022, arXiv 2101.02338.
"""

from __future__ import annotations

from typing import Any

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, NonNegative, Scalar
from autoprune.methods.base import Method, Parts, PlanRequest
from autoprune.methods.plans import prune_retrain
from autoprune.methods.units import SPACE, UnitParams, check, grain, limit
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SplineParams(UnitParams):
    """Parameters of spline pruning.

    Parameters
    ----------
    rho : float
        Weight of the distance between offsets against that between directions.
    normalised : bool
        Whether offsets are those of normals of length one.
    """

    rho: NonNegative = 0.1
    normalised: bool = True


def score_params(params: Any) -> dict[str, Scalar]:
    """Return the distance; its defaults where another method wraps this one."""
    names = ("rho", "normalised")
    return {name: getattr(params, name) for name in names if hasattr(params, name)}


PARTS = Parts(
    score="spline", granularity=lambda params: "channel", grain=grain, score_params=score_params
)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Drop one of each closest pair, retrain."""
    return prune_retrain(request, PARTS)


SPLINE = Method(
    name="spline",
    kind="units",
    start="dense",
    reference="You et al., TMLR 2022, arXiv 2101.02338",
    params=SplineParams,
    plan=plan,
    parts=PARTS,
    check=check,
    reaches=lambda params: (0.0, 0.995),
    limit=limit,
    reconstruction=True,
    space={**SPACE, "rho": {"low": 0.01, "high": 1.0, "log": True}},
)
