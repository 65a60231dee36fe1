from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest

from autoprune.core.errors import UnknownNameError
from autoprune.search.sampler import (
    Observation,
    Question,
    epoch_trend,
    fitted_count,
    forest,
    grid,
    log_error,
    make_sampler,
    plainest,
    trend_deviation,
    uniform,
)
from autoprune.space import Space
from tests.search.support import best_peak, small_space, surface


def observe(space: Space, count: int, seed: int = 0) -> list[Observation]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        flat = space.random(rng)
        sparsity = float(rng.uniform(0.5, 0.98))
        epochs = int(rng.choice([1, 3, 9]))
        accuracy = surface(space.config(flat, sparsity), epochs, 0)["val_accuracy"]
        row = tuple(space.encode(flat))
        loss = log_error(accuracy, 1.0, 1000)
        found.append(Observation(flat, row, math.log10(1 - sparsity), epochs, loss))
    return found


def ask(space: Space, seen: list[Observation], sparsity: float, **rest: object) -> Question:
    options: dict[str, object] = {"methods": space.methods, "factor": 0.0, **rest}
    density = math.log10(1 - sparsity)
    rng = np.random.default_rng(7)
    return Question(space, seen, density, rng=rng, **options)  # type: ignore[arg-type] # test options


def test_it_refits_at_five_percent_growth() -> None:
    found = [fitted_count(count) for count in range(4, 200)]
    assert found[:17] == list(range(4, 21))  # every record at first
    steps = sorted(set(found))
    for before, after in pairwise(steps):
        assert 1.05 <= after / before < 1.05 + 1 / before + 1e-9
    assert all(known <= count for count, known in enumerate(found, start=4))


def test_the_log_error_is_bounded_and_breaks_ties_by_the_loss() -> None:
    assert log_error(0.5, 0.0, 100) == pytest.approx(math.log(0.5))
    assert log_error(1.0, 0.0, 100) == pytest.approx(math.log(0.005))  # half an image
    assert log_error(0.9, 1.0, 100) < log_error(0.9, 2.0, 100)
    # Never more than a hundredth, less than one image's step of an error below a half.
    assert log_error(0.9, 1e9, 100) - log_error(0.9, 0.0, 100) == pytest.approx(0.01)


def test_the_forest_finds_the_peak_that_fits_the_density() -> None:
    space = small_space(method={"magnitude": {"allocation": ["global", "erk", "uniform"]}})
    seen = observe(space, 150)
    for sparsity in (0.6, 0.97):
        best = next(forest(ask(space, seen, sparsity)))
        assert best["method.magnitude.allocation"] == "erk"
        wanted = best_peak(math.log10(1 - sparsity))
        # The optimum moves 3.6-fold between the two densities; within a factor of 2 of its own.
        assert 0.5 < float(best["lr.linear.peak"] or 0) / wanted < 2.0


def test_proposals_come_in_order_of_the_bound_and_keep_to_the_methods() -> None:
    space = small_space()
    seen = observe(space, 60)
    question = ask(space, seen, 0.9, methods=("snip", "dropnet"), factor=1.0)
    found = list(forest(question))
    assert {flat["method"] for flat in found} <= {"snip", "dropnet"}
    assert len(found) > 300
    assert found == list(forest(ask(space, seen, 0.9, methods=("snip", "dropnet"), factor=1.0)))


def test_with_hardly_any_records_it_draws_at_random() -> None:
    space = small_space()
    question = ask(space, observe(space, 3), 0.9)
    assert len(list(islice(forest(question), 500))) == 500


def test_the_epoch_trend_is_taken_off_for_methods_seen_at_one_rung_only() -> None:
    space = small_space()
    base = observe(space, 1)[0]

    def seen(method: str, epochs: int, loss: float, density: float) -> Observation:
        flat = {**base.flat, "method": method}
        return Observation(flat, base.row, density, epochs, loss)

    # Each factor 3 in epochs is worth 0.5 of log error, for both methods; "b" was never lifted.
    rows = [
        seen("a", epochs, -3.0 + 0.5 * math.log(9 / epochs, 3) + density, density)
        for epochs in (1, 3, 9)
        for density in (-0.5, -1.0, -1.5)
    ] + [seen("b", 1, -3.0 + 1.0 + density, density) for density in (-0.5, -1.0, -1.5)]
    trend = epoch_trend(rows, 9)
    # 0.1 of ridge on a dozen rows bends it a little.
    assert trend[:3] == pytest.approx(1.0, abs=0.15)
    assert trend[6:9] == pytest.approx(0.0, abs=1e-9)
    assert trend[9:] == pytest.approx(1.0, abs=0.15)


def test_the_epoch_trend_never_says_that_training_hurts() -> None:
    space = small_space()
    worse = [
        Observation(o.flat, o.row, o.log_density, o.epochs, math.log(o.epochs))
        for o in observe(space, 40)
    ]
    assert epoch_trend(worse, 9) == pytest.approx(0.0, abs=1e-9)


def test_a_method_is_unsure_at_the_top_until_it_was_seen_there() -> None:
    space = small_space()
    base = observe(space, 1)[0]
    first, second, *others = space.methods
    rows = [
        Observation({**base.flat, "method": name}, base.row, -1.0, epochs, -2.0)
        for name, epochs in ((first, 1), (first, 9), (second, 3), (second, 1))
    ]
    found = trend_deviation(ask(space, rows, 0.9))
    assert found[first] == 0.0
    assert found[second] == pytest.approx(0.05 * math.log(3))
    assert [found[name] for name in others] == pytest.approx([0.05 * math.log(9)] * len(others))


def test_lifts_are_drawn_to_methods_that_never_were_at_the_top() -> None:
    space = small_space()
    seen = [replace(o, epochs=9) for o in observe(space, 80) if o.flat["method"] != "imp"]
    low = [replace(o, epochs=1) for o in observe(space, 80, seed=1) if o.flat["method"] == "imp"]

    def share(*, top: bool) -> float:
        question = replace(ask(space, [*seen, *low], 0.9, factor=3.0), top=top)
        return sum(flat["method"] == "imp" for flat in islice(forest(question), 100)) / 100

    assert share(top=True) > share(top=False)


def test_plain_and_random_proposals() -> None:
    space = small_space()
    question = ask(space, [], 0.9, methods=("imp",))
    first = next(plainest(question))
    # The geometric middle of 0.01 and 0.5.
    assert first == {
        "method": "imp",
        "lr": "linear",
        "lr.linear.peak": pytest.approx(0.0707107),
        "method.imp.rounds": 2,
    }
    assert {flat["method"] for flat in islice(uniform(question), 20)} == {"imp"}


def test_the_grid_visits_every_cell_before_it_repeats_one() -> None:
    space = small_space(method={"magnitude": {"allocation": ["global", "erk"]}})
    cells = list(grid(ask(space, [], 0.9)))
    assert len(cells) == len({tuple(map(str, c.items())) for c in cells}) == 6
    seen: list[Observation] = []
    for _ in range(6):
        flat = next(grid(ask(space, seen, 0.9)))
        seen.append(Observation(flat, tuple(space.encode(flat)), -1.0, 1, 0.0))
    assert sorted(map(str, (o.flat for o in seen))) == sorted(map(str, cells))
    assert len(list(grid(ask(space, seen, 0.9)))) == 6


def test_sampler_names() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'random'"):
        make_sampler("randm")
