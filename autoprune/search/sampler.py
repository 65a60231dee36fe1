"""Samplers: which configuration to try for a given sparsity.

A sampler answers with proposals, best first; whoever asked takes the first that fits. Every
sampler is a pure function of the question.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from autoprune.core.errors import unknown_name
from autoprune.core.seeds import stream_seed
from autoprune.space import Space
from autoprune.space.dimensions import Dimension, Flat

if TYPE_CHECKING:
    from sklearn.ensemble import ExtraTreesRegressor

NUM_TREES = 64
NUM_RANDOM = 300
NUM_BEST = 10
NUM_MUTATIONS = 20
REFIT_GROWTH = 1.05
LEAST_RECORDS = 4
TREND_SD = 0.05
"""How far methods are apart in the log error that a factor e of epochs brings."""

SamplerName = Literal["forest", "tpe", "random", "grid"]


@dataclass(frozen=True)
class Observation:
    """One finished job, as a sampler sees it.

    Parameters
    ----------
    flat : dict
        The proposal.
    row : tuple of float
        `Space.encode` of it.
    log_density : float
        log10 of the density that was asked for.
    epochs : int
        The rung.
    loss : float
        Logarithm of the error.
    """

    flat: Flat
    row: tuple[float, ...]
    log_density: float
    epochs: int
    loss: float


@dataclass(frozen=True)
class Question:
    """What a sampler is asked.

    Parameters
    ----------
    space : Space
        The search space.
    seen : sequence of Observation
        Finished jobs, in the order they finished.
    log_density : float
        log10 of the density to propose for.
    methods : tuple of str
        Only these may be proposed.
    factor : float
        Weight of the uncertainty: 0 trusts the prediction, 1 explores.
    rng : numpy.random.Generator
        The proposal's own stream.
    seed : int
        The study's seed.
    top : bool
        The proposal is run at the top rung.
    """

    space: Space
    seen: Sequence[Observation]
    log_density: float
    methods: tuple[str, ...]
    factor: float
    rng: np.random.Generator
    seed: int = 0
    top: bool = False


Sampler = Callable[[Question], Iterator[Flat]]


def log_error(accuracy: float, loss: float, num_val: int) -> float:
    """Return what the surrogate learns: the log error; equal errors are ordered by the loss."""
    error = max(1.0 - accuracy, 0.5 / max(1, num_val))
    return math.log(error) + 1e-3 * min(max(loss, 0.0), 10.0)


def features(row: Sequence[float], log_density: float, epochs: float) -> list[float]:
    """Return the surrogate's inputs."""
    return [*row, log_density, math.log(epochs)]


def fitted_count(count: int) -> int:
    """Return how many records the present surrogate knows: it is refitted at 5 % growth.

    A function of the count alone, so that a resumed study refits where the first one did.
    """
    known = LEAST_RECORDS
    while (following := max(known + 1, math.ceil(known * REFIT_GROWTH))) <= count:
        known = following
    return known


