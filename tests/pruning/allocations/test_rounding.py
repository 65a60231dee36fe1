from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import ConfigError
from autoprune.pruning.allocations.rounding import fill


@st.composite
def problems(draw):
    """Caps, floors, weights and a total that they allow."""
    caps = draw(st.lists(st.integers(0, 200), min_size=1, max_size=8))
    floors = [draw(st.integers(0, cap)) for cap in caps]
    weights = [draw(st.integers(1, 50)) for _ in caps]
    return caps, floors, weights, draw(st.integers(sum(floors), sum(caps)))


@given(problems())
def test_sums_exactly_within_floors_and_caps(problem):
    caps, floors, weights, kept = problem
    counts = fill(caps, floors, weights, kept)
    assert sum(counts) == kept
    assert all(f <= n <= c for f, n, c in zip(floors, counts, caps, strict=True))


@given(problems())
def test_free_layers_are_proportional_to_within_one_unit(problem):
    caps, floors, weights, kept = problem
    counts = fill(caps, floors, weights, kept)
    free = [i for i, n in enumerate(counts) if floors[i] + 1 < n < caps[i] - 1]
    for i in free:
        for j in free:
            # n_i = c p_i + a, n_j = c p_j + b with |a|, |b| < 1
            assert abs(counts[i] * weights[j] - counts[j] * weights[i]) < weights[i] + weights[j]


@given(problems(), st.randoms(use_true_random=False))
def test_layers_with_different_remainders_commute_with_their_order(problem, shuffler):
    caps, _, weights, kept = problem
    kept = min(kept, sum(caps))
    order = list(range(len(caps)))
    shuffler.shuffle(order)
    here = fill(caps, [0] * len(caps), weights, kept)
    there = fill([caps[i] for i in order], [0] * len(caps), [weights[i] for i in order], kept)
    # Ties may go to another layer, by one unit.
    assert all(abs(there[k] - here[i]) <= 1 for k, i in enumerate(order))


def test_by_hand():
    # weights 1:1:3, 7 to give; the third layer is full at 2, so 2.5 are left for the first two:
    # floors 2 and 2, and the one unit left goes to the first of the two tied layers.
    assert fill([10, 10, 2], [0, 0, 0], [1, 1, 3], 7) == [3, 2, 2]


def test_a_floor_takes_from_the_others():
    # 10 in proportion 1:9 would be 1 and 9; a floor of 4 leaves 6.
    assert fill([10, 10], [4, 0], [1, 9], 10) == [4, 6]


def test_largest_remainder_wins():
    # 5 in proportion 1:2:4 is 0.714, 1.429, 2.857: floors 0, 1, 2, then the third and the first.
    assert fill([9, 9, 9], [0, 0, 0], [1, 2, 4], 5) == [1, 1, 3]


@pytest.mark.parametrize("kept", [3, 21])
def test_what_cannot_be_given_is_refused(kept):
    with pytest.raises(ConfigError) as caught:
        fill([10, 10], [2, 2], [1, 1], kept)
    assert caught.value.value == kept
    assert "between 4 and 20" in str(caught.value)
