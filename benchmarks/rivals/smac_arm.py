"""SMAC3: several objectives, Hyperband, conditions; asked and told."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

from autoprune.core.seeds import stream_seed
from autoprune.space import Space
from autoprune.space.dimensions import Choice, Dimension, Flat, Range
from benchmarks.rivals.arms import ETA, question
from benchmarks.rivals.evaluate import Ask, Bench, Evaluation

DENSITY = "log10_density"
LEADING = ("method", "lr")
"""Choices that go by their values; all others go by the places of theirs."""


class Smac:
    """SMAC3's multi-fidelity facade.

    Parameters
    ----------
    cut : bool
        Cut schedules at the lower rungs, as a target function does that stops training at its
        budget; else compressed ones. SMAC takes up no earlier training, so every rung is charged
        in full, but for the stages that the run asked for before.
    epochs : float
        The budget, from which the number of trials follows that SMAC sizes its initial design by.
    """

    def __init__(self, bench: Bench, seed: int, epochs: float, *, cut: bool) -> None:
        from smac import MultiFidelityFacade, Scenario
        from smac.multi_objective.parego import ParEGO

        self.bench, self.cut = bench, cut
        rungs = bench.space.rungs
        # SMAC keeps no files that we read; an own folder keeps it from finding those of others.
        self._folder = tempfile.TemporaryDirectory(prefix="rivals-smac-")
        scenario = Scenario(
            config_space(bench.space),
            output_directory=Path(self._folder.name),
            deterministic=True,
            objectives=["error", DENSITY],
            n_trials=num_trials(epochs, rungs),
            min_budget=rungs[0],
            max_budget=rungs[-1],
            seed=stream_seed(seed, "rivals", "smac") % 2**31,
        )
        facade: Any = MultiFidelityFacade
        self.facade = facade(
            scenario,
            _never_called,
            intensifier=facade.get_intensifier(
                scenario, eta=ETA, incumbent_selection="highest_budget"
            ),
            multi_objective_algorithm=ParEGO(scenario),
            logging_level=False,
            overwrite=True,
        )

    def ask(self) -> Ask | None:
        """Ask SMAC."""
        try:
            info = self.facade.ask()
        except StopIteration:
            return None
        flat, target = read(self.bench.space, dict(info.config))
        rungs = self.bench.space.rungs
        rung = min(rungs, key=lambda epochs: abs(epochs - info.budget))
        note = {"budget": float(info.budget), "origin": info.config.origin or ""}
        return question(
            self.bench, flat, target, rung, cut=self.cut and rung < rungs[-1], key=info, note=note
        )

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Tell SMAC; what was refused has crashed."""
        from smac.runhistory.dataclasses import TrialValue
        from smac.runhistory.enumerations import StatusType

        refused = evaluation.status == "refused"
        status = StatusType.CRASHED if refused else StatusType.SUCCESS
        costs = list(evaluation.costs())
        self.facade.tell(ask.key, TrialValue(cost=costs, status=status), save=False)


def _never_called(config: Any, seed: int = 0, budget: float = 0.0) -> dict[str, float]:
    raise AssertionError("SMAC is asked and told")


def num_trials(epochs: float, rungs: tuple[int, ...]) -> int:
    """Return how many trials Hyperband makes of so many epochs, every bracket in turn.

    With rungs 1, 3 and 9 a turn is 22 trials in 78 epochs.

    Examples
    --------
    >>> num_trials(78, (1, 3, 9))
    22
    """
    top = len(rungs) - 1
    trials, spent = 0, 0.0
    for bracket in range(top + 1):
        last = top - bracket
        count = math.ceil(ETA**last * (top + 1) / (last + 1))
        for stage in range(last + 1):
            kept = count // ETA**stage
            trials += kept
            spent += kept * rungs[bracket + stage]
    return max(1, round(epochs * trials / spent))


def config_space(space: Space) -> Any:
    """Return a space as ConfigSpace's, conditions included.

    The schedule is one parameter of all methods; a method and a schedule that it is never drawn
    with are forbidden together.
    """
    import ConfigSpace as cs  # noqa: N813 - its own short name

    found = cs.ConfigurationSpace()
    ends = math.log10(1.0 - space.targets.high), math.log10(1.0 - space.targets.low)
    choices = {d.path: d.values for d in space.dimensions if isinstance(d, Choice)}
    parents: dict[str, Any] = {
        "method": cs.CategoricalHyperparameter("method", list(space.methods)),
        "lr": cs.CategoricalHyperparameter("lr", list(choices["lr"])),
    }
    found.add([cs.UniformFloatHyperparameter(DENSITY, *ends), *parents.values()])
    for dimension in space.dimensions[2:]:
        child = parents[dimension.path] = _parameter(cs, dimension)
        found.add(child)
        if dimension.when is not None:
            parent, value = dimension.when
            if parent not in LEADING:
                value = str(choices[parent].index(value))
            found.add(cs.EqualsCondition(child, parents[parent], value))
    for name, allowed in space.schedules.items():
        others = [value for value in choices["lr"] if value not in allowed]
        if others:
            found.add(
                cs.ForbiddenAndConjunction(
                    cs.ForbiddenEqualsClause(parents["method"], name),
                    cs.ForbiddenInClause(parents["lr"], others),
                )
            )
    return found


def _parameter(cs: Any, dimension: Dimension) -> Any:
    """Return a dimension as a parameter; a choice by the places of its values, as text."""
    if isinstance(dimension, Choice):
        return cs.CategoricalHyperparameter(
            dimension.path, [str(place) for place in range(len(dimension.values))]
        )
    kind = cs.UniformIntegerHyperparameter if dimension.integer else cs.UniformFloatHyperparameter
    return kind(dimension.path, dimension.low, dimension.high, log=dimension.log)


def read(space: Space, values: dict[str, Any]) -> tuple[Flat, float]:
    """Return SMAC's configuration as a proposal and a sparsity."""
    flat: Flat = {"method": str(values["method"]), "lr": str(values["lr"])}
    for dimension in space.dimensions[2:]:
        if dimension.path in values:
            flat[dimension.path] = _value(dimension, values[dimension.path])
    return flat, round(1.0 - 10.0 ** float(values[DENSITY]), 4)


def _value(dimension: Dimension, value: Any) -> Any:
    if isinstance(dimension, Range):
        return dimension.from_unit(dimension.to_unit(float(value)))
    return dimension.values[int(value)]
