"""DropNet: remove the units with the least mean activation, round by round.

The score of a neuron or filter is the mean of ``|post-activation|`` over training images (and
positions). Removed units are gone physically in the exported model.

`metric` has the paper's comparators: the most active units go (``maximum``), any (``random``),
those that are zero most often (``apoz``), and a greedy ``oracle`` that tries every unit's removal
on the training loss, one by one, for nets of 40 units at most. ``allocation: global`` ranks the
units of all layers together, ``uniform`` takes the same share of every layer (the paper's
``_layer`` forms), ``searched`` has knobs.

Notes
-----
# Deviation: the paper drops a fraction of the surviving units per round; here the rounds go
geometrically to a target share of the dense *weights*, so that all kinds of pruning meet at equal
sparsity. With `drop` each round but the last drops that fraction, ``max(1, floor(p n))`` of ``n``
units, as long as the target is not passed; the last one meets it.

# Deviation: units go in steps of eight, as for every method of units, so that an exported net
is fast and methods compare at equal steps; ``round_to: 1`` and ``floor: 0`` drop single units, as
the paper does, and give its counts exactly.

# Deviation: ties go to the lower index. Zeros are counted where activations are, in front of the
layers that read a unit, behind pools. The rule that stops at a loss of accuracy is left out: the
sparsity is asked for.

References
----------
J. Tan Chong Min, M. Motani, "DropNet: Reducing Neural Network Complexity via Iterative Pruning",
ICML 2020, PMLR 119.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as stage
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Scalar, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import (
    cycle_of,
    dense_run,
    init,
    prune_step,
    retrain,
    snapshot,
    sparsity_after,
)
from autoprune.methods.units import UnitParams, grain, limit
from autoprune.methods.units import check as check_units
from autoprune.stages.base import RunContext, Stage
from autoprune.stages.prune import Mask, Rewind

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.core.records import TaskInfo
    from autoprune.pruning.masks import MaskSet
    from autoprune.pruning.view import ModelView

MOST_UNITS = 40
"""Of a net that the oracle is asked about: it passes the scoring set for every pair of them."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class DropNetParams(UnitParams):
    """Parameters of DropNet.

    Parameters
    ----------
    metric : str
        Which units go first: those with the ``minimum`` mean activation, the ``maximum``,
        ``random`` ones, those with the most zeros (``apoz``), or those that the loss misses least
        (``oracle``).
    drop : float
        Share p of the surviving units that a round drops, until the target is met; 0 leaves it to
        `schedule`.
    randominit : bool
        Whether each round's net is one with other fresh weights, trained under the round's masks,
        which the rewound rounds give as always. The retraining epochs are spent twice.
    """

    rounds: Rounds = 3
    rewind: str = "init"
    metric: Literal["minimum", "maximum", "random", "apoz", "oracle"] = "minimum"
    drop: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    randominit: bool = False


def score_params(params: Any) -> dict[str, Scalar]:
    """Return the metric; the default where another method wraps this one."""
    return {"metric": params.metric} if hasattr(params, "metric") else {}


PARTS = Parts(
    score="mean_activation",
    granularity=lambda params: "channel",
    grain=grain,
    score_params=score_params,
)


def num_dropped(count: int, share: float) -> int:
    """Return how many of so many units a round drops.

    Examples
    --------
    >>> [num_dropped(count, 0.2) for count in (384, 308, 247, 4)]
    [76, 61, 49, 1]
    """
    return max(1, int(share * count + 1e-9))


@stage(frozen=True)
class Drop(Mask):
    """Drop a share of the units that are left, unless that would pass the sparsity.

    Under ``global`` of the whole net, under another allocation of every group.
    """

    kind: ClassVar[str] = "drop"

    share: float = 0.2

    def _choose(self, scores: dict[str, Tensor], view: ModelView, context: RunContext) -> MaskSet:
        from autoprune.pruning.allocations.ranking import alive_counts, count_highest
        from autoprune.pruning.granularities.spec import resolve_granularity

        granularity = resolve_granularity(self.granularity, self.grain)
        units = granularity.pool(scores, view)
        alive = alive_counts(units)
        keep: Mapping[str, int] = {n: a - num_dropped(a, self.share) for n, a in alive.items()}
        if self.allocation == "global":
            total = sum(alive.values())
            kept = total - num_dropped(total, self.share)
            keep = count_highest({n: layer.scores for n, layer in units.items()}, kept)
        dropped: MaskSet = granularity.select(units, keep, view)
        target = super()._choose(scores, view, context)
        names = list(view.weights)
        return dropped if dropped.sparsity(names) <= target.sparsity(names) else target


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Drop units by activation, rewind, retrain."""
    params: DropNetParams = request.params
    count = params.rounds
    saved = snapshot(request, params.rewind)
    state, rounds = dense_run(request), []
    for k in range(1, count + 1):
        nominal = sparsity_after(request, PARTS, k, count)
        if params.drop and k < count:
            masked: Stage = _drop(request, state, k)
        else:
            masked = prune_step(request, PARTS, state, nominal, k)
        if saved is not None:
            masked = Rewind(parents=(masked, saved))
        length, cycle = request.epochs / count, cycle_of(request, k, count, nominal)
        state = retrain(request, masked, length=length, cycle=cycle, label=f"retrain/{k}")
        if params.randominit:
            fresh = Rewind(parents=(state, init(request, "reinit")))
            label = f"reinit/{k}"
            rounds.append(retrain(request, fresh, length=length, cycle=cycle, label=label))
        else:
            rounds.append(state)
    return tuple(rounds)


def _drop(request: PlanRequest, state: Stage, k: int) -> Stage:
    """Drop a share of what is left, where `prune_step` would go to a sparsity."""
    target: Any = prune_step(request, PARTS, state, request.config.sparsity, k)
    given = {field.name: getattr(target, field.name) for field in fields(target)}
    return Drop(**given, share=request.params.drop)


def check(config: TrialConfig, params: DropNetParams) -> None:
    """Refuse what every method of units does, and re-initialised rounds that start anew anyway."""
    check_units(config, params)
    if params.randominit and params.rewind == "reinit":
        raise ConfigError(
            f"trial.{config.method}.randominit",
            "must be false with rewind 'reinit', which trains every round from fresh weights",
            True,
            "set rewind to init",
        )


def fits(info: TaskInfo, config: TrialConfig, params: DropNetParams) -> None:
    """Refuse an oracle on a net of many units."""
    count = sum(group.num_units for group in info.units)
    if params.metric == "oracle" and count > MOST_UNITS:
        raise ConfigError(
            f"trial.{config.method}.metric",
            f"must not be 'oracle' on a model of more than {MOST_UNITS} removable units, whose "
            f"removals it tries one by one; this one has {count}",
            remedy="use a narrower model (task.width), or another metric",
        )


DROPNET = Method(
    name="dropnet",
    kind="units",
    start="dense",
    reference="Tan Chong Min and Motani, ICML 2020, PMLR 119",
    params=DropNetParams,
    plan=plan,
    parts=PARTS,
    check=check,
    fits=fits,
    reaches=lambda params: (0.0, 0.995),
    limit=limit,
    space={
        "rounds": [1, 2, 3],
        "rewind": ["init", "none"],
        "allocation": ["uniform", "global"],
    },
)
