from __future__ import annotations

import math
import warnings
from itertools import islice

import numpy as np
import optuna
import pytest

from autoprune.search.optuna_sampler import ForestSampler, distribution, suggest, tpe
from autoprune.search.sampler import Question
from autoprune.search.targets import target
from autoprune.space import load_space, parse_space
from autoprune.space.dimensions import Choice, Range
from tests.search.support import INFO, best_peak, small_space, surface
from tests.search.test_sampler import observe

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_users_study_gets_whole_configurations_along_the_target_sequence() -> None:
    space = load_space("digits")
    study = optuna.create_study(sampler=ForestSampler(space, seed=3))
    for number in range(12):
        trial = study.ask()
        flat, sparsity = suggest(trial, space)
        config = space.config(flat, sparsity)
        assert sparsity == target(number, space.targets)
        assert space.flatten(config) == flat
        study.tell(trial, 1.0 - surface(config, 9, 0)["val_accuracy"])


def test_it_learns_in_an_ordinary_optimisation() -> None:
    space = small_space()

    def objective(trial: optuna.Trial) -> float:
        flat, sparsity = suggest(trial, space)
        return 1.0 - surface(space.config(flat, sparsity), 9, 0)["val_accuracy"]

    def regret(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=70)
        found = []
        for trial in study.trials[45:]:
            sparsity = trial.params["sparsity"]
            peak = min(max(best_peak(math.log10(1 - sparsity)), 0.01), 0.5)
            best = {"method": "imp", "lr": "linear", "lr.linear.peak": peak}
            least = 1.0 - surface(space.config(best, sparsity), 9, 0)["val_accuracy"]
            found.append(math.log(trial.value / least))
        return float(np.mean(found))

    learned = regret(ForestSampler(space, seed=0))
    assert learned < 0.6 * regret(optuna.samplers.RandomSampler(seed=0))


def test_other_parameters_are_drawn() -> None:
    study = optuna.create_study(sampler=ForestSampler(small_space(), seed=0))
    found = {study.ask().suggest_int("mine", 0, 3) for _ in range(30)}
    assert found == {0, 1, 2, 3}


def test_tpe_proposes_valid_configurations_of_the_methods_asked_for() -> None:
    space = parse_space(
        {
            "task": {"data": "digits", "model": "mlp"},
            "method": {"magnitude": {}, "imp": {"lr": ["silo"]}, "snip": {}},
            "lr": {"linear": {"peak": {"low": 0.01, "high": 0.5, "log": True}}},
        }
    )
    question = Question(
        space, observe(space, 40), -1.0, ("imp", "snip"), 1.0, np.random.default_rng(0)
    )
    found = list(islice(tpe(question), 10))
    assert len(found) == 10
    for flat in found:
        assert flat["method"] in ("imp", "snip")
        assert space.flatten(space.config(flat, 0.9)) == flat


def test_dimensions_as_distributions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert distribution(Choice("x", ("a", 1))) == optuna.distributions.CategoricalDistribution(
            ("a", 1)
        )
        assert distribution(
            Range("x", 0.1, 1.0, log=True)
        ) == optuna.distributions.FloatDistribution(0.1, 1.0, log=True)
        assert distribution(
            Range("x", 2, 8, step=2, integer=True)
        ) == optuna.distributions.IntDistribution(2, 8, step=2)


@pytest.mark.parametrize("seed", [0, 1])
def test_tpe_is_a_pure_function_of_the_question(seed: int) -> None:
    space = small_space()
    seen = observe(space, 20)

    def asked() -> list[object]:
        rng = np.random.default_rng(seed)
        return list(islice(tpe(Question(space, seen, -1.0, space.methods, 1.0, rng)), 3))

    assert asked() == asked()
    assert INFO.num_val  # the surface needs no task
