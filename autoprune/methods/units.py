"""What methods share that score whole units, remove the least and retrain; torch-free.

Notes
-----
# Deviation: a sparsity is a share of the dense weights, so that all kinds of pruning meet at equal
sparsity; papers count units or multiply-adds. ``uniform`` takes the same share of every group of
units, ``global`` ranks the units of all groups together.

# Deviation: groups are cut to multiples of eight units, by which runtimes go through channels
(below eight to finer steps, so that narrow nets stay prunable), and under ``global`` none loses
more than nine tenths of its units; papers cut single units, and some of them empty layers.
``round_to: 1`` and ``floor: 0`` undo both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Scalar, TrialConfig
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import check_rewind, prune_retrain
from autoprune.pruning.allocations.spec import split_spec
from autoprune.pruning.grain import ROUND_TO, Grain, greatest
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo

RoundTo = Annotated[int, Field(ge=1)]
Floor = Annotated[float, Field(ge=0.0, lt=1.0)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class GrainParams:
    """How many units each group may keep.

    Parameters
    ----------
    allocation : str
        How many units each group keeps.
    round_to : int
        Kept units per group are a multiple of it, or all; fewer than that go in finer steps, of
        about an eighth of the group, as does the one group that makes the sum come out.
    floor : float
        With allocation ``global``, the least share of its units that a group keeps.
    """

    allocation: str = "uniform"
    round_to: RoundTo = ROUND_TO
    floor: Floor = 0.1


@dataclass(frozen=True, config=STRICT, kw_only=True)
class UnitParams(GrainParams):
    """Parameters of a method that scores units.

    Parameters
    ----------
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``none``, ``init``, ``reinit`` or ``step:<fraction of the dense run>``.
    schedule : str
        Sparsity schedule over the rounds.
    """

    rounds: Rounds = 1
    rewind: str = "none"
    schedule: str = "geometric"


def grain(params: Any) -> dict[str, Scalar]:
    """Return what a granularity of units is built with; single units where a method says nothing.

    Only one ranking of all units can take nearly all of one group, so only it needs a floor.
    """
    ranked = split_spec(params.allocation)[0] == "global"
    floor = float(getattr(params, "floor", 0.0)) if ranked else 0.0
    return {"round_to": int(getattr(params, "round_to", 1)), "floor": floor}


def limit(info: TaskInfo, of: str, params: Any, *, inner: bool = False) -> float:
    """Return the greatest share of the weights, or multiply-adds, that goes with units.

    Parameters
    ----------
    inner : bool
        Only units that a single layer reads go.
    """
    what = "inner_channel" if inner else "units"
    known = info.reach.get(what if of == "weights" else f"{what}_macs", 1.0)
    if not info.units:
        return known
    groups = tuple(group for group in info.units if group.inner or not inner)
    grains: Any = grain(params)
    rule = Grain(**grains)
    if of == "weights":
        return min(known, greatest(info.layers, groups, rule))
    return min(known, greatest(info.layers, groups, rule, "macs", info.macs_elsewhere))


def inner_limit(info: TaskInfo, of: str, params: Any) -> float:
    """Return `limit` for units that a single layer reads."""
    return limit(info, of, params, inner=True)


SPACE: dict[str, Any] = {"rounds": [1, 2, 3], "allocation": ["uniform", "global"]}


def check(config: TrialConfig, params: UnitParams) -> None:
    """Refuse a rewind policy that does not parse."""
    check_rewind(params.rewind, f"trial.{config.method}.rewind")


def unit_method(name: str, reference: str, score: str) -> Method:
    """Build a method that removes the units with the lowest scores, then retrains."""
    parts = Parts(score=score, granularity=lambda params: "channel", grain=grain)

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
        limit=limit,
        space=SPACE,
    )
