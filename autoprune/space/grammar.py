"""The grammar of space files: every key, every name and both ends of every range are checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from autoprune.core.canonical import plain
from autoprune.core.config import RecipeConfig, TaskConfig, TrainConfig, parse
from autoprune.core.errors import BadInput, ConfigError, did_you_mean
from autoprune.methods.base import METHODS, lr_schedule
from autoprune.pruning.allocations.spec import check_allocation
from autoprune.pruning.granularities.spec import check_granularity
from autoprune.space.dimensions import Choice, Dimension, Range, Value
from autoprune.space.files import find_space, read_yaml
from autoprune.space.knobs import read_knobs
from autoprune.space.objectives import OBJECTIVES
from autoprune.space.schedules import expand, read_names, suiting
from autoprune.space.space import Fidelity, Space, Targets

KEYS = (
    "name", "task", "train", "objectives", "targets", "fidelity", "method", "lr", "recipe",
)  # fmt: skip
_SPECS = {"allocation": check_allocation, "granularity": check_granularity}
"""Parameters whose text is more than a registered name, and what refuses a malformed one."""
DEFAULT_LR = {"linear": {"peak": {"low": 0.01, "high": 0.5, "log": True}}}
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class _Section:
    """Where parameters stand, what they belong to, and which of them are fixed."""

    path: str
    place: str
    kind: type
    when: tuple[str, str] | None = None
    scalars: Mapping[str, Any] = field(default_factory=dict)

    def label(self, key: str) -> str:
        return f"{self.place}{self.path}.{key}"


def load_space(path_or_name: str | Path, task: TaskConfig | None = None) -> Space:
    """Read a space file, or a shipped space by name.

    Parameters
    ----------
    path_or_name : str or Path
        A ``.yaml`` file, or a name of `list_spaces`.
    task : TaskConfig, optional
        Replaces the file's task.

    Raises
    ------
    ConfigError, UnknownNameError
        With the file and the path of the key (or the line, for malformed YAML).
    """
    file = find_space(path_or_name)
    return parse_space({"name": file.stem, **read_yaml(file)}, file.name, task)


def parse_space(
    mapping: Mapping[str, Any], place: str = "space", task: TaskConfig | None = None
) -> Space:
    """Build a space from a mapping.

    Only ``task`` and ``method`` are required. The rest defaults to: ``objectives: [accuracy,
    sparsity]``; ``targets: {low: 0.5, high: 0.99, always: [0.9, 0.95], of: weights}`` (``of: macs``
    when macs is an objective); ``fidelity: {epochs: [1, 3, 9]}``; ``lr: {linear: {peak: {low: 0.01,
    high: 0.5, log: true}}}``; ``recipe: {}``; ``train`` as `TrainConfig`.

    Parameters
    ----------
    mapping : dict
        The content of a space file.
    place : str
        What error messages call it.
    task : TaskConfig, optional
        Replaces the mapping's task.

    Raises
    ------
    ConfigError, UnknownNameError
        With the path of the first key that breaks a rule.
    """
    at = f"{place}: "
    _known(mapping, KEYS, at)
    if task is None:
        if mapping.get("task") is None:
            raise ConfigError(f"{at}task", "is required", remedy="name data and model, or --task")
        task = parse(TaskConfig, _mapping(mapping["task"], f"{at}task"), f"{at}task")
    objectives = _objectives(mapping.get("objectives", ["accuracy", "sparsity"]), at)
    fixed: dict[str, Value] = {}
    free: list[Dimension] = []
    schedules = _methods(mapping, at, fixed, free)
    _schedule_params(mapping, at, schedules, fixed, free)
    for key, kind in (("train", TrainConfig), ("recipe", RecipeConfig)):
        section = _Section(key, at, kind)
        _parameters(_mapping(mapping.get(key), f"{at}{key}"), section, fixed, free)
    if "train.schedule" in fixed:
        lr_schedule(str(fixed["train.schedule"]), f"{at}train.schedule")
    names = list(dict.fromkeys(name for allowed in schedules.values() for name in allowed))
    space = Space(
        name=_name(mapping.get("name", "space"), at),
        task=task,
        objectives=objectives,
        targets=_targets(mapping.get("targets"), objectives, at),
        rungs=_rungs(mapping.get("fidelity"), at),
        dimensions=(Choice("method", tuple(schedules)), Choice("lr", tuple(names)), *free),
        fixed=fixed,
        schedules=schedules,
        raw={**plain(dict(mapping)), "task": plain(task)},
    )
    _try_every_value(space, at)
    return space


def _known(mapping: Mapping[str, Any], keys: tuple[str, ...], at: str) -> None:
    for key in mapping:
        if key not in keys:
            raise ConfigError(
                f"{at}{key}", "is not a known key", remedy=did_you_mean(str(key), keys)
            )


def _mapping(value: Any, place: str) -> Mapping[str, Any]:
    """Return a section, empty when nothing stands under its key."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(place, "must hold a mapping of keys to values", value)
    return value


