"""SNIP: prune at initialisation by connection sensitivity, then train.

The score is ``|w * dL/dw|`` on one class-balanced batch of ten examples per class, batch norms in
eval mode; the global top of it survives and is trained from the weights that were scored. With
several rounds the score is taken anew on what the last round left, the density falling by the
same factor each time; every round draws its own batch.

Notes
-----
# Deviation: the paper scores another draw of the weights than it trains; here they are the same.
# Deviation: the paper ranks biases, too, which start at 0 and all go; here they stay.

One round is the paper's; more are an option that others have studied (card pruning_at_init, c6).
A layer that empties is a result: the trial's status is ``collapsed`` if its outputs no longer
depend on the input, and ``log/empty_layers`` counts such layers.

References
----------
N. Lee, T. Ajanthan, P. Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity",
ICLR 2019, arXiv 1810.02340.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, Parts, PlanRequest, ScoringRounds
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SnipParams:
    """Parameters of SNIP.

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


PARTS = Parts(score="snip")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Score the initialisation, prune, train from scratch."""
    return prune_train(request, PARTS)


SNIP = Method(
    name="snip",
    kind="weights",
    start="scratch",
    reference="Lee et al., ICLR 2019, arXiv 1810.02340",
    params=SnipParams,
    plan=plan,
    parts=PARTS,
    min_steps=lambda params: 20,
    space={"rounds": [1, 10], "allocation": ["global", "erk", "lamp"]},
)
