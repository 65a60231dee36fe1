from __future__ import annotations

import pytest

from autoprune.pruning.schedules import cubic, geometric, one_shot


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
