"""AP, Activate-while-Pruning: part of each round's removals goes to quiet negative weights.

A base method removes the bulk; of the survivors that are negative, AP removes those that moved
least since the start of the round. A negative weight on a non-negative input can only hold a
ReLU unit down, so removing it never silences a unit and lets some fire again.

``lite`` prunes with both and goes on from the trained weights. ``pro`` rewinds the survivors to
the values they had at the start of the round and trains the round again, so that each round
after the first trains twice within the same epochs (the first round's first training is the dense
run).

The base gives its score, and its rewind policy unless `rewind` names another; the rounds, the
sparsity schedule and the allocation are AP's own. With ``share: 0`` AP is the identity, and
``lite`` is the base method itself: the same stages, so the same bits. A base that prunes at
initialisation has its score read on the trained weights, round by round.

Notes
-----
The fair control for ``pro`` is ``variant: pro`` with ``share: 0``, on the command line
``autoprune run --method ap --set variant=pro --set share=0`` and the trial's other settings: the
base removes the whole budget, with the same rewinds and the same second training. A gain over the
base alone may be the doubled training's.

The names Lite and Pro are assigned to the released script's flow from the paper's description;
that assignment is unconfirmed.

# Deviation: the budget is split so that base and AP together reach the target exactly; the
script's threshold removes one weight more than asked, and lets momentum revive pruned weights.

# Deviation: where there are fewer negative survivors than AP's share, the base removes the rest.

# Deviation: the script starts every round from another fresh draw; here rounds go on from the
last one's weights, and ``rewind: reinit`` is one draw. BatchNorm's statistics are rewound, too.

References
----------
S. Liu, R. Ghosh, M. Motani, "AP: Selective Activation for De-sparsifying Pruned Networks",
TMLR 2023, arXiv 2212.06145.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import (
    check_rewind,
    check_wrapped,
    cycle_of,
    dense_run,
    init,
    prune_step,
    retrain,
    snapshot,
    sparsity_after,
)
from autoprune.stages.activate import Activate, Quieten, Tally
from autoprune.stages.base import Stage
from autoprune.stages.measure import MeasureDead
from autoprune.stages.prune import MaskRounds, Rewind

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ApParams:
    """Parameters of AP.

    Parameters
    ----------
    base : str
        The method that removes the bulk.
    share : float
        AP's part q of each round: a fraction of the weights alive at the round's start.
    variant : str
        ``lite`` or ``pro``.
    rounds : int
        Prune-retrain rounds.
    schedule : str
        Sparsity schedule over the rounds.
    rewind : str
        What a round starts from: ``base`` for the base method's own policy, or ``none``, ``init``,
        ``reinit``, ``step:<fraction of the dense run>``.
    granularity : str
        The base's, where it has that parameter: ``weight``, ``kernel``, or a pattern such as
        ``2:4`` or ``n:8``. With any but ``weight``, AP removes before the base does.
    measure_dnr : bool
        Whether to measure dead neurons at each round's start and end: ``log/dnr_start``,
        ``dnr_end``, ``dnr_static``, ``dnr_dynamic`` and ``dead_all``. Changes no weight.
    """

    base: str = "magnitude"
    share: Annotated[float, Field(ge=0.0, le=0.2)] = 0.02
    variant: Literal["lite", "pro"] = "lite"
    rounds: Rounds = 3
    schedule: str = "geometric"
    allocation: str = "global"
    rewind: str = "base"
    granularity: str = "weight"
    measure_dnr: bool = False


def _base(params: ApParams) -> tuple[Method, Any]:
    """Return the base method with its default parameters, and AP's granularity if it takes one."""
    method = METHODS.get(params.base, "trial.ap.base")
    own = method.params()
    takes = hasattr(own, "granularity")
    return method, replace(own, granularity=params.granularity) if takes else own


def _parts(params: ApParams) -> Parts:
    """Return the base's parts: its own score and rewinding, with AP's sparsity schedule."""
    method, own = _base(params)
    parts: Parts = method.parts  # type: ignore[assignment] # checked
    return replace(
        parts,
        rewind=lambda ap: parts.rewind(own) if ap.rewind == "base" else str(ap.rewind),
        schedule=lambda ap: str(ap.schedule),
        granularity=lambda ap: parts.granularity(own),
        score_params=lambda ap: parts.score_params(own),
    )


def _snapshot(request: PlanRequest) -> Stage | None:
    """Return what every round starts from, when that is not the last round's end."""
    return snapshot(request, _parts(request.params).rewind(request.params))


def _first_start(request: PlanRequest, saved: Stage | None) -> Stage | None:
    """Return where the first round, which the dense run trains, started from."""
    if request.pretrained:
        return None
    fresh = init(request, "reinit")
    return init(request) if saved in (None, fresh) else saved


def _prune(
    request: PlanRequest,
    trained: Stage,
    start: Stage | None,
    span: tuple[float, float],
    k: int,
) -> Stage:
    """Go from one sparsity to the next with base and AP."""
    params: ApParams = request.params
    before, sparsity = span
    if params.share and params.granularity != "weight":
        given = (trained,) if start is None else (trained, start)
        quiet = Quieten(parents=given, share=params.share)
        return Tally(parents=(_prune_base(request, quiet, sparsity, k), trained))
    masked = _prune_base(request, trained, max(before, sparsity - params.share * (1 - before)), k)
    if params.share == 0.0:
        return masked
    parts = _parts(params)
    return Activate(
        parents=(masked, trained) if start is None else (masked, trained, start),
        sparsity=sparsity,
        score=parts.score,
        params=parts.score_params(params),
        allocation=params.allocation,
        seed=request.seed,
        granularity=parts.granularity(params),
        label=f"score/{k}",
    )


