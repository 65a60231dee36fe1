"""What methods share that score whole units, remove the least and retrain; torch-free.

Notes
-----
# Deviation: a sparsity is a share of the dense weights, so that all kinds of pruning meet at equal
sparsity; papers count units or multiply-adds. ``uniform`` takes the same share of every group of
units, ``global`` ranks the units of all groups together; every group keeps at least one.
"""

from __future__ import annotations

from typing import Any

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import check_rewind, prune_retrain
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class UnitParams:
    """Parameters of a method that scores units.

    Parameters
    ----------
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``none``, ``init``, ``reinit`` or ``step:<fraction of the dense run>``.
    schedule : str
        Sparsity schedule over the rounds.
    allocation : str
        How many units each group keeps.
    """

    rounds: Rounds = 1
    rewind: str = "none"
    schedule: str = "geometric"
    allocation: str = "uniform"


SPACE: dict[str, Any] = {"rounds": [1, 2, 3], "allocation": ["uniform", "global"]}


def check(config: TrialConfig, params: UnitParams) -> None:
    """Refuse a rewind policy that does not parse."""
    check_rewind(params.rewind, f"trial.{config.method}.rewind")


def unit_method(name: str, reference: str, score: str) -> Method:
    """Build a method that removes the units with the lowest scores, then retrains."""
    parts = Parts(score=score, granularity=lambda params: "channel")

    def plan(request: PlanRequest) -> tuple[Stage, ...]:
        return prune_retrain(request, parts)

    return Method(
        name=name,
        kind="units",
        start="dense",
        reference=reference,
        params=UnitParams,
        plan=plan,
        parts=parts,
        check=check,
        reaches=lambda params: (0.0, 0.995),
        space=SPACE,
    )
