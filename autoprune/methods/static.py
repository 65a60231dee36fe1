"""Static: a random mask at initialisation, trained from scratch and never moved.

The floor that sparse training has to beat: same allocation, same mask to start with, same epochs
as RigL, SET and sparse momentum.

References
----------
U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All Tickets
Winners", ICML 2020, arXiv 1911.11134 (as a baseline, section 4).
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import prune_train
from autoprune.methods.regrowth import RANDOM_MASK, Allocated
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class StaticParams:
    """Parameters of static sparse training: how many weights each layer has."""

    allocation: str = "erk"


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a random mask, train it."""
    return prune_train(request, RANDOM_MASK)


STATIC = Method(
    name="static",
    kind="weights",
    start="scratch",
    reference="control; see Evci et al., ICML 2020, arXiv 1911.11134",
    params=StaticParams,
    plan=plan,
    min_steps=lambda params: 20,
    space={"allocation": Allocated},
)
