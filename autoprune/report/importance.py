"""Which knobs mattered: PED-ANOVA on the recorded trials, with its own noise shown."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.core.config import Scalar
from autoprune.core.seeds import numpy_stream
from autoprune.report.words import knobs

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

MIN_RECORDS = 20
TOP_SHARE = 0.2  # what counts as a good trial: the best fifth, at least four of twenty
SHUFFLES = 19  # beating all of them by chance has probability 1 in 20


@dataclass(frozen=True)
class Knob:
    """One knob's weight.

    Attributes
    ----------
    importance : float
        PED-ANOVA's divergence between the knob's values among the best fifth of the trials and
        among all; 0 is no influence, the scale has no unit.
    chance : float
        The largest value seen when the outcomes are shuffled.
    trials : int
        Trials in which the knob exists.
    best : str
        The values among the best fifth: the most frequent one, or their range.
    """

    name: str
    importance: float
    chance: float
    trials: int
    best: str

    @property
    def matters(self) -> bool:
        """Whether the importance stands out of what shuffled outcomes give."""
        return self.importance > self.chance


def excess_error(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return each record's log error beyond what its density and its length explain, ``(n,)``.

    Notes
    -----
    A monotone (isotonic) fit of log error over log density is subtracted, then the median of
    what remains in each fidelity, so that a trial is not called bad for being sparse or short.
    """
    from sklearn.isotonic import IsotonicRegression

    error = np.log(np.maximum(1 - np.array([r["val_accuracy"] for r in records]), 1e-4))
    depth = -np.log10(np.maximum(1 - np.array([r["sparsity"] for r in records]), 1e-6))
    rest: np.ndarray = error - IsotonicRegression().fit_transform(depth, error)
    epochs = np.array([r.get("epochs") or 0 for r in records])
    for length in np.unique(epochs):
        rest[epochs == length] -= np.median(rest[epochs == length])
    return rest


def _distribution(values: Sequence[Scalar]) -> BaseDistribution:
    """Guess a knob's range from the values that were tried."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    distinct = sorted(set(values), key=str)
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in distinct)
    if not numeric or len(distinct) <= 6:
        return CategoricalDistribution(distinct)
    low, high = min(map(float, distinct)), max(map(float, distinct))
    return FloatDistribution(low, high, log=low > 0 and high / low >= 10)


def _columns(records: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Scalar]], list[str]]:
    """Return each record's knobs, and the names of those that took more than one value."""
    flat = [knobs(record["config"]) for record in records]
    names = sorted({name for row in flat for name in row})
    values = {name: {row[name] for row in flat if name in row} for name in names}
    return flat, [name for name in names if len(values[name]) > 1]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep optuna from announcing each study and each regime of few trials."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _evaluator(
    rows: Sequence[Mapping[str, Scalar]], distributions: Mapping[str, BaseDistribution]
) -> Callable[[np.ndarray], dict[str, float]]:
    """Return PED-ANOVA, conditional knobs included, as a function of the trials' outcomes."""
    import optuna

    study = optuna.create_study(direction="minimize")
    study.add_trials(
        [
            optuna.create_trial(
                params=dict(row), distributions={n: distributions[n] for n in row}, value=0.0
            )
            for row in rows
        ]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TOP_SHARE)

    def evaluate(outcome: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = optuna.importance.get_param_importances(
            study,
            evaluator=evaluator,
            target=lambda trial: float(outcome[trial.number]),
            normalize=False,
        )
        return found

    return evaluate


def _typical(values: Sequence[Scalar], distribution: BaseDistribution) -> str:
    from optuna.distributions import FloatDistribution

    if not values:
        return "none of the best trials has it"
    if isinstance(distribution, FloatDistribution):
        low, high = np.quantile(np.array(values, float), [0.1, 0.9])
        return f"{low:.3g} to {high:.3g}"
    most = max(sorted(set(values), key=str), key=values.count)
    return f"{most} ({values.count(most)} of {len(values)})"


def knob_importance(records: Sequence[Mapping[str, Any]]) -> list[Knob]:
    """Rank the knobs by how much the best fifth of the trials prefers some of their values.

    Parameters
    ----------
    records : sequence of mapping
        The summary's records.

    Returns
    -------
    list of Knob
        Most important first; empty below `MIN_RECORDS` finished trials.

    References
    ----------
    S. Watanabe, A. Bansal, F. Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces", IJCAI 2023, arXiv 2304.10255.
    """
    usable = [r for r in records if r["status"] == "ok" and r.get("val_accuracy") is not None]
    if len(usable) < MIN_RECORDS:
        return []
    flat, names = _columns(usable)
    distributions = {n: _distribution([row[n] for row in flat if n in row]) for n in names}
    rows = [
        {
            n: float(v) if _is_float(distributions[n]) else v
            for n, v in row.items()
            if n in distributions
        }
        for row in flat
    ]
    outcome = excess_error(usable)
    rng = numpy_stream(0, "report", "importance")
    with _quiet():
        evaluate = _evaluator(rows, distributions)
        found = evaluate(outcome)
        shuffled = [evaluate(rng.permutation(outcome)) for _ in range(SHUFFLES)]
    best = [rows[i] for i in np.argsort(outcome, kind="stable")[: round(TOP_SHARE * len(rows))]]
    return [
        Knob(
            name,
            importance,
            max(one[name] for one in shuffled),
            sum(name in row for row in rows),
            _typical([row[name] for row in best if name in row], distributions[name]),
        )
        for name, importance in found.items()
    ]


def _is_float(distribution: BaseDistribution) -> bool:
    from optuna.distributions import FloatDistribution

    return isinstance(distribution, FloatDistribution)
