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

from autoprune.core.config import STRICT, LRConfig, TrialConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.core.registry import Registry

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
    """The one parameter most methods share."""

    allocation: str = "global"


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


@dataclass(frozen=True)
class Parts:
    """The parts of a method that scores, prunes and retrains; declared so that others can wrap it.

    Parameters
    ----------
    score : str
        Score registry name.
    granularity : str
        Granularity registry name.
    rounds : Callable
        The method's parameters to its number of rounds.
    rewind : Callable
        The method's parameters to its rewind policy.
    """

    score: str
    granularity: str = "weight"
    rounds: Callable[[Any], int] = lambda params: int(getattr(params, "rounds", 1))
    rewind: Callable[[Any], str] = lambda params: str(getattr(params, "rewind", "none"))
    schedule: Callable[[Any], str] = lambda params: str(getattr(params, "schedule", "geometric"))


def _ten_steps_a_round(params: Any) -> int:
    return 10 * int(getattr(params, "rounds", 1))


def _nearly_all(params: Any) -> tuple[float, float]:
    return (0.0, 0.999)


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
    measures: frozenset[str] = frozenset({"weights", "macs"})
    regrows: bool = False
    needs_relu: bool = False
    reconstruction: bool = False
    listed: bool = True
    check: Callable[[TrialConfig, Any], None] = lambda config, params: None
    fits: Callable[[TaskInfo, TrialConfig, Any], None] = lambda info, config, params: None
    space: dict[str, Any] = field(default_factory=dict)


Rounds = Annotated[int, Field(ge=1, le=50)]

METHODS: Registry[Method] = Registry(
    "method",
    "autoprune.methods",
    {
        "magnitude": "autoprune.methods.magnitude:MAGNITUDE",
        "random": "autoprune.methods.random:RANDOM",
        "imp": "autoprune.methods.imp:IMP",
        "snip": "autoprune.methods.snip:SNIP",
        "rigl": "autoprune.methods.rigl:RIGL",
        "movement": "autoprune.methods.movement:MOVEMENT",
        "ap": "autoprune.methods.ap:AP",
        "dropnet": "autoprune.methods.dropnet:DROPNET",
        "lrpet": "autoprune.methods.lrpet:LRPET",
        "scratch_e": "autoprune.methods.scratch_e:SCRATCH_E",
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


def complete(config: TrialConfig, place: str = "trial") -> TrialConfig:
    """Check a trial's names and parameters, and fill in the defaults of what it leaves out.

    Raises
    ------
    UnknownNameError
        If the method, an LR schedule, the allocation or another part is not registered.
    ConfigError
        If a parameter breaks its rule, the dense run's schedule has no peak, or the method cannot
        reach the sparsity.
    """
    from dataclasses import asdict, replace

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
    low, high = method.reaches(params)
    if config.method != "dense" and not low <= config.sparsity <= high:
        raise ConfigError(
            f"{place}.sparsity",
            f"must lie in [{low:g}, {high:g}] for method {config.method!r}",
            config.sparsity,
        )
    if config.of not in method.measures:
        allowed = " or ".join(sorted(method.measures))
        raise ConfigError(
            f"{place}.of",
            f"must be {allowed} for method {config.method!r}",
            config.of,
            "give a sparsity (--sparsity, or targets without `of`) instead of a share of the MACs",
        )
    method.check(full, params)
    return full


def _check_parts(config: TrialConfig, place: str) -> None:
    """Refuse parts that are not registered, and a dense run whose schedule takes no peak."""
    from dataclasses import fields

    from autoprune.pruning.registry import ALLOCATIONS, SPARSITY_SCHEDULES

    for name, registry in (("allocation", ALLOCATIONS), ("schedule", SPARSITY_SCHEDULES)):
        if name in config.params:
            registry.check(str(config.params[name]), f"{place}.{config.method}.{name}")
    dense: Any = lr_schedule(config.train.schedule, "train.schedule")
    if "peak" not in {field.name for field in fields(dense)}:
        raise ConfigError(
            "train.schedule",
            "must be a schedule with a peak, which train.lr is",
            config.train.schedule,
            "such as linear, cosine or step",
        )
