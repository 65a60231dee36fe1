"""One-shot magnitude pruning of a trained net, then retraining.

References
----------
S. Han, J. Pool, J. Tran, W. Dally, "Learning both Weights and Connections for Efficient Neural
Networks", NeurIPS 2015, arXiv 1506.02626.
"""

from __future__ import annotations

from autoprune.methods.base import AllocationParams, Method, Parts, PlanRequest
from autoprune.methods.plans import prune_retrain
from autoprune.stages.base import Stage

PARTS = Parts(score="magnitude")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune the smallest weights at once, retrain."""
    return prune_retrain(request, PARTS)


MAGNITUDE = Method(
    name="magnitude",
    kind="weights",
    start="dense",
    reference="Han et al., NeurIPS 2015, arXiv 1506.02626",
    params=AllocationParams,
    plan=plan,
    parts=PARTS,
    space={"allocation": ["global", "erk", "lamp", "uniform", "uniform_plus"]},
)