class Forest:
    """Extremely randomised trees that predict the log error at the top rung.

    Methods enter at different rungs, and a tree knows nothing of a method at a rung where it was
    never seen. So what further epochs bring is fitted first, for all methods together
    (`epoch_trend`), and taken off; the trees learn the rest.

    References
    ----------
    P. Geurts, D. Ernst, L. Wehenkel, "Extremely randomized trees", Machine Learning 63, 2006.
    """

    def __init__(self, seen: Sequence[Observation], seed: int, top: int) -> None:
        from sklearn.ensemble import ExtraTreesRegressor

        table = np.array([features(o.row, o.log_density, o.epochs) for o in seen], np.float32)
        losses = np.array([o.loss for o in seen]) - epoch_trend(seen, top)
        state = stream_seed(seed, "forest", len(seen)) % 2**32
        self._trees: ExtraTreesRegressor = ExtraTreesRegressor(
            NUM_TREES, min_samples_leaf=2, n_jobs=1, random_state=state
        ).fit(table, losses)

    def predict(self, table: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the mean and the standard deviation over trees of each row."""
        rows = np.ascontiguousarray(table, np.float32)
        each = np.stack([tree.tree_.predict(rows)[:, 0] for tree in self._trees.estimators_])
        return each.mean(axis=0), each.std(axis=0)


def epoch_trend(seen: Sequence[Observation], top: int) -> NDArray[Any]:
    """Return how much more log error each observation has than it would have at the top rung.

    A least-squares fit of the log error on the method, the log density and its square, the log
    epochs, and log epochs times log density, lightly regularised; only the last two count. More
    epochs never hurt: where the fit says so, nothing is taken off.
    """
    methods = sorted({str(o.flat["method"]) for o in seen})
    density = np.array([o.log_density for o in seen])
    lacking = np.log(top / np.array([o.epochs for o in seen], float))
    dummies = [[float(o.flat["method"] == name) for name in methods] for o in seen]
    table = np.column_stack([dummies, density, density**2, lacking, lacking * density])
    losses = np.array([o.loss for o in seen])
    losses -= losses.mean()
    gram = table.T @ table + 0.01 * np.eye(table.shape[1])
    weights = np.linalg.solve(gram, table.T @ losses)
    found: NDArray[Any] = np.maximum(table[:, -2:] @ weights[-2:], 0.0)
    return found


def forest(question: Question, cache: dict[int, Forest] | None = None) -> Iterator[Flat]:
    """Propose by the least lower confidence bound, predicted at the top rung.

    The candidates are random and plain proposals, the best seen (as predicted for this density)
    and mutations of those.
    """
    if len(question.seen) < LEAST_RECORDS:
        yield from uniform(question)
        return
    known = fitted_count(len(question.seen))
    cache = {} if cache is None else cache
    if known not in cache:
        cache.clear()
        cache[known] = Forest(question.seen[:known], question.seed, question.space.top)
    model, space, rng = cache[known], question.space, question.rng
    mine = {o.row: o.flat for o in question.seen if o.flat["method"] in question.methods}
    best: list[Flat] = []
    if mine:
        mean, _ = _predict(model, list(mine), question)
        flats = list(mine.values())
        best = [flats[i] for i in np.argsort(mean, kind="stable")[:NUM_BEST]]
    pool = best + [
        space.mutate(flat, rng, question.methods) for flat in best for _ in range(NUM_MUTATIONS)
    ]
    pool += [space.middle(method) for method in question.methods]
    pool += [space.random(rng, question.methods) for _ in range(NUM_RANDOM)]
    mean, deviation = _predict(model, [space.encode(flat) for flat in pool], question)
    if question.top:
        unknown = trend_deviation(question)
        deviation = np.hypot(deviation, [unknown[str(flat["method"])] for flat in pool])
    for index in np.argsort(mean - question.factor * deviation, kind="stable"):
        yield pool[index]


def trend_deviation(question: Question) -> dict[str, float]:
    """Return, by method, how unsure its step to the top rung is: 0 once it was seen there."""
    highest = dict.fromkeys(question.methods, question.space.rungs[0])
    for o in question.seen:
        name = str(o.flat["method"])
        highest[name] = max(highest.get(name, 0), o.epochs)
    return {n: TREND_SD * math.log(question.space.top / e) for n, e in highest.items()}


def _predict(
    model: Forest, rows: Sequence[Sequence[float]], question: Question
) -> tuple[NDArray[Any], NDArray[Any]]:
    table = np.array(rows, np.float32)
    context = features((), question.log_density, question.space.top)
    return model.predict(np.hstack([table, np.tile(context, (len(table), 1))]))


def uniform(question: Question) -> Iterator[Flat]:
    """Propose at random."""
    while True:
        yield question.space.random(question.rng, question.methods)


def plainest(question: Question) -> Iterator[Flat]:
    """Propose the plainest configuration of each method, then at random."""
    yield from (question.space.middle(method) for method in question.methods)
    yield from uniform(question)


def anchors(question: Question) -> Iterator[Flat]:
    """Propose the plainest configuration of each method, the one predicted best first."""
    plain = [question.space.middle(method) for method in question.methods]
    if len(question.seen) >= LEAST_RECORDS:
        model = Forest(question.seen, question.seed, question.space.top)
        mean, _ = _predict(model, [question.space.encode(flat) for flat in plain], question)
        plain = [plain[index] for index in np.argsort(mean, kind="stable")]
    yield from plain
    yield from uniform(question)


def grid(question: Question) -> Iterator[Flat]:
    """Propose the points of a grid (ends and middles of ranges), in an order fixed by the seed."""
    cells = [flat for method in question.methods for flat in _cells(question.space, method)]
    order = np.random.default_rng(stream_seed(question.seed, "grid")).permutation(len(cells))
    visits = {tuple(sorted(o.flat.items(), key=str)) for o in question.seen}
    fresh = [cells[i] for i in order if tuple(sorted(cells[i].items(), key=str)) not in visits]
    start = len(question.seen) % max(1, len(fresh))
    yield from (fresh[start:] + fresh[:start]) or [cells[i] for i in order]


def _cells(space: Space, method: str) -> Iterator[Flat]:
    for schedule in space.schedules[method]:
        head: Flat = {"method": method, "lr": schedule}
        cells = [head]
        for dimension in space.dimensions[2:]:
            cells = [grown for cell in cells for grown in _grown(space, dimension, cell)]
        yield from cells


def _grown(space: Space, dimension: Dimension, cell: Flat) -> list[Flat]:
    """Return a cell once for every value of a dimension, or as it is where that does not exist."""
    if not space.active(dimension, cell):
        return [cell]
    return [{**cell, dimension.path: value} for value in dimension.grid()]


def make_sampler(name: str) -> Sampler:
    """Return a sampler by name; it may keep a fitted surrogate between questions.

    Raises
    ------
    UnknownNameError
        For a name that is none of ``forest, tpe, random, grid``.
    """
    if name == "forest":
        cache: dict[int, Forest] = {}
        return lambda question: forest(question, cache)
    if name == "tpe":
        from autoprune.search import optuna_sampler

        return optuna_sampler.tpe
    if name == "random":
        return uniform
    if name == "grid":
        return grid
    raise unknown_name("--sampler", "sampler", name, ("forest", "tpe", "random", "grid"))
