"""Frozen configurations: parsed once at the edge, hashed, never edited.

A `TrialConfig` says everything about one trial but its seed and its length: a `Job` adds those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from autoprune.core.canonical import digest, plain
from autoprune.core.errors import ConfigError, did_you_mean

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

Sparsity = Annotated[
    float, Field(ge=0.0, lt=1.0, description="fraction of prunable weights removed")
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
Scalar = bool | int | float | str

T = TypeVar("T")


def _ends_plain(share: float) -> float:
    if share >= 1.0:
        raise ValueError("must be less than 1: the last steps train the net that is exported")
    return share


EarlyShare = Annotated[float, Field(ge=0.0), AfterValidator(_ends_plain)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TaskConfig:
    """The data and the model.

    Parameters
    ----------
    data, model : str
        Registry names; both are ignored when `task_file` is given, except as labels.
    width : float
        Width factor of our own models, > 0.
    train_size : int or None
        Use only the first so many training images (of a fixed, class-balanced shuffle).
    label_noise : float
        Falsify about this share of the training labels, in [0, 1); validation and test labels stay
        as they are.
    label_noise_kind, label_noise_seed : str, int
        How they are drawn, and from which seed, whatever a replicate's is; see
        `autoprune.data.noise.noisy_labels`.
    data_dir : str or None
        The only folder looked at for data, when given.
    task_file, task_sha256 : str or None
        A user's Python file and the hash of it and the modules it imports from its folder.
    checkpoint, checkpoint_sha256 : str or None
        Pretrained weights that replace dense training.
    """

    data: str = "digits"
    model: str = "mlp"
    width: Positive = 1.0
    train_size: Annotated[int, Field(ge=1)] | None = None
    augment: Literal["auto", "none"] = "auto"
    label_noise: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    label_noise_kind: Literal["symmetric", "exact", "pairflip"] = "symmetric"
    label_noise_seed: Annotated[int, Field(ge=0)] = 0
    data_dir: str | None = None
    task_file: str | None = None
    task_sha256: str | None = None
    checkpoint: str | None = None
    checkpoint_sha256: str | None = None


_YOUNGER = ("label_noise", "label_noise_kind", "label_noise_seed")
"""Keys of a task that came after trials and studies had names."""


def named_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a task's content goes into names: a younger key only off its default.

    So a key that is added changes no name that was given before.
    """
    defaults = plain(TaskConfig())
    return {k: v for k, v in task.items() if k not in _YOUNGER or v != defaults[k]}


@dataclass(frozen=True, config=STRICT, kw_only=True)
class OptimizerConfig:
    """An optimiser's settings (the learning rate comes from a schedule)."""

    optimizer: Literal["sgd", "adamw"] = "sgd"
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    nesterov: bool = True
    weight_decay: NonNegative = 5e-4
    batch_size: Annotated[int, Field(ge=1)] = 64


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TrainConfig(OptimizerConfig):
    """The shared dense run: `epochs` long, peak learning rate `lr`, shape `schedule`."""

    epochs: Annotated[int, Field(ge=1)] = 20
    lr: Positive = 0.1
    schedule: str = "linear"
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    augment: bool = True


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RecipeConfig:
    """The retraining recipe; ``None`` means as in the dense run.

    Parameters
    ----------
    tost_soft, tost_skip : float
        Shares of each training run, from its start, over which ReLUs are soft and layers have
        ghost skips; 0 for neither.
    tost_rescale : int
        Steps that fit the scale of each tensor of the masked net before each training run.
    """

    optimizer: Literal["sgd", "adamw"] | None = None
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    nesterov: bool | None = None
    weight_decay: NonNegative | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    distill: Share = 0.0
    distill_temperature: Positive = 4.0
    mixup: NonNegative = 0.0
    cutout: Annotated[int, Field(ge=0)] = 0
    ema: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    bn_recalibration: bool = False
    tost_soft: EarlyShare = 0.0
    tost_skip: EarlyShare = 0.0
    tost_rescale: Annotated[int, Field(ge=0)] = 0

    def optimizer_config(self, train: TrainConfig) -> OptimizerConfig:
        """Return the retraining optimiser's settings, those of the dense run where unset."""
        names = ("optimizer", "momentum", "nesterov", "weight_decay", "batch_size")
        own = {name: getattr(self, name) for name in names}
        base = {name: getattr(train, name) for name in names}
        return OptimizerConfig(**{n: base[n] if own[n] is None else own[n] for n in names})


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LRConfig:
    """A retraining learning-rate schedule by registry name, with its parameters."""

    name: str = "linear"
    params: dict[str, Scalar] = field(default_factory=dict)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TrialConfig:
    """One trial: what is done, to what, down to which sparsity.

    Parameters
    ----------
    method : str
        Registry name.
    params : dict
        The method's own parameters, completed with its defaults (so that the hash is unique).
    sparsity : float
        Target fraction of prunable weights removed, in [0, 1); of the dense MACs when `of` is
        ``"macs"``.
    stop_round : int or None
        Stop an iterative trial after so many rounds of the same plan.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    method: str = "magnitude"
    params: dict[str, Scalar] = field(default_factory=dict)
    sparsity: Sparsity = 0.9
    of: Literal["weights", "macs"] = "weights"
    lr: LRConfig = field(default_factory=LRConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    stop_round: Annotated[int, Field(ge=1)] | None = None

    @property
    def trial_id(self) -> str:
        """Ten hexadecimal digits that name this configuration, wherever its files lie."""
        content = plain(self)
        content["task"] = named_task(content["task"])
        for place in ("data_dir", "task_file", "checkpoint"):
            content["task"].pop(place)
        return digest(content)[:10]


def parse(kind: type[T], values: Mapping[str, Any], place: str) -> T:
    """Validate a mapping into a frozen configuration.

    Raises
    ------
    ConfigError
        With the path of the first value that breaks its rule, the rule and the value.
    """
    try:
        # mypy: a type is hashable.
        return cast(T, _adapter(kind).validate_python(dict(values)))  # type: ignore[arg-type]
    except ValidationError as error:
        raise config_error(error, place, kind) from None


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    """Return the validator of a configuration; making one takes longer than using it."""
    return TypeAdapter(kind)


def config_error(error: ValidationError, place: str, kind: Any = None) -> ConfigError:
    """Turn pydantic's first complaint into ours."""
    first = error.errors()[0]
    path = ".".join([place, *map(str, first["loc"])]) if place else ".".join(map(str, first["loc"]))
    if first["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        known = list(getattr(kind, "__dataclass_fields__", {}))
        hint = did_you_mean(str(first["loc"][-1]), known) if known else "it takes no parameters"
        return ConfigError(path, "is not a known key", remedy=hint)
    rule = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    return ConfigError(path, rule[0].lower() + rule[1:], first["input"])
