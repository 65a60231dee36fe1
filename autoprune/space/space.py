"""A search space: flat proposals, and the trials they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass as checked

from autoprune.core.canonical import digest, plain
from autoprune.core.config import (
    STRICT,
    LRConfig,
    RecipeConfig,
    Sparsity,
    TaskConfig,
    TrainConfig,
    TrialConfig,
    named_task,
    parse,
)
from autoprune.core.errors import ConfigError
from autoprune.core.records import TaskInfo
from autoprune.methods.base import METHODS, Kind, Method, complete
from autoprune.methods.reach import kind_with, reach_on
from autoprune.space.dimensions import Choice, Dimension, Flat, Value
from autoprune.space.knobs import compose, decompose
from autoprune.space.objectives import Objective


@checked(frozen=True, config=STRICT, kw_only=True)
class Targets:
    """Which sparsities the search asks for.

    Parameters
    ----------
    low, high : float
        Ends of the interval, in [0, 1); 0.5 and 0.99 unless said otherwise.
    always : tuple of float
        Targets that are visited first and again and again; 0.9 and 0.95 unless said otherwise.
    of : str
        ``weights``, or ``macs`` when the targets are shares of the dense multiply-adds.
    """

    low: Sparsity = 0.5
    high: Sparsity = 0.99
    always: tuple[Sparsity, ...] = (0.9, 0.95)
    of: Literal["weights", "macs"] = "weights"


@checked(frozen=True, config=STRICT, kw_only=True)
class Fidelity:
    """The rungs: total retraining epochs of a trial, least first; 1, 3 and 9 by default."""

    epochs: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1, 3, 9)


@dataclass(frozen=True)
class Space:
    """What a search may try.

    Parameters
    ----------
    name : str
        Name of the space, and of its studies unless said otherwise.
    task : TaskConfig
        The data and the model.
    objectives : tuple of str
        ``accuracy`` first, then what it is traded against.
    targets : Targets
        The sparsities to ask for.
    rungs : tuple of int
        Retraining epochs, least first.
    dimensions : tuple
        What is drawn; ``method`` and ``lr`` first.
    fixed : dict
        What is not drawn, by path.
    schedules : dict
        Method to the LR schedules it may be drawn with.
    raw : dict
        What the file says, with a replaced task and objectives filled in.
    left_out : dict
        Methods of the file that `with_objectives` left out, each with the reason.
    """

    name: str
    task: TaskConfig
    objectives: tuple[Objective, ...]
    targets: Targets
    rungs: tuple[int, ...]
    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Value]
    schedules: Mapping[str, tuple[str, ...]]
    raw: Mapping[str, Any] = field(repr=False)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def top(self) -> int:
        """Retraining epochs of the top rung."""
        return self.rungs[-1]

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods, in the order of the file."""
        return tuple(self.schedules)

    @cached_property
    def sha256(self) -> str:
        """Hash of everything the space says; the task by what it holds, not where it lies."""
        content: dict[str, Any] = plain(dict(self.raw))
        task = named_task(content.get("task") or {})
        task.pop("data_dir", None)
        if task.get("task_sha256"):
            task.pop("task_file", None)
        if task.get("checkpoint_sha256"):
            task.pop("checkpoint", None)
        return digest({**content, "task": task})

    @cached_property
    def width(self) -> int:
        """Columns of `encode`."""
        return sum(dimension.width for dimension in self.dimensions)

    def with_task(self, task: TaskConfig) -> Space:
        """Return the space with another task."""
        return replace(self, task=task, raw={**self.raw, "task": plain(task)})

    def with_knobs_at_most(self, most: int) -> Space:
        """Return the space without the knobs of an allocation whose number is above `most`."""
        kept = tuple(
            d
            for d in self.dimensions
            if not (number := d.path.rpartition(".")[2]).isdigit() or int(number) <= most
        )
        return self if kept == tuple(self.dimensions) else replace(self, dimensions=kept)

    def with_objectives(self, objectives: Sequence[str], place: str = "objectives") -> Space:
        """Return the space with other objectives; methods that cannot target them are left out.

        Raises
        ------
        ConfigError
            If they do not start with accuracy, repeat, or are unknown, or no method is left.
        """
        from autoprune.space.grammar import parse_space

        raw = {**self.raw, "objectives": list(objectives), "task": plain(self.task)}
        left_out: dict[str, str] = {}
        if list(objectives[1:2]) == ["macs"]:
            methods = dict(self.raw["method"])
            unfit = [name for name in methods if "macs" not in METHODS.get(name).measures]
            left_out = dict.fromkeys(unfit, "cannot be asked for a share of the MACs")
            raw["method"] = {name: spec for name, spec in methods.items() if name not in unfit}
            if not raw["method"]:
                raise ConfigError(
                    place,
                    f"must leave a method that can be asked for a share of the MACs; {self.name!r} "
                    "holds none",
                    ",".join(objectives),
                    "put sparsity before macs, or add a method of kind units",
                )
        return replace(parse_space(raw, place), left_out=left_out)

    def active(self, dimension: Dimension, flat: Flat) -> bool:
        """Whether a dimension exists in a proposal."""
        return dimension.when is None or flat.get(dimension.when[0]) == dimension.when[1]

    def random(self, rng: np.random.Generator, methods: Sequence[str] | None = None) -> Flat:
        """Draw a proposal, every method (of `methods`, when given) being equally likely."""
        names = tuple(methods or self.methods)
        method = names[int(rng.integers(len(names)))]
        return self._filled({"method": method}, rng)

    def mutate(
        self, flat: Flat, rng: np.random.Generator, methods: Sequence[str] | None = None
    ) -> Flat:
        """Change one dimension of a proposal, sometimes a few, and repair what depends on it."""
        names = tuple(methods or self.methods)
        changed = dict(flat)
        if changed["method"] not in names:
            return self.random(rng, names)
        present = [
            d for d in self.dimensions if d.path in changed and self._free(d, changed, names)
        ]
        count = min(len(present), int(rng.geometric(0.6)))
        for index in rng.permutation(len(present))[:count]:
            dimension = present[index]
            changed[dimension.path] = self._neighbour(dimension, changed, names, rng)
        return self._filled(changed, rng)

    def config(self, flat: Flat, sparsity: float) -> TrialConfig:
        """Return the trial a proposal stands for, completed with every default.

        Raises
        ------
        ConfigError
            If the method cannot reach the sparsity or refuses a combination.
        """
        method, schedule = str(flat["method"]), str(flat["lr"])
        config = TrialConfig(
            task=self.task,
            train=parse(TrainConfig, self._section("train", flat), "train"),
            method=method,
            params=self._section(f"method.{method}", flat),
            sparsity=sparsity,
            of=self.targets.of,
            lr=LRConfig(name=schedule, params=self._section(f"lr.{schedule}", flat)),
            recipe=parse(RecipeConfig, self._section("recipe", flat), "recipe"),
        )
        return complete(config, self.name)

    def flatten(self, config: TrialConfig) -> Flat:
        """Return the proposal that gives a configuration: what `config` undoes."""
        flat: Flat = {"method": config.method, "lr": config.lr.name}
        for dimension in self.dimensions:
            if dimension.path in flat or not self.active(dimension, flat):
                continue
            section, *rest = dimension.path.split(".")
            if section == "method":
                flat[dimension.path] = decompose(dimension, config.params, rest[1:])
            elif section == "lr":
                flat[dimension.path] = config.lr.params[rest[-1]]
            else:
                flat[dimension.path] = getattr(getattr(config, section), rest[-1])
        return flat

    def encode(self, flat: Flat) -> list[float]:
        """Encode a proposal: choices one-hot with absence as a value, ranges (in log) on [0, 1].

        Returns
        -------
        list of float
            `width` numbers.
        """
        row: list[float] = []
        for dimension in self.dimensions:
            absent = dimension.path not in flat
            row += dimension.columns(None if absent else flat[dimension.path], absent)
        return row

    def reaches(self, flat: Flat, info: TaskInfo | None = None) -> tuple[float, float]:
        """Return the least and greatest target the proposal's method can be asked for.

        With `info`, on that model.
        """
        method, params = self.method(flat), self._params(flat)
        if info is not None:
            return reach_on(method, params, info, self.targets.of)
        low, high = method.reaches(params)
        return low, high

    def kind(self, flat: Flat) -> Kind:
        """Return what the proposal's method removes."""
        return kind_with(self.method(flat), self._params(flat))

    def _params(self, flat: Flat) -> Any:
        """Return the proposal's method's parameters, parsed."""
        place = f"method.{flat['method']}"
        return parse(self.method(flat).params, self._section(place, flat), place)

    def method(self, flat: Flat) -> Method:
        """Return the proposal's method."""
        return METHODS.get(str(flat["method"]))

    def middle(self, method: str | None = None, schedule: str | None = None) -> Flat:
        """Return a method's plainest proposal: first choices, and the middle of every range."""
        name = method or self.methods[0]
        flat: Flat = {"method": name, "lr": schedule or self.schedules[name][0]}
        for dimension in self.dimensions:
            if dimension.path not in flat and self.active(dimension, flat):
                first = isinstance(dimension, Choice)
                flat[dimension.path] = dimension.grid()[0 if first else len(dimension.grid()) // 2]
        return flat

    def plainest(self, method: str) -> TrialConfig:
        """Return a method's plainest trial, at the least target it can be asked for."""
        flat = self.middle(method)
        return self.config(flat, max(self.reaches(flat)[0], self.targets.low))

    def base_train(self) -> TrainConfig:
        """Return the dense run of the baselines: the fixed one, or the middle of its ranges."""
        return parse(TrainConfig, self._section("train", self.middle()), "train")

    def _section(self, prefix: str, flat: Flat) -> dict[str, Any]:
        """Collect the fixed and the drawn values under a path."""
        start = len(prefix) + 1
        return compose(
            {
                path[start:]: value
                for group in (self.fixed, flat)
                for path, value in group.items()
                if path.startswith(prefix + ".")
            }
        )

    def _filled(self, flat: Flat, rng: np.random.Generator) -> Flat:
        """Drop what does not exist under the proposal's method, draw what is missing."""
        full: Flat = {"method": flat["method"]}
        allowed = self.schedules[str(flat["method"])]
        old = flat.get("lr")
        full["lr"] = old if old in allowed else allowed[int(rng.integers(len(allowed)))]
        for dimension in self.dimensions[2:]:
            if self.active(dimension, full):
                path = dimension.path
                full[path] = flat[path] if path in flat else dimension.draw(rng)
        return full

    def _options(self, dimension: Dimension, flat: Flat, methods: Sequence[str]) -> Dimension:
        """Narrow the two leading choices to what is allowed."""
        if dimension.path == "method":
            return Choice("method", tuple(methods))
        if dimension.path == "lr":
            return Choice("lr", self.schedules[str(flat["method"])])
        return dimension

    def _free(self, dimension: Dimension, flat: Flat, methods: Sequence[str]) -> bool:
        narrowed = self._options(dimension, flat, methods)
        return not isinstance(narrowed, Choice) or len(narrowed.values) > 1

    def _neighbour(
        self, dimension: Dimension, flat: Flat, methods: Sequence[str], rng: np.random.Generator
    ) -> Value:
        return self._options(dimension, flat, methods).neighbour(flat[dimension.path], rng)
