"""DropNet: remove the units with the least mean activation, round by round.

The score of a neuron or filter is the mean of ``|post-activation|`` over training images (and
positions). Removed units are gone physically in the exported model.

Notes
-----
# Deviation: the paper drops a fraction of the surviving units per round; here the rounds go
geometrically to a target share of the dense *weights*, so that all kinds of pruning meet at equal
sparsity. ``allocation: uniform`` is the paper's ``minimum_layer``, ``global`` its ``minimum``.

References
----------
J. Tan Chong Min, M. Motani, "DropNet: Reducing Neural Network Complexity via Iterative Pruning",
ICML 2020, PMLR 119.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import prune_retrain
from autoprune.methods.units import UnitParams, check
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DropNetParams(UnitParams):
    """Parameters of DropNet: as of every method of units, with other defaults."""

    rounds: Rounds = 3
    rewind: str = "init"


PARTS = Parts(score="mean_activation", granularity=lambda params: "channel")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Drop units by activation, rewind, retrain."""
    return prune_retrain(request, PARTS)


DROPNET = Method(
    name="dropnet",
    kind="units",
    start="dense",
    reference="Tan Chong Min and Motani, ICML 2020, PMLR 119",
    params=DropNetParams,
    plan=plan,
    parts=PARTS,
    check=check,
    reaches=lambda params: (0.0, 0.995),
    space={
        "rounds": [1, 2, 3],
        "rewind": ["init", "none"],
        "allocation": ["uniform", "global"],
    },
)