def _name(value: Any, at: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(f"{at}name", "must be letters, digits, '.', '_' and '-'", value)
    return value


def _objectives(value: Any, at: str) -> Any:
    place = f"{at}objectives"
    if not isinstance(value, list) or len(value) < 2 or value[0] != "accuracy":
        raise ConfigError(place, "must be a list that starts with accuracy and goes on", value)
    for name in value:
        if name not in OBJECTIVES:
            remedy = did_you_mean(str(name), OBJECTIVES)
            raise ConfigError(place, "names an unknown objective", name, remedy)
    if len(set(value)) < len(value):
        raise ConfigError(place, "must not repeat an objective", value)
    return tuple(value)


def _targets(value: Any, objectives: tuple[str, ...], at: str) -> Targets:
    default = {"of": "macs"} if objectives[1] == "macs" else {}
    place = f"{at}targets"
    targets = parse(Targets, {**default, **_mapping(value, place)}, place)
    if targets.low >= targets.high:
        raise ConfigError(f"{place}.low", "must be below targets.high", targets.low)
    inside = tuple(named for named in targets.always if targets.low <= named <= targets.high)
    if "always" in _mapping(value, place) and inside != targets.always:
        outside = next(named for named in targets.always if named not in inside)
        raise ConfigError(f"{place}.always", "must lie between targets.low and high", outside)
    return replace(targets, always=inside)


def _rungs(value: Any, at: str) -> tuple[int, ...]:
    place = f"{at}fidelity"
    rungs = parse(Fidelity, _mapping(value, place), place).epochs
    if list(rungs) != sorted(set(rungs)):
        raise ConfigError(f"{place}.epochs", "must rise", list(rungs))
    return rungs


def _methods(
    mapping: Mapping[str, Any], at: str, fixed: dict[str, Value], free: list[Dimension]
) -> dict[str, tuple[str, ...]]:
    """Read ``method``: every method's parameters, and the LR schedules it may be drawn with."""
    place = f"{at}method"
    content = _mapping(mapping.get("method"), place)
    if not content:
        raise ConfigError(place, "is required", remedy="name at least one method under it")
    default = _mapping(mapping.get("lr"), f"{at}lr") or DEFAULT_LR
    schedules: dict[str, tuple[str, ...]] = {}
    for name, below in content.items():
        method = METHODS.get(str(name), place)
        if not method.listed:
            raise ConfigError(f"{place}.{name}", "is a control that is never searched")
        params = dict(_mapping(below, f"{place}.{name}"))
        allowed = params.pop("lr", None)
        if allowed is None:
            schedules[name] = suiting(method, default, at)
        else:
            schedules[name] = read_names(method, allowed, f"{place}.{name}.lr")
        section = _Section(f"method.{name}", at, method.params, ("method", name))
        _parameters(params, section, fixed, free)
    return schedules


def _schedule_params(
    mapping: Mapping[str, Any],
    at: str,
    schedules: Mapping[str, tuple[str, ...]],
    fixed: dict[str, Value],
    free: list[Dimension],
) -> None:
    """Read ``lr``: every schedule's parameters."""
    section = _mapping(mapping.get("lr"), f"{at}lr") or DEFAULT_LR
    content = expand(section, _mapping(mapping.get("method"), f"{at}method"), at)
    used = {name for allowed in schedules.values() for name in allowed}
    for name, below in content.items():
        kind = lr_schedule(str(name), f"{at}lr")
        if name not in used:
            raise ConfigError(f"{at}lr.{name}", "is drawn by no method", remedy="remove it")
        own = _Section(f"lr.{name}", at, kind, ("lr", name))
        _parameters(_mapping(below, f"{at}lr.{name}"), own, fixed, free)


def _parameters(
    content: Mapping[str, Any],
    section: _Section,
    fixed: dict[str, Value],
    free: list[Dimension],
) -> None:
    """Sort the parameters under one path into fixed values and dimensions."""
    known = tuple(getattr(section.kind, "__dataclass_fields__", {}))
    for key in content:
        if key not in known:
            hint = did_you_mean(str(key), known) if known else "it takes no parameters"
            raise ConfigError(section.label(key), "is not a known key", remedy=hint)
    scalars = {k: v for k, v in content.items() if not isinstance(v, (list, Mapping))}
    section = replace(section, scalars=scalars)
    for key, spec in content.items():
        if isinstance(spec, list) or (key == "allocation" and isinstance(spec, Mapping)):
            free += _choice(key, spec if isinstance(spec, list) else [spec], section)
        elif isinstance(spec, Mapping):
            free.append(_range(key, spec, section))
        else:
            fixed[f"{section.path}.{key}"] = _checked(key, spec, section)


def _checked(key: str, value: Any, section: _Section) -> Value:
    """Return a value, beside the fixed ones, as its owner understands it.

    Raises
    ------
    ConfigError
        If the value breaks the owner's rule.
    """
    values = {**section.scalars, key: value}
    parsed: Value = getattr(parse(section.kind, values, section.place + section.path), key)
    if key in _SPECS:
        _SPECS[key](str(parsed), section.label(key))
    return parsed


def _choice(key: str, spec: list[Any], section: _Section) -> list[Dimension]:
    """Read a choice, and the knobs that exist only with some of its values."""
    place, path = section.label(key), f"{section.path}.{key}"
    if not spec:
        raise ConfigError(place, "must offer at least one value", spec)
    values: list[Value] = []
    knobs: list[Range] = []
    for value in spec:
        if key == "allocation" and isinstance(value, Mapping):
            value, own = read_knobs(value, path, place)
            knobs += own
        values.append(_checked(key, value, section))
    if len(set(values)) < len(values):
        raise ConfigError(place, "must not offer a value twice", spec)
    return [Choice(path, tuple(values), section.when), *knobs]


def _range(key: str, spec: Mapping[str, Any], section: _Section) -> Range:
    place = section.label(key)
    for name in spec:
        if name not in {"low", "high", "log", "step"}:
            hint = did_you_mean(str(name), ("low", "high", "log", "step"))
            raise ConfigError(f"{place}.{name}", "is not a known key", remedy=hint)
    low, high = (_number(spec, end, place) for end in ("low", "high"))
    if low >= high:
        raise ConfigError(f"{place}.low", "must be below high", low)
    for end in (low, high):
        _checked(key, end, section)
    log, step = spec.get("log", False), spec.get("step")
    if not isinstance(log, bool):
        raise ConfigError(f"{place}.log", "must be true or false", log)
    if log and low <= 0:
        raise ConfigError(f"{place}.low", "must be above 0 in a log range", low)
    if step is not None:
        step = _number(spec, "step", place)
        if log or not 0 < step <= high - low:
            raise ConfigError(f"{place}.step", "must lie in (0, high - low], without log", step)
    integer = _is_integer(section.kind, key)
    return Range(f"{section.path}.{key}", low, high, log, step, integer, section.when)


def _number(spec: Mapping[str, Any], key: str, place: str) -> float:
    value = spec.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{place}.{key}", "must be a number", value)
    return value


def _is_integer(kind: type, key: str) -> bool:
    """Whether a parameter takes whole numbers only."""
    hint = get_type_hints(kind)[key]
    options = get_args(hint) or (hint,)
    return int in options and float not in options


def _try_every_value(space: Space, at: str) -> None:
    """Build a trial with every choice of every method once, so that a bad combination shows now.

    Raises
    ------
    ConfigError
        If a method reaches none of the targets or refuses a value.
    """
    plainest = space.middle()
    common = {d.path: plainest[d.path] for d in space.dimensions[2:] if d.path in plainest}
    for name, allowed in space.schedules.items():
        own = {d.path: d.grid()[0] for d in space.dimensions if d.when == ("method", name)}
        base = {**{k: v for k, v in common.items() if not k.startswith(("method.", "lr."))}, **own}
        _try(space, {"method": name, "lr": allowed[0], **base}, at)
        for dimension in space.dimensions:
            if dimension.path in own:
                for value in dimension.grid()[1:]:
                    _try(
                        space, {"method": name, "lr": allowed[0], **base, dimension.path: value}, at
                    )


def _try(space: Space, flat: dict[str, Value], at: str) -> None:
    """Build one trial, with the least target it can be asked for, or else the greatest."""
    low, high = space.reaches(flat)
    if low > space.targets.high or high < space.targets.low:
        raise ConfigError(
            f"{at}method.{flat['method']}",
            f"reaches {low:g} to {high:g}, which is none of the targets",
            remedy="widen targets, or leave the method out",
        )
    least, most = max(low, space.targets.low), min(high, space.targets.high)
    try:
        space.config(flat, least)
    except BadInput as error:
        with suppress(BadInput):  # what is refused at one end may be what the other end is for
            space.config(flat, most)
            return
        raise ConfigError(at + error.place, error.rule, error.value, error.remedy) from None
