"""Iterative magnitude pruning (IMP) with a free choice of rounds, rewinding and LR schedule.

One round is one-shot pruning. Sparsity after round k of J is ``1 - (1 - S) ** (k / J)``: every
round removes the same share of what remains. Learning-rate rewinding is the schedule ``lrw``;
`rewind` concerns weights only.

References
----------
A. Renda, J. Frankle, M. Carbin, "Comparing Rewinding and Fine-tuning in Neural Network Pruning",
ICLR 2020, arXiv 2003.02389. M. Zimmer, C. Spiegel, S. Pokutta, "How I Learned to Stop Worrying
and Love Retraining", ICLR 2023, arXiv 2111.00843.
"""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import check_rewind, prune_retrain
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ImpParams:
    """Parameters of IMP.

    Parameters
    ----------
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``none``, ``init``, ``reinit`` or ``step:<fraction of the dense run>``.
    schedule : str
        Sparsity schedule over the rounds.
    granularity : str
        ``weight``, ``kernel``, or a pattern such as ``2:4`` or ``n:8``.
    """

    rounds: Rounds = 3
    rewind: str = "none"
    schedule: str = "geometric"
    allocation: str = "global"
    granularity: str = "weight"


PARTS = Parts(score="magnitude")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune by magnitude and retrain, round by round."""
    return prune_retrain(request, PARTS)


def check(config: TrialConfig, params: ImpParams) -> None:
    """Refuse a rewind policy that does not parse."""
    check_rewind(params.rewind, "trial.imp.rewind")


IMP = Method(
    name="imp",
    kind="weights",
    start="dense",
    reference="Renda et al., ICLR 2020, arXiv 2003.02389; Zimmer et al., ICLR 2023, "
    "arXiv 2111.00843",
    params=ImpParams,
    plan=plan,
    parts=PARTS,
    check=check,
    space={
        "rounds": [2, 3, 5],
        "rewind": ["none", "step:0.1", "init"],
        "allocation": ["global", "lamp", "erk"],
    },
)
