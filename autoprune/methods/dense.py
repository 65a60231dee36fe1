"""The dense run itself, as a trial: the reference every study holds."""

from __future__ import annotations

from autoprune.methods.base import Method, NoParams, PlanRequest
from autoprune.methods.plans import dense_run
from autoprune.stages.base import Stage


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Train dense, and do nothing else."""
    return (dense_run(request),)


DENSE = Method(
    name="dense",
    kind="weights",
    start="dense",
    reference="the unpruned model (control)",
    params=NoParams,
    plan=plan,
    min_steps=lambda params: 0,
    reaches=lambda params: (0.0, 0.0),
    listed=False,
)
