"""Card lq_compressibility (f): what its section calls exact."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.pruning.compressibility import (
    descending,
    effective_count,
    from_rows,
    pq_index,
    retained,
    tails,
    to_rows,
)

NORMS = [(0.5, 1.0), (1.0, 2.0), (0.2, 1.0), (1.0, 1.2)]


def row(*values):
    return torch.tensor([values], dtype=torch.float64)


def sizes(values):
    return torch.full((len(values),), float(values.shape[1]), dtype=torch.float64)


def index(values, p, q):
    return pq_index(values.abs(), sizes(values), p, q)


def gaussian(*shape, seed=0):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).abs()


def laplace(*shape, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return -torch.rand(*shape, generator=stream, dtype=torch.float64).log()


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_equal_entries_count_themselves(p, q):
    # 37 ones among 1000: |w|_p / |w|_q = 37^(1/p - 1/q), and the power pq / (q - p) undoes it.
    values = torch.zeros(1, 1000, dtype=torch.float64)
    values[0, 100:137] = 1.0
    assert effective_count(values, p, q).item() == pytest.approx(37, rel=1e-12)
    assert retained(values, sizes(values), p, q, 0.0).item() == pytest.approx(37, rel=1e-12)


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_a_constant_vector_is_not_compressible(p, q):
    values = torch.full((1, 613), 0.3, dtype=torch.float64)
    assert index(values, p, q).item() == pytest.approx(0, abs=1e-12)
    assert retained(values, sizes(values), p, q, 0.0).item() == 613.0  # to the last bit


def test_effective_counts_by_hand():
    # (1, 2): (4 + 1 + 1)^2 / (16 + 1 + 1) = 2. (.5, 1): (2 + 1 + 1)^2 / 6 = 8 / 3.
    values = row(4.0, 1.0, 1.0)
    assert effective_count(values, 1.0, 2.0).item() == pytest.approx(2)
    assert effective_count(values, 0.5, 1.0).item() == pytest.approx(8 / 3)
    # I = 1 - (N / d)^((q - p) / pq): 1 - sqrt(2 / 3) and 1 - 8 / 9.
    assert index(values, 1.0, 2.0).item() == pytest.approx(1 - math.sqrt(2 / 3))
    assert index(values, 0.5, 1.0).item() == pytest.approx(1 / 9)
    # eta .1: (1 + .1)^(-q / (q - p)) is 1.1^-2 for both.
    assert retained(values, sizes(values), 1.0, 2.0, 0.1).item() == pytest.approx(2 / 1.21)
    assert retained(values, sizes(values), 0.5, 1.0, 0.1).item() == pytest.approx(8 / 3 / 1.21)


@pytest.mark.parametrize(("p", "q"), NORMS)
@pytest.mark.parametrize("factor", [1e-300, 1e-30, 0.7, 1e5, 1e290])
def test_the_index_ignores_scale_without_under_or_overflow(p, q, factor):
    values = gaussian(3, 500)
    assert torch.allclose(index(values * factor, p, q), index(values, p, q), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_the_index_ignores_cloning_and_counts_double(p, q):
    values = gaussian(2, 300)
    twice = torch.cat([values, values], 1)
    assert torch.allclose(index(twice, p, q), index(values, p, q), rtol=1e-10, atol=0)
    assert torch.allclose(effective_count(twice, p, q), 2 * effective_count(values, p, q))


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_the_index_lies_between_equal_entries_and_one_entry(p, q):
    greatest = 1 - 400 ** (1 / q - 1 / p)
    one = torch.zeros(1, 400, dtype=torch.float64)
    one[0, 7] = -3.0
    assert index(one, p, q).item() == pytest.approx(greatest, rel=1e-12)
    found = index(torch.cat([gaussian(20, 400), laplace(20, 400)]), p, q)
    assert ((found >= 0) & (found < greatest)).all()


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=12),
    share=st.floats(0.01, 0.5),
    norms=st.sampled_from(NORMS),
)
def test_evening_out_never_raises_the_index(values, share, norms):
    before = row(*values)
    after = before.clone()
    high, low = before.argmax(), before.argmin()
    moved = share * (before[0, high] - before[0, low])
    after[0, high] -= moved
    after[0, low] += moved
    assert index(after, *norms).item() <= index(before, *norms).item() + 1e-12
    assert index(before + 1.0, *norms).item() <= index(before, *norms).item() + 1e-12


@pytest.mark.parametrize(("p", "q"), NORMS)
@pytest.mark.parametrize("draw", [gaussian, laplace])
def test_the_bound_holds_for_every_count(p, q, draw):
    # r >= d (1 + eta_r)^(-q / (q - p)) (1 - I)^(pq / (q - p)), eta_r being the lost share of the
    # p-th powers relative to the kept one; for every r at once.
    values = draw(1, 100_000)
    ordered, _ = descending(values, torch.ones_like(values, dtype=torch.bool))
    powers = ordered[0] ** p
    kept = powers.cumsum(0)
    eta = (powers.sum() - kept).clamp_min(0) / kept
    bound = effective_count(values, p, q) * (1 + eta) ** (-q / (q - p))
    assert (torch.arange(1, 100_001) >= bound - 1e-6).all()


@pytest.mark.parametrize(
    ("draw", "p", "q", "share"),
    [
        # E|w|^2 / E w^2: 2 / pi, and 1 / 2. (E sqrt|w|)^2 / E|w|: G(3/4)^2 / sqrt(pi), and
        # G(3/2)^2 = pi / 4.
        (gaussian, 1.0, 2.0, 2 / math.pi),
        (gaussian, 0.5, 1.0, math.gamma(0.75) ** 2 / math.sqrt(math.pi)),
        (laplace, 1.0, 2.0, 0.5),
        (laplace, 0.5, 1.0, math.pi / 4),
    ],
)
def test_the_share_retained_of_a_long_vector(draw, p, q, share):
    values = draw(1, 1_000_000)
    found = retained(values, sizes(values), p, q, 0.0).item() / 1_000_000
    assert found == pytest.approx(share, abs=0.003)  # about four standard errors
    assert share == pytest.approx(
        {0.64: 0.6366, 0.85: 0.8472, 0.5: 0.5, 0.79: 0.7854}[round(share, 2)], abs=5e-5
    )


def test_a_sum_over_many_entries_loses_nothing():
    values = torch.full((1, 10_000_000), 0.1, dtype=torch.float64)
    values[0, 0] = 0.1 * (1 + 1e-6)
    assert effective_count(values, 0.5, 1.0).item() == pytest.approx(10_000_000, rel=1e-11)


@pytest.mark.parametrize(("p", "q"), NORMS)
def test_a_larger_tolerance_retains_less(p, q):
    values = gaussian(5, 200)
    counts = [retained(values, sizes(values), p, q, eta) for eta in (0.0, 0.001, 0.01, 0.1, 1.0)]
    for more, fewer in pairwise(counts):
        assert (fewer < more).all()


def test_zeros_and_what_is_gone():
    values = torch.tensor([[3.0, -4.0, 9.0], [0.0, 0.0, 7.0]], dtype=torch.float64)
    alive = torch.tensor([[True, True, False], [True, True, False]])
    ordered, order = descending(values, alive)
    assert ordered.tolist() == [[4.0, 3.0, 0.0], [0.0, 0.0, 0.0]]
    assert order.tolist() == [[1, 0, 2], [0, 1, 2]]
    count = alive.sum(1).double()
    # (3 + 4)^2 / (9 + 16) = 49 / 25 of two entries; the padding 0 must not count as a third.
    assert effective_count(ordered, 1.0, 2.0).tolist() == pytest.approx([49 / 25, 0.0])
    assert pq_index(ordered, count, 1.0, 2.0).tolist() == pytest.approx(
        [1 - math.sqrt(49 / 50), 0.0]
    )
    assert retained(ordered, count, 1.0, 2.0, 0.0).tolist() == pytest.approx([49 / 25, 2.0])


def test_equal_values_rank_by_index():
    ordered, order = descending(row(1.0, 2.0, 1.0, 2.0), torch.ones(1, 4, dtype=torch.bool))
    assert order.tolist() == [[1, 3, 0, 2]]
    assert ordered.tolist() == [[2.0, 2.0, 1.0, 1.0]]


def test_values_that_are_not_finite_do_not_spread():
    values = row(float("nan"), float("inf"), 1.0)
    ordered, _ = descending(values, torch.ones(1, 3, dtype=torch.bool))
    assert ordered.isfinite().all()
    for norm in (1, 2):
        assert tails(ordered, norm).isfinite().all()
    assert effective_count(ordered, 0.5, 1.0).isfinite().all()


def test_tails_by_hand():
    # 12, 4, 3: sums from the right 19, 7, 3; roots of squares 13, 5, 3.
    assert tails(row(12.0, 4.0, 3.0), 1)[0].tolist() == pytest.approx([1, 7 / 19, 3 / 19])
    assert tails(row(12.0, 4.0, 3.0), 2)[0].tolist() == pytest.approx([1, 5 / 13, 3 / 13])
    assert tails(row(2.0, 0.0, 0.0), 2)[0].tolist() == [1, 0, 0]
    assert tails(row(0.0, 0.0), 1)[0].tolist() == [0, 0]


@pytest.mark.parametrize("q", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("draw", [gaussian, laplace])
def test_tails_keep_to_the_bounds_of_the_quasi_norm(q, draw):
    # |w - w_m|_1 <= |w|_q m^(1 - 1/q) and |w - w_m|_2 <= |w|_q m^(1/2 - 1/q), m = 1, 2, ...
    ordered, _ = descending(draw(1, 2000), torch.ones(1, 2000, dtype=torch.bool))
    whole = (ordered**q).sum() ** (1 / q)
    count = torch.arange(1, 2000, dtype=torch.float64)
    for norm, power in ((1, 1 - 1 / q), (2, 0.5 - 1 / q)):
        rest = tails(ordered, norm)[0, 1:] * ordered.norm(norm)
        assert (rest <= whole * count**power).all()


def test_exact_tails_need_far_fewer_than_the_worst_case():
    # Card (g): 1000 Gaussian weights, a fifth of the l1 norm: about 508 must stay, while the
    # worst-case bound of q = .5 asks for more weights than there are.
    ordered, _ = descending(gaussian(50, 1000), torch.ones(50, 1000, dtype=torch.bool))
    needed = (tails(ordered, 1) > 0.2).sum(1).double()
    assert needed.mean().item() == pytest.approx(508, abs=5)
    whole = (ordered**0.5).sum(1) ** 2
    assert (whole / (0.2 * ordered.sum(1)) > 1000).all()


def test_tails_of_tiny_weights_do_not_cancel():
    # Weights over twenty orders of magnitude: from the right every sum is exact to a few bits.
    ordered = 10.0 ** -torch.arange(20, dtype=torch.float64).unsqueeze(0)
    expected = [sum(10.0**-j for j in range(i, 20)) / (10 / 9) for i in range(20)]
    assert tails(ordered, 1)[0].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_rows_are_undone(scope):
    tensors = {"conv": gaussian(4, 2, 3, 3), "fc": gaussian(3, 4, seed=1)}
    rows = to_rows(tensors, scope)
    shapes = {"neuron": [(4, 18), (3, 4)], "layer": [(1, 72), (1, 12)], "global": [(1, 84)]}
    assert [tuple(r.shape) for r in rows] == shapes[scope]
    again = from_rows(rows, tensors)
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
