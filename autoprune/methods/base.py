"""A method is a value made of independent parts.

Method files import no torch at module level: the search driver reads kinds, limits and plans
without it, and a stage imports what it computes with when it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as parameters

from autoprune.core.config import STRICT, LRConfig, Scalar, TrialConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.core.registry import Registry
from autoprune.training.lr.base import CycleInfo, Need

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo
    from autoprune.stages.base import Stage

Kind = Literal["weights", "units", "low_rank"]
Start = Literal["dense", "scratch"]


@parameters(frozen=True, config=STRICT, kw_only=True)
class NoParams:
    """A method without parameters of its own."""


@parameters(frozen=True, config=STRICT, kw_only=True)
class AllocationParams:
    """What most methods that score single weights share.

    Parameters
    ----------
    allocation : str
        How many weights each layer keeps.
    granularity : str
        Which live and die together: ``weight``, ``kernel``, or a pattern, ``2:4`` or ``n:8``.
    """

    allocation: str = "global"
    granularity: str = "weight"


@dataclass(frozen=True)
class PlanRequest:
    """The arguments of `Method.plan`.

    Parameters
    ----------
    config : TrialConfig
        With `params` complete.
    params : Any
        `config.params`, parsed into the method's own type.
    epochs : float
        Retraining epochs over all rounds.
    dense_epochs : float
        Epochs of the dense run. From-scratch plans train for ``scratch_epochs``.
    top_epochs : float
        The top rung, against which a from-scratch plan scales its share of the dense epochs.
    seed : int
        The replicate's root seed.
    pretrained : bool
        The task brings weights, so there is no dense run.
    """

    config: TrialConfig
    params: Any
    epochs: float
    top_epochs: float
    seed: int
    pretrained: bool = False

    @property
    def scratch_epochs(self) -> float:
        """Epochs of a from-scratch plan: dense and retraining epochs, scaled by the rung."""
        return self.epochs * (1 + self.config.train.epochs / self.top_epochs)


def _granularity(params: Any) -> str:
    return str(getattr(params, "granularity", "weight"))


@dataclass(frozen=True)
class Parts:
    """The parts of a method that scores, prunes and retrains; declared so that others can wrap it.

    Parameters
    ----------
    score : str
        Score registry name.
    granularity : Callable
        The method's parameters to its granularity: a registry name, or a pattern such as ``2:4``.
    rounds : Callable
        The method's parameters to its number of rounds.
    rewind : Callable
        The method's parameters to its rewind policy.
    schedule : Callable
        The method's parameters to the name of its sparsity schedule.
    score_params : Callable
        The parameters, of this method or of one that wraps it, to what the score is built with.
    grain : Callable
        The same parameters to what the granularity is built with.
    """

    score: str
    granularity: Callable[[Any], str] = _granularity
    rounds: Callable[[Any], int] = lambda params: int(getattr(params, "rounds", 1))
    rewind: Callable[[Any], str] = lambda params: str(getattr(params, "rewind", "none"))
    schedule: Callable[[Any], str] = lambda params: str(getattr(params, "schedule", "geometric"))
    score_params: Callable[[Any], dict[str, Scalar]] = lambda params: {}
    grain: Callable[[Any], dict[str, Scalar]] = lambda params: {}


def _ten_steps_a_round(params: Any) -> int:
    return 10 * int(getattr(params, "rounds", 1))


def _nearly_all(params: Any) -> tuple[float, float]:
    from autoprune.pruning.granularities.spec import spec_reaches

    return spec_reaches(_granularity(params))


@dataclass(frozen=True)
class Method:
    """A pruning method.

    Parameters
    ----------
    name, reference : str
        Registry name; authors, title, venue and arXiv id of the source.
    kind : str
        What is removed: single weights, whole units, or rank.
    start : str
        Whether it prunes a trained dense net or starts from initialisation.
    params : type
        A frozen pydantic dataclass: names, defaults and limits of its parameters.
    plan : Callable
        `PlanRequest` to the stages; the last one is the trial's final state.
    parts : Parts or None
        Set for methods that score, prune and retrain; other methods (``ap``) wrap these.
    min_steps : Callable
        Parameters to the least number of retraining steps that make sense.
    reaches : Callable
        Parameters to the least and the greatest sparsity the method can be asked for.
    limit : Callable or None
        A task, what the target is a share of, and parameters to the greatest target on this
        model; None where it is that of the kind (`autoprune.methods.reach`).
    kind_of : Callable or None
        Parameters to what is removed, where that depends on them; `kind` is what the defaults give.
    measures : frozenset
        What its target sparsity may be a share of: ``weights``, ``macs``.
    regrows : bool
        Whether masks may grow back during a trial.
    needs_relu : bool
        Whether the method works on ReLU units, and is refused on a model without any.
    reconstruction : bool
        Parts are reconstructed rather than confirmed by paper or code; shown in lists.
    listed : bool
        False for internal controls.
    check : Callable
        Refuses, with a ConfigError, a combination of parameters.
    fits : Callable
        Refuses, with a ConfigError or a TaskError, a model or data set it cannot work on.
    space : dict
        What the shipped search spaces explore under the method's name.
    """

    name: str
    kind: Kind
    start: Start
    reference: str
    params: type
    plan: Callable[[PlanRequest], tuple[Stage, ...]]
    parts: Parts | None = None
    min_steps: Callable[[Any], int] = _ten_steps_a_round
    reaches: Callable[[Any], tuple[float, float]] = _nearly_all
    limit: Callable[[TaskInfo, str, Any], float] | None = None
    kind_of: Callable[[Any], Kind] | None = None
    measures: frozenset[str] = frozenset({"weights", "macs"})
    regrows: bool = False
    needs_relu: bool = False
    reconstruction: bool = False
    listed: bool = True
    check: Callable[[TrialConfig, Any], None] = lambda config, params: None
    fits: Callable[[TaskInfo, TrialConfig, Any], None] = lambda info, config, params: None
    space: dict[str, Any] = field(default_factory=dict)


Rounds = Annotated[int, Field(ge=1, le=50)]
ScoringRounds = Annotated[int, Field(ge=1, le=100)]
"""Rounds of scoring and masking without training in between."""

METHODS: Registry[Method] = Registry(
    "method",
    "autoprune.methods",
    {
        "magnitude": "autoprune.methods.magnitude:MAGNITUDE",
        "random": "autoprune.methods.random:RANDOM",
        "imp": "autoprune.methods.imp:IMP",
        "lottery_ticket": "autoprune.methods.lottery_ticket:LOTTERY_TICKET",
        "ap": "autoprune.methods.ap:AP",
        "nnrelief": "autoprune.methods.nnrelief:NNRELIEF",
        "pqi": "autoprune.methods.pqi:PQI",
        "lq_adaptive": "autoprune.methods.lq_adaptive:LQ_ADAPTIVE",
        "movement": "autoprune.methods.movement:MOVEMENT",
        "platon": "autoprune.methods.platon:PLATON",
        "scl": "autoprune.methods.scl:SCL",
        "snip": "autoprune.methods.snip:SNIP",
        "grasp": "autoprune.methods.grasp:GRASP",
        "synflow": "autoprune.methods.synflow:SYNFLOW",
        "static": "autoprune.methods.static:STATIC",
        "set": "autoprune.methods.set:SET",
        "snfs": "autoprune.methods.snfs:SNFS",
        "rigl": "autoprune.methods.rigl:RIGL",
        "sup_tickets": "autoprune.methods.sup_tickets:SUP_TICKETS",
        "gap_cyclic": "autoprune.methods.gap:GAP_CYCLIC",
        "gap_parallel": "autoprune.methods.gap:GAP_PARALLEL",
        "scratch_e": "autoprune.methods.scratch_e:SCRATCH_E",
        "scratch_b": "autoprune.methods.scratch_e:SCRATCH_B",
        "scratch_of": "autoprune.methods.scratch_of:SCRATCH_OF",
        "dropnet": "autoprune.methods.dropnet:DROPNET",
        "i_spasp": "autoprune.methods.i_spasp:I_SPASP",
        "filter_l1": "autoprune.methods.filter_norm:FILTER_L1",
        "filter_l2": "autoprune.methods.filter_norm:FILTER_L2",
        "fpgm": "autoprune.methods.fpgm:FPGM",
        "taylor": "autoprune.methods.taylor:TAYLOR",
        "slimming": "autoprune.methods.slimming:SLIMMING",
        "spline": "autoprune.methods.spline:SPLINE",
        "early_bird": "autoprune.methods.early_bird:EARLY_BIRD",
        "kfac_neuron": "autoprune.methods.kfac_neuron:KFAC_NEURON",
        "lrpet": "autoprune.methods.lrpet:LRPET",
        "dense": "autoprune.methods.dense:DENSE",
    },
)


def lr_schedule(name: str, place: str = "lr") -> type:
    """Return an LR schedule's type: the layers above reach the training registry through here.

    Raises
    ------
    UnknownNameError
        If it is not registered.
    """
    from autoprune.training.registry import LR_SCHEDULES

    return LR_SCHEDULES.get(name, place)


def lr_needs(name: str) -> frozenset[Need]:
    """Return what an LR schedule asks of its trial; third-party ones may leave it out."""
    needs: frozenset[Need] = getattr(lr_schedule(name), "needs", frozenset())
    return needs


def cycle_in_plan(index: int, count: int, sparsity: float, target: float) -> CycleInfo:
    """Return cycle `index` of `count` as a plan knows it.

    Every cycle removes the same share of what remains, down to the sparsity `target`.
    """
    share = 1.0 - (1.0 - target) ** (1.0 / count)
    return CycleInfo(index=index, count=count, sparsity=sparsity, round_share=share)


def lr_within(lr: LRConfig, cycle: CycleInfo) -> LRConfig:
    """Return what an LR schedule is within one cycle, for schedules that can say."""
    schedule: Any = parse(lr_schedule(lr.name), lr.params, f"lr.{lr.name}")
    narrowed = getattr(schedule, "narrowed", None)
    return lr if narrowed is None else narrowed(cycle)


def suits(method: Method, schedule: str) -> bool:
    """Whether a method can be trained with an LR schedule, as far as its start decides it."""
    return method.start == "dense" or Need.TRAINED_START not in lr_needs(schedule)


def complete(config: TrialConfig, place: str = "trial") -> TrialConfig:
    """Check a trial's names and parameters, and fill in the defaults of what it leaves out.

    Raises
    ------
    UnknownNameError
        If the method, an LR schedule, the allocation or another part is not registered.
    ConfigError
        If a parameter breaks its rule, the dense run's schedule takes no peak or not this one, the
        method cannot reach the sparsity, or it starts from fresh weights where the LR schedule
        goes on from trained ones.
    """
    from dataclasses import asdict, replace

    from autoprune.methods.reach import out_of_reach
    from autoprune.training.registry import LR_SCHEDULES

    method = METHODS.get(config.method, f"{place}.method")
    params: Any = parse(method.params, config.params, f"{place}.{config.method}")
    schedule = LR_SCHEDULES.get(config.lr.name, f"{place}.lr")
    lr_params: Any = parse(schedule, config.lr.params, f"{place}.lr.{config.lr.name}")
    full = replace(
        config,
        params=asdict(params),
        lr=LRConfig(name=config.lr.name, params=asdict(lr_params)),
    )
    _check_parts(full, place)
    if not suits(method, config.lr.name):
        raise ConfigError(
            f"{place}.lr",
            f"must not be {config.lr.name!r} for method {config.method!r}, which starts from "
            "fresh weights where the schedule goes on from trained ones",
            remedy="choose another schedule, such as linear or llr",
        )
    low, high = method.reaches(params)
    if config.method != "dense" and not low <= config.sparsity <= high:
        raise out_of_reach(full, low, high, place)
    if config.of not in method.measures:
        rule = f"must be {' or '.join(sorted(method.measures))} for method {config.method!r}"
        remedy = "give a sparsity (--sparsity, or targets without `of`), not a share of the MACs"
        raise ConfigError(f"{place}.of", rule, config.of, remedy)
    method.check(full, params)
    return full


def dense_reference(config: TrialConfig, place: str = "trial") -> TrialConfig:
    """Return the dense net of a trial's task and dense run, as a trial of its own."""
    dense = TrialConfig(task=config.task, train=config.train, method="dense", sparsity=0.0)
    return complete(dense, place)


def _check_parts(config: TrialConfig, place: str) -> None:
    """Refuse parts that are not registered, and a dense run whose schedule takes no peak."""
    from dataclasses import fields

    from autoprune.pruning.allocations.spec import check_allocation
    from autoprune.pruning.granularities.spec import check_granularity
    from autoprune.pruning.registry import SPARSITY_SCHEDULES

    checks = {
        "allocation": check_allocation,
        "granularity": check_granularity,
        "schedule": SPARSITY_SCHEDULES.check,
    }
    for name, check in checks.items():
        if name in config.params:
            check(str(config.params[name]), f"{place}.{config.method}.{name}")
    dense: Any = lr_schedule(config.train.schedule, "train.schedule")
    if "peak" not in {field.name for field in fields(dense)}:
        raise ConfigError(
            "train.schedule",
            "must be a schedule with a peak, which train.lr is",
            config.train.schedule,
            "such as linear, cosine or step",
        )
    parse(dense, {"peak": config.train.lr}, "train.schedule")
