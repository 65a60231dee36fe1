"""SNFS, sparse momentum: connections grow where a running mean of gradients is large.

Every so often each layer drops its smallest weights; all that were dropped are shared out among
the layers in proportion to the mean magnitude of that running mean over their weights, and grow
where it is largest. So layers win and lose weights, and the number in all stays. Every step needs
the dense gradient.

Notes
-----
An update follows the optimiser step of its iteration.

# Deviation: the running mean is kept apart from the optimiser's momentum, which hard masks clear
for what is masked; both have the same coefficient by default.

# Deviation: updates come at steps, not once an epoch, and end with `end`; the mean goes on, and so
does its cost, as in the published account of ``2 f_S + f_D`` for every step.

References
----------
T. Dettmers, L. Zettlemoyer, "Sparse Networks from Scratch: Faster Training without Losing
Performance", arXiv 1907.04840.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.regrowth import Allocated, RegrowParams, min_steps, regrow_train
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SnfsParams(RegrowParams):
    """Parameters of sparse momentum; the others as for RigL.

    Parameters
    ----------
    smoothing : float
        Share of the running mean that stays at every step.
    """

    drop_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a random mask, train it with updates within and between layers."""
    return regrow_train(request, "momentum", smoothing=request.params.smoothing)


SNFS = Method(
    name="snfs",
    # Weights move between layers whose MACs differ, so a share of the MACs would not be kept.
    measures=frozenset({"weights"}),
    kind="weights",
    start="scratch",
    reference="Dettmers & Zettlemoyer, arXiv 1907.04840",
    params=SnfsParams,
    plan=plan,
    min_steps=min_steps,
    regrows=True,
    space={"allocation": Allocated, "drop_fraction": {"low": 0.1, "high": 0.5}},
)
