from __future__ import annotations

import pytest

from autoprune.pruning.schedules import (
    cosine,
    cubic,
    geometric,
    linear,
    one_shot,
    plateau_cubic,
)


@pytest.mark.parametrize(
    ("step", "sparsity"),
    [(1000, 0), (2000, 0.29707), (3000, 0.520312), (5000, 0.7875), (7000, 0.885938), (9000, 0.9)],
)
def test_cubic_at_the_steps_of_the_card(step, sparsity):
    # Card sparsity_schedules c1: begin 1000, end 9000, target .9; six digits,
    # halves rounded either way.
    assert cubic.sparsity_at((step - 1000) / 8000, 0.9) == pytest.approx(sparsity, abs=6e-7)


def test_geometric_removes_the_same_share_of_what_remains():
    # Density .001 in three rounds: .1, .01, .001.
    densities = [1 - geometric.sparsity_at(j / 3, 0.999) for j in range(4)]
    assert densities == pytest.approx([1, 0.1, 0.01, 0.001], rel=1e-12)


@pytest.mark.parametrize(
    ("target", "rounds", "share"), [(0.9, 3, 0.535841), (0.9, 10, 0.205672), (0.98, 4, 0.623940)]
)
def test_the_share_of_a_geometric_round(target, rounds, share):
    # Card imp (f)1.
    assert geometric.sparsity_at(1 / rounds, target) == pytest.approx(share, abs=5e-7)


def test_one_shot_is_there_at_once():
    assert [one_shot.sparsity_at(progress, 0.9) for progress in (0, 0.3, 1)] == [0.9, 0.9, 0.9]


def test_linear_removes_as_much_in_every_step():
    # A fifth of .9 every time; halfway to the dyadic .5 is .25 to the last bit.
    assert [linear.sparsity_at(j / 5, 0.9) for j in range(6)] == pytest.approx(
        [0, 0.18, 0.36, 0.54, 0.72, 0.9], rel=1e-15
    )
    assert linear.sparsity_at(0.5, 0.5) == 0.25


@pytest.mark.parametrize(
    ("progress", "sparsity"),
    # .9 (1 - cos(pi x)) / 2: cosines 1, 1/sqrt(2), 1/2, 0, -1/2, -1.
    [(0, 0), (1 / 4, 0.131802), (1 / 3, 0.225), (1 / 2, 0.45), (2 / 3, 0.675), (1, 0.9)],
)
def test_cosine_by_hand(progress, sparsity):
    assert cosine.sparsity_at(progress, 0.9) == pytest.approx(sparsity, abs=5e-7)


@pytest.mark.parametrize(
    ("progress", "remaining"),
    [
        # The ramp is .67 long: an eighth of .9 is left at .055 + .67 / 2 = .39, and a quarter of
        # the way, at .2225, (3/4)^3 = .421875 of it.
        (0.0, 1.0),
        (0.055, 1.0),
        (0.2225, 0.1 + 0.9 * 0.421875),
        (0.39, 0.1 + 0.9 * 0.125),
        (0.725, 0.1),
        (1.0, 0.1),
    ],
)
def test_plateau_cubic_in_the_remaining_ratio(progress, remaining):
    # Card platon (f): the middle of the ramp leaves .2125.
    assert 1 - plateau_cubic.sparsity_at(progress, 0.9) == pytest.approx(remaining, abs=1e-12)


def test_plateau_cubic_is_exact_on_its_plateaus():
    assert {plateau_cubic.sparsity_at(p / 1000, 0.9) for p in range(56)} == {0.0}
    assert {plateau_cubic.sparsity_at(p / 1000, 0.9) for p in range(725, 1001)} == {0.9}
    assert 0.0 < plateau_cubic.sparsity_at(0.056, 0.9) < plateau_cubic.sparsity_at(0.724, 0.9) < 0.9
