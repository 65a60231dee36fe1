"""Scratch-E in mask form: the mask of another method, trained from a fresh initialisation.

Notes
-----
# Deviation: the paper trains for the dense run's epochs; here the control gets the dense and the
retraining epochs together, so that it costs what the trial it is compared with costs.

References
----------
Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning",
ICLR 2019, arXiv 1810.05270.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.methods.base import METHODS, Method, Parts, PlanRequest
from autoprune.methods.plans import check_wrapped, cycle_of, dense_run, init, prune_step, retrain
from autoprune.stages.base import Stage
from autoprune.stages.prune import Rewind


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScratchParams:
    """Parameters of Scratch-E: whose mask it trains, and that mask's allocation."""

    base: str = "magnitude"
    allocation: str = "global"


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune the dense net, draw new weights, train them under the mask."""
    base: Parts = METHODS.get(request.params.base).parts  # type: ignore[assignment] # checked
    sparsity = request.config.sparsity
    masked = prune_step(request, base, dense_run(request), sparsity, 1)
    fresh = Rewind(parents=(masked, init(request, "reinit")))
    cycle = cycle_of(request, 1, 1, sparsity)
    length = request.scratch_epochs
    return (retrain(request, fresh, length=length, cycle=cycle, label="scratch"),)


def check(config: TrialConfig, params: ScratchParams) -> None:
    """Refuse a base method that does not score, prune and retrain single weights."""
    check_wrapped(params.base, "trial.scratch_e.base", kind="weights")


SCRATCH_E = Method(
    name="scratch_e",
    kind="weights",
    start="scratch",
    reference="Liu et al., ICLR 2019, arXiv 1810.05270",
    params=ScratchParams,
    plan=plan,
    check=check,
    min_steps=lambda params: 20,
    space={"base": ["magnitude"], "allocation": ["global", "erk", "lamp"]},
)
