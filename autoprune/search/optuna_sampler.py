"""Optuna's side of the samplers: ours as an Optuna sampler, and Optuna's TPE as one of ours.

Importing this imports Optuna, which takes a while; the engine does so for ``--sampler tpe`` only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from autoprune.core.records import TaskInfo
from autoprune.core.seeds import numpy_stream
from autoprune.search.sampler import Forest, Observation, Question, forest, uniform
from autoprune.search.targets import target, within
from autoprune.space import Space
from autoprune.space.dimensions import Choice, Dimension, Flat

TARGET = "sparsity"
_CHOSEN = "autoprune:chosen"
NUM_NEAREST = 30
NUM_ASKED = 24
RANDOM_PER_METHOD = 2


def suggest(trial: Trial, space: Space) -> tuple[Flat, float]:
    """Ask a trial for a proposal and its target: use it in your objective.

    Parameters
    ----------
    trial : optuna.Trial
        Of any study; with `ForestSampler` the configuration is chosen as a whole.
    space : Space
        The search space.

    Returns
    -------
    dict, float
        A flat proposal and a sparsity, for `Space.config`. The target may have to be moved into
        what the method reaches (`autoprune.search.targets.within`); with `ForestSampler` it has
        been.
    """
    sparsity = trial.suggest_float(TARGET, space.targets.low, space.targets.high)
    return _ask(trial, space, space.methods), sparsity


def _ask(trial: Trial, space: Space, methods: Sequence[str]) -> Flat:
    flat: Flat = {"method": trial.suggest_categorical("method", list(methods))}
    allowed = list(space.schedules[str(flat["method"])])
    flat["lr"] = trial.suggest_categorical(_lr_name(space, str(flat["method"])), allowed)
    for dimension in space.dimensions[2:]:
        if space.active(dimension, flat):
            flat[dimension.path] = _suggest(trial, dimension)
    return flat


def _lr_name(space: Space, method: str) -> str:
    """Name the schedule's parameter; Optuna wants the same choices under the same name."""
    return "lr" if len(set(space.schedules.values())) == 1 else f"lr of {method}"


def _suggest(trial: Trial, dimension: Dimension) -> Any:
    found = distribution(dimension)
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(dimension.path, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(
            dimension.path, found.low, found.high, step=found.step, log=found.log
        )
    return trial.suggest_float(
        dimension.path, found.low, found.high, step=found.step, log=found.log
    )


def distribution(dimension: Dimension) -> BaseDistribution:
    """Return a dimension as Optuna's distribution."""
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.integer:
        low, high = int(dimension.low), int(dimension.high)
        return IntDistribution(low, high, log=dimension.log, step=int(dimension.step or 1))
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _distributions(space: Space, flat: Flat, methods: Sequence[str]) -> dict[str, BaseDistribution]:
    """Return the distributions of a proposal's parameters, under the names `_ask` uses."""
    by_path = {d.path: d for d in space.dimensions[2:]}
    method = str(flat["method"])
    return {
        "method": CategoricalDistribution(list(methods)),
        _lr_name(space, method): CategoricalDistribution(list(space.schedules[method])),
        **{path: distribution(by_path[path]) for path in flat if path in by_path},
    }


def _named(space: Space, flat: Flat) -> Flat:
    """Return a proposal under Optuna's parameter names."""
    name = _lr_name(space, str(flat["method"]))
    return {name if path == "lr" else path: value for path, value in flat.items()}


def _flat(space: Space, params: dict[str, Any]) -> Flat:
    """Return the proposal that a trial's parameters hold."""
    name = _lr_name(space, str(params["method"]))
    return {"lr" if k == name else k: v for k, v in params.items() if k != TARGET}


class ForestSampler(BaseSampler):  # type: ignore[misc] # mypy does not follow Optuna
    """The forest sampler for an Optuna study of one objective, the error (minimised).

    It takes targets from the golden-ratio sequence, chooses the whole configuration for each (at
    random for two trials per method), and hands its values out as the objective asks (`suggest`).
    Parameters it did not choose are drawn at random.

    Parameters
    ----------
    space : Space
        The search space.
    seed : int
        Root of its random stream.
    factor : float
        Weight of the uncertainty, see `Question.factor`.
    info : TaskInfo, optional
        The task, so that targets stay within what its model lets a method reach.

    Examples
    --------
    >>> from autoprune.space import load_space
    >>> space = load_space("digits")
    >>> study = optuna.create_study(sampler=ForestSampler(space, seed=0))
    >>> trial = study.ask()
    >>> flat, sparsity = suggest(trial, space)
    >>> config = space.config(flat, sparsity)
    """

    def __init__(
        self, space: Space, seed: int = 0, factor: float = 1.0, info: TaskInfo | None = None
    ) -> None:
        self.space, self.seed, self.factor, self.info = space, seed, factor, info
        self._cache: dict[int, Forest] = {}
        self._fallback = optuna.samplers.RandomSampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Choose the target and the whole configuration."""
        wanted = target(trial.number, self.space.targets)
        methods = self.space.methods
        first = trial.number < RANDOM_PER_METHOD * len(methods)
        question = Question(
            self.space,
            self._observations(study),
            math.log10(1.0 - wanted),
            (methods[trial.number % len(methods)],) if first else methods,
            self.factor,
            numpy_stream(self.seed, "optuna", trial.number),
            self.seed,
        )
        flat = next(uniform(question) if first else forest(question, self._cache))
        sparsity = within(wanted, self.space.targets, *self.space.reaches(flat, self.info))
        chosen = {**_named(self.space, flat), TARGET: sparsity}
        study._storage.set_trial_system_attr(trial._trial_id, _CHOSEN, chosen)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Leave everything to `sample_independent`."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing, as nothing was asked."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Hand out a value of the configuration that was chosen."""
        chosen = trial.system_attrs[_CHOSEN]
        if param_name in chosen:
            return chosen[param_name]
        return self._fallback.sample_independent(study, trial, param_name, param_distribution)

    def _observations(self, study: optuna.Study) -> list[Observation]:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        found = []
        for trial in done:
            flat = _flat(self.space, trial.params)
            row = tuple(self.space.encode(flat))
            density = math.log10(1.0 - trial.params[TARGET])
            loss = math.log(max(float(trial.value), 1e-6))
            found.append(Observation(flat, row, density, self.space.top, loss))
        return found


def tpe(question: Question) -> Iterator[Flat]:
    """Propose with Optuna's TPE, told the 30 records nearest in log density.

    Several objectives do not condition it on the target; nearness does.
    """
    space = question.space
    mine = [o for o in question.seen if o.flat["method"] in question.methods]
    near = sorted(mine, key=lambda o: abs(o.log_density - question.log_density))[:NUM_NEAREST]
    sampler = TPESampler(seed=int(question.rng.integers(2**31)), n_startup_trials=5)
    study = _quiet_study(sampler)
    for seen in near:
        study.add_trial(
            optuna.create_trial(
                params=_named(space, seen.flat),
                distributions=_distributions(space, seen.flat, question.methods),
                value=seen.loss,
            )
        )
    for _ in range(NUM_ASKED):
        yield _ask(study.ask(), space, question.methods)


def _quiet_study(sampler: BaseSampler) -> optuna.Study:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=sampler)
    finally:
        optuna.logging.set_verbosity(level)
