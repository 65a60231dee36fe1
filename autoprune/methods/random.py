"""One-shot random pruning of a trained net: the control that every score must beat.

References
----------
Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning",
ICLR 2019, arXiv 1810.05270 (as a control; random pruning itself has no single source).
"""

from __future__ import annotations

from autoprune.methods.base import AllocationParams, Method, Parts, PlanRequest
from autoprune.methods.plans import prune_retrain
from autoprune.stages.base import Stage

PARTS = Parts(score="random")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune random weights at once, retrain."""
    return prune_retrain(request, PARTS)


RANDOM = Method(
    name="random",
    kind="weights",
    start="dense",
    reference="control; see Liu et al., ICLR 2019, arXiv 1810.05270",
    params=AllocationParams,
    plan=plan,
    parts=PARTS,
    space={"allocation": ["erk", "uniform"]},
)
