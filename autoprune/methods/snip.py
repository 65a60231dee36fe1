"""SNIP: prune at initialisation by connection sensitivity, then train.

Notes
-----
The score is ``|w * dL/dw|`` on one class-balanced batch; the weights scored are those trained
(the paper scores another draw).

References
----------
N. Lee, T. Ajanthan, P. Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity",
ICLR 2019, arXiv 1810.02340.
"""

from __future__ import annotations

from autoprune.methods.base import AllocationParams, Method, Parts, PlanRequest
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage

PARTS = Parts(score="snip")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Score the initialisation, prune, train from scratch."""
    return prune_train(request, PARTS)


SNIP = Method(
    name="snip",
    kind="weights",
    start="scratch",
    reference="Lee et al., ICLR 2019, arXiv 1810.02340",
    params=AllocationParams,
    plan=plan,
    parts=PARTS,
    min_steps=lambda params: 20,
    space={"allocation": ["global", "erk", "lamp"]},
)
