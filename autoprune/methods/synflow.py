"""SynFlow: prune at initialisation, without data, so that signal still reaches the outputs.

All weights are made positive, an image of ones is passed through, and a weight's score is its
share of what arrives: ``|w| * dR/d|w|``, R being the sum of the outputs. The net is scored and
masked in 100 rounds, the density falling by the same factor each time; then it is trained from
its initial values.

Notes
-----
A layer with few weights left has large scores, so no layer empties while others are full; with a
single round it can (card pruning_at_init, f4 and f5). The theory holds for activations that are
linear on positive numbers and for nets without biases; elsewhere scores no longer sum to the same
number in every layer, see `autoprune.pruning.signals.flow.synaptic_flow` for what is done then.

References
----------
H. Tanaka, D. Kunin, D. Yamins, S. Ganguli, "Pruning neural networks without any data by
iteratively conserving synaptic flow", NeurIPS 2020, arXiv 2006.05467.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Method, Parts, PlanRequest, ScoringRounds
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SynFlowParams:
    """Parameters of SynFlow.

    Parameters
    ----------
    rounds : int
        Rounds of scoring and masking before training.
    schedule : str
        Sparsity schedule over the rounds; ``geometric`` is the paper's exponential one.
    allocation : str
        The layerwise rule; the paper's is ``global``.
    granularity : str
        ``weight``, ``kernel``, or a pattern such as ``2:4`` or ``n:8``.
    """

    rounds: ScoringRounds = 100
    schedule: str = "geometric"
    allocation: str = "global"
    granularity: str = "weight"


PARTS = Parts(score="synflow")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Score and mask the initialisation in rounds, train from scratch."""
    return prune_train(request, PARTS)


SYNFLOW = Method(
    name="synflow",
    kind="weights",
    start="scratch",
    reference="Tanaka et al., NeurIPS 2020, arXiv 2006.05467",
    params=SynFlowParams,
    plan=plan,
    parts=PARTS,
    min_steps=lambda params: 20,
    space={"rounds": [20, 100], "allocation": ["global", "erk"]},
)
