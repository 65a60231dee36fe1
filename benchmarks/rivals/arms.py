"""The arms: who asks what next, told nothing but validation numbers."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Protocol

from autoprune.core.errors import BadInput
from autoprune.core.seeds import numpy_stream, stream_seed
from autoprune.search import targets
from autoprune.space.dimensions import Flat
from benchmarks.rivals.evaluate import Ask, Bench, Evaluation

ETA = 3


class Arm(Protocol):
    """Something that searches."""

    def ask(self) -> Ask | None:
        """Return the next question; None when there is none left."""
        ...

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Take in the answer to the last question."""
        ...


@dataclass(frozen=True)
class ArmSpec:
    """An arm by name.

    Parameters
    ----------
    name, words : str
        What the log and what the page call it.
    make : Callable
        A bench, the run's seed and its budget in epochs to the arm.
    role : str
        ``ours``, ``rival`` or ``ablation``.
    needs : str
        A module that has to be installed; empty for none.
    """

    name: str
    words: str
    make: Callable[[Bench, int, float], Arm]
    role: str
    needs: str = ""

    @cached_property
    def missing(self) -> bool:
        """Whether a library that it needs is not installed."""
        return bool(self.needs) and importlib.util.find_spec(self.needs) is None


def question(bench: Bench, flat: Flat, target: float, epochs: int, **rest: Any) -> Ask:
    """Return a proposal as a question, its target moved into what the method reaches."""
    space = bench.space
    try:
        sparsity = targets.within(target, space.targets, *space.reaches(flat, bench.info))
        return Ask(space.config(flat, sparsity), epochs, target, **rest)
    except (BadInput, ValueError) as error:
        return Ask(None, epochs, target, refusal=str(error), **rest)


class Random:
    """Configurations at random, each trained in full.

    Parameters
    ----------
    spread : bool
        Take targets from the golden-ratio sequence; else at random, even in the log density.
    """

    def __init__(self, bench: Bench, seed: int, *, spread: bool) -> None:
        self.bench, self.spread, self.number = bench, spread, 0
        self.rng = numpy_stream(seed, "rivals", "random_spread" if spread else "random")

    def ask(self) -> Ask:
        """Draw."""
        flat, target = self.draw()
        return question(self.bench, flat, target, self.bench.space.top)

    def draw(self) -> tuple[Flat, float]:
        """Return a proposal and a target."""
        space = self.bench.space
        flat = space.random(self.rng)
        low, high = space.targets.low, space.targets.high
        drawn = targets.at(float(self.rng.random()), low, high)
        wanted = targets.target(self.number, space.targets) if self.spread else drawn
        self.number += 1
        return flat, wanted

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Learn nothing."""


class _InLogDensity:
    """A trial whose sparsity is drawn evenly in the log density.

    Optuna's TPE would draw it evenly in the sparsity otherwise: a fifth of its first trials above
    90 %, where half of the dominated area lies. The other arms have it in the log density.
    """

    def __init__(self, trial: Any, name: str) -> None:
        self._trial, self._name = trial, name

    def suggest_float(self, name: str, low: float, high: float, **rest: Any) -> float:
        if name != self._name:
            value: float = self._trial.suggest_float(name, low, high, **rest)
            return value
        ends = math.log10(1.0 - high), math.log10(1.0 - low)
        return round(1.0 - float(10.0 ** self._trial.suggest_float("log10_density", *ends)), 4)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)


class Tpe:
    """Optuna's TPE for several objectives, each trial in full.

    Parameters
    ----------
    options : dict
        Of `optuna.samplers.TPESampler`. With ``multivariate`` and ``group`` it is in the form
        that Optuna's documentation gives for conditional spaces; without, it is as it ships.
    """

    def __init__(self, bench: Bench, seed: int, **options: Any) -> None:
        import warnings

        import optuna

        self.bench = bench
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                seed=stream_seed(seed, "rivals", "tpe") % 2**32, **options
            )
        self.study = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)

    def ask(self) -> Ask:
        """Ask Optuna."""
        from autoprune.search.optuna_sampler import TARGET, suggest

        trial = self.study.ask()
        seen: Any = _InLogDensity(trial, TARGET)
        flat, target = suggest(seen, self.bench.space)
        return question(self.bench, flat, target, self.bench.space.top, key=trial)

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Tell Optuna; what was refused is a failed trial."""
        from optuna.trial import TrialState

        if evaluation.status == "refused":
            self.study.tell(ask.key, state=TrialState.FAIL)
        else:
            self.study.tell(ask.key, evaluation.costs())


class Asha:
    """Ray Tune's own ASHA on accuracy, over random configurations and targets, one at a time.

    The scheduler object decides; trials are stand-ins that carry a name. Schedules are cut, as
    with Tune a trial runs one long schedule and is stopped: one that goes on pays for the further
    epochs only.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler

        self.bench, self.random = bench, Random(bench, seed, spread=False)
        self.random.rng = numpy_stream(seed, "rivals", "asha")
        rungs = bench.space.rungs
        self.scheduler = AsyncHyperBandScheduler(
            time_attr="epochs",
            metric="accuracy",
            mode="max",
            grace_period=rungs[0],
            reduction_factor=ETA,
            max_t=rungs[-1],
        )
        self.following: Ask | None = None
        self.number = 0

    def ask(self) -> Ask:
        """Go on with the trial in hand, or start another."""
        if self.following is not None:
            return self.following
        flat, target = self.random.draw()
        trial = SimpleNamespace(trial_id=f"{self.number:05d}")
        self.number += 1
        self.scheduler.on_trial_add(None, trial)
        rung = self.bench.space.rungs[0]
        return question(self.bench, flat, target, rung, cut=True, key=trial)

    def tell(self, ask: Ask, evaluation: Evaluation) -> None:
        """Report to the scheduler, which says whether the trial goes on."""
        self.following = None
        if evaluation.result is None:
            return
        accuracy = 1.0 - evaluation.costs()[0]
        report = {"epochs": evaluation.epochs, "accuracy": accuracy}
        action = self.scheduler.on_trial_result(None, ask.key, report)
        higher = [rung for rung in self.bench.space.rungs if rung > evaluation.epochs]
        if evaluation.usable and action == self.scheduler.CONTINUE and higher:
            self.following = Ask(
                ask.config, higher[0], ask.target, cut=True, before=ask, key=ask.key
            )