def _prune_base(request: PlanRequest, trained: Stage, sparsity: float, k: int) -> Stage:
    """Let the base prune; one that prunes from scratch in many rounds does so here, too."""
    method, own = _base(request.params)
    parts = _parts(request.params)
    rounds = parts.rounds(own) if method.start == "scratch" else 1
    if rounds == 1:
        return prune_step(request, parts, trained, sparsity, k)
    return MaskRounds(
        parents=(trained,),
        score=parts.score,
        allocation=request.params.allocation,
        sparsity=sparsity,
        rounds=rounds,
        seed=request.seed,
        granularity=parts.granularity(request.params),
        schedule=_own_schedule(method, own),
        label=f"score/{k}",
        params=parts.score_params(request.params),
    )


def _own_schedule(method: Method, own: Any) -> str:
    """Return how a base goes down in its rounds of scoring."""
    parts: Parts = method.parts  # type: ignore[assignment] # checked
    return parts.schedule(own)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Wrap the base method's rounds."""
    params: ApParams = request.params
    pro, count = params.variant == "pro", params.rounds
    saved = _snapshot(request)
    start = _first_start(request, saved)
    trained, rounds, before = dense_run(request), [], 0.0
    for k in range(1, count + 1):
        sparsity = sparsity_after(request, _parts(params), k, count)
        length = request.epochs / count
        if pro and k > 1 and start is not None:
            length /= 2
            held = cycle_of(request, k, count, before)
            trained = retrain(request, start, length=length, cycle=held, label=f"first/{k}")
        done = _prune(request, trained, start, (before, sparsity), k)
        back = (start or saved) if pro else saved
        if back is not None:
            done = Rewind(parents=(done, back))
        cycle = cycle_of(request, k, count, sparsity)
        trained = retrain(request, done, length=length, cycle=cycle, label=f"retrain/{k}")
        look = MeasureDead(parents=(trained, done), seed=request.seed)
        rounds.append(look if params.measure_dnr else trained)
        start, before = _next_start(trained, done, saved, pro=pro), sparsity
    return tuple(rounds)


def _next_start(trained: Stage, done: Stage, saved: Stage | None, *, pro: bool) -> Stage:
    """Return the next round's start: ``lite`` has trained from it, ``pro`` is about to."""
    if not pro:
        return done
    return trained if saved is None else Rewind(parents=(trained, saved))


def check(config: TrialConfig, params: ApParams) -> None:
    """Refuse a base that cannot be wrapped, and a share that leaves the base nothing."""
    from autoprune.pruning.registry import SPARSITY_SCHEDULES

    check_wrapped(params.base, "trial.ap.base", kind="weights")
    if params.granularity != "weight" and not hasattr(_base(params)[1], "granularity"):
        raise ConfigError(
            "trial.ap.granularity",
            f"must be left out for base {params.base!r}, which has its own",
            params.granularity,
        )
    if params.rewind != "base":
        check_rewind(params.rewind, "trial.ap.rewind")
    schedule = SPARSITY_SCHEDULES.get(params.schedule)
    steps = [schedule(k / params.rounds, config.sparsity) for k in range(1, params.rounds + 1)]
    shares = [1 - (1 - after) / (1 - before) for before, after in pairwise([0.0, *steps])]
    if params.share > min(shares) + 1e-9:  # the rounds of a geometric schedule differ by rounding
        raise ConfigError(
            "trial.ap.share",
            f"must be at most {min(shares):.4f}, what each of {params.rounds} rounds removes to "
            f"reach sparsity {config.sparsity:g}",
            params.share,
            "use fewer rounds or a smaller share",
        )


def fits(info: TaskInfo, config: TrialConfig, params: ApParams) -> None:
    """Refuse what the base method refuses."""
    method, own = _base(params)
    method.fits(info, config, own)


def reaches(params: ApParams) -> tuple[float, float]:
    """Return the limits of the base method; `check` refuses what is no base."""
    method, own = _base(params)
    return (0.0, 0.999) if method.parts is None else method.reaches(own)


def min_steps(params: ApParams) -> int:
    """Ten steps for each training after the dense run."""
    twice = params.variant == "pro" and params.rounds > 1
    return 10 * params.rounds * (2 if twice else 1)


AP = Method(
    name="ap",
    measures=frozenset({"weights"}),
    kind="weights",
    start="dense",
    reference="Liu et al., TMLR 2023, arXiv 2212.06145",
    params=ApParams,
    plan=plan,
    check=check,
    fits=fits,
    reaches=reaches,
    min_steps=min_steps,
    needs_relu=True,
    space={
        "base": ["magnitude"],
        "share": {"low": 0.0, "high": 0.05},
        "variant": ["lite", "pro"],
        "rounds": [2, 3, 5],
        "allocation": ["global", "lamp"],
    },
)
