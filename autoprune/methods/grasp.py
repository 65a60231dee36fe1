"""GraSP: prune at initialisation so that the flow of gradients is kept, then train.

The score is ``w * (H g)``: Hessian times gradient of the loss on ten examples per class, logits
divided by a temperature of 200, batch norms on the batch's statistics. Weights with the largest
score survive, wherever they are, and are trained from the values that were scored.

Notes
-----
# Deviation: the paper draws the last linear layer anew for scoring; here the net that is scored
is the net that is trained.
# Deviation: the released code keeps one weight more than asked; here the count is exact.

One round is the paper's; with more, the score is taken anew on what the last round left (card
pruning_at_init, c6). A layer that empties is a result: the trial's status is ``collapsed`` if its
outputs no longer depend on the input, and ``log/empty_layers`` counts such layers.

References
----------
C. Wang, G. Zhang, R. Grosse, "Picking Winning Tickets Before Training by Preserving Gradient
Flow", ICLR 2020, arXiv 2002.07376.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, Parts, PlanRequest, ScoringRounds
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class GraspParams:
    """Parameters of GraSP.

    Parameters
    ----------
    rounds : int
        Rounds of scoring and masking before training.
    schedule : str
        Sparsity schedule over the rounds.
    allocation : str
        The layerwise rule; the paper's is ``global``.
    granularity : str
        ``weight``, ``kernel``, or a pattern such as ``2:4`` or ``n:8``.
    """

    rounds: ScoringRounds = 1
    schedule: str = "geometric"
    allocation: str = "global"
    granularity: str = "weight"


PARTS = Parts(score="grasp")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Score the initialisation, prune, train from scratch."""
    return prune_train(request, PARTS)


GRASP = Method(
    name="grasp",
    kind="weights",
    start="scratch",
    reference="Wang et al., ICLR 2020, arXiv 2002.07376",
    params=GraspParams,
    plan=plan,
    parts=PARTS,
    min_steps=lambda params: 20,
    space={"rounds": [1, 10], "allocation": ["global", "erk"]},
)
