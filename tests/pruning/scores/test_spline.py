"""Redundant hyperplanes, worked by hand (card spline, f)."""

from __future__ import annotations

import doctest
import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.pruning.masks import dense_masks
from autoprune.pruning.scores import spline
from autoprune.pruning.scores.spline import Spline, drops, pair_distances
from autoprune.pruning.signals.hyperplanes import hyperplanes
from autoprune.pruning.view import ModelView, Signal, UnitGroup, UnitMember
from autoprune.testing.scores import ScoreContract, make_groups, make_model, make_task

# Lengths 5, 10, 5, 5 and offsets per length 1, 1, -1, 0: the second is twice the first, the third
# its negative, the fourth at a right angle.
PLANES = torch.tensor(
    [[3.0, 4.0, 5.0], [6.0, 8.0, 10.0], [-3.0, -4.0, -5.0], [4.0, -3.0, 0.0]], dtype=torch.float64
)


def singles(count):
    return tuple((unit,) for unit in range(count))


def view_of(planes, *, gamma=None, readers=None, mask=None):
    """Return a view of one group, a linear layer ``0`` with a norm ``1`` and a reader ``2``."""
    count = len(planes)
    weights = {"0.weight": planes[:, :-1]}
    members = [UnitMember("0.weight", 0, singles(count), "out")]
    others = {}
    if gamma is not None:
        others = {"1.weight": torch.tensor(gamma), "1.bias": torch.zeros(count)}
        members += [UnitMember(name, 0, singles(count), "out") for name in others]
    if readers is not None:
        weights["2.weight"] = torch.tensor(readers)
        members.append(UnitMember("2.weight", 1, singles(count), "in"))
    masks = dense_masks(weights)
    if mask is not None:
        masks["0.weight"] = torch.tensor(mask)[:, None].expand(planes[:, :-1].shape)
    group = UnitGroup("0.weight", count, tuple(members))
    signals = {Signal.HYPERPLANES: {"0.weight": planes}}
    return ModelView(weights, masks, signals, (group,), others=others)


def order_of(score):
    return torch.argsort(score).tolist()


class TestRawSpline(ScoreContract):
    @pytest.fixture
    def make(self):
        return lambda: Spline(rho=1.0, normalised=False)


def test_the_docstrings_hold():
    assert doctest.testmod(spline).failed == 0


def test_normalised_distances_by_hand():
    # Multiples and negatives have the same hyperplane; at a right angle 1 + .1 * |+-1 - 0|.
    expected = [[0, 0, 0, 1.1], [0, 0, 0, 1.1], [0, 0, 0, 1.1], [1.1, 1.1, 1.1, 0]]
    found = pair_distances(PLANES, 0.1)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_raw_distances_by_hand():
    # 1 - |c| is 0 but for the last; rho |b - b'| of offsets 5, 10, -5, 0.
    expected = [[0, 0.5, 1, 1.5], [0.5, 0, 1.5, 2], [1, 1.5, 0, 1.5], [1.5, 2, 1.5, 0]]
    found = pair_distances(PLANES, 0.1, normalised=False)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)


def test_an_angle_by_hand():
    # Cosine .6; offsets per length 2 and -1: .4 + .5 * 3, and with the second turned round
    # (cosine -.6, offset 1) .4 + .5 * |2 + 1|: the same.
    one, other = [1.0, 0.0, 2.0], [3.0, 4.0, -5.0]
    turned = [-x for x in other]
    for pair in ([one, other], [one, turned]):
        found = pair_distances(torch.tensor(pair, dtype=torch.float64), 0.5)
        assert found[0, 1].item() == pytest.approx(1.9)


@given(
    seed=st.integers(0, 1000),
    factors=st.lists(st.floats(0.01, 100.0), min_size=5, max_size=5),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=5, max_size=5),
)
@settings(max_examples=30, derandomize=True, deadline=None)
def test_size_and_side_of_a_unit_do_not_matter(seed, factors, signs):
    planes = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = pair_distances(planes, 0.3)
    changed = planes * torch.tensor([f * s for f, s in zip(factors, signs, strict=True)])[:, None]
    assert torch.allclose(pair_distances(changed, 0.3), found, atol=1e-9)
    for distances in (found, pair_distances(planes, 0.3, normalised=False)):
        assert torch.equal(distances, distances.T)
        assert not distances.diagonal().any()
        assert bool((distances >= 0).all())


def test_scale_and_shift_of_a_norm_move_no_hyperplane():
    # Multiplying (gamma, beta) by c > 0 keeps every sign behind the norm, so the partition.
    model, groups, task = make_model(), make_groups(), make_task()
    before = hyperplanes(model, task, groups, 0)["0.weight"]
    with torch.no_grad():
        for value in (model[1].weight, model[1].bias):
            value.mul_(torch.tensor([0.1, 3.0, 1.0, 7.0]))
    after = hyperplanes(model, task, groups, 0)["0.weight"]
    assert not torch.allclose(before, after)
    # Scales of the copy are float32.
    assert torch.allclose(pair_distances(after, 0.3), pair_distances(before, 0.3), atol=1e-6)


def test_the_weaker_of_a_closest_pair_goes_first():
    # 0, 1 and 2 share a plane. Closest first: of 0 and 1 the one of gamma .2, of 1 and 2 that of
    # .3, and of 1 and 3, at 1.1, the one of .1, whatever its sign.
    score = Spline()(view_of(PLANES, gamma=[0.2, 0.9, -0.3, -0.1]))["0.weight"]
    assert order_of(score) == [0, 2, 3, 1]
    # Equal distances are set apart in their last places, and so is the one that stays.
    assert score.tolist() == pytest.approx([0, 1.1, 0, 1.1], abs=1e-12)
    assert len(set(score.tolist())) == 4


def test_without_norms_outgoing_weights_decide():
    # Columns' norms 5, 1, 2, 3: now 1 goes before 0, then 2.
    readers = [[3.0, 1.0, 2.0, 0.0], [4.0, 0.0, 0.0, -3.0]]
    score = Spline()(view_of(PLANES, readers=readers))["0.weight"]
    assert order_of(score) == [1, 2, 3, 0]


def test_of_equally_strong_units_the_first_stays():
    score = Spline()(view_of(PLANES, gamma=[1.0, 1.0, 1.0, 1.0]))["0.weight"]
    assert order_of(score) == [1, 2, 3, 0]


def test_rho_weighs_the_offsets():
    # Parallel at offsets 0, 1 and 1.5, and one at a cosine of .8 to them through the origin (.2).
    planes = torch.tensor([[1, 0, 0], [1, 0, 1], [1, 0, 1.5], [0.8, 0.6, 0]], dtype=torch.float64)
    view = view_of(planes, gamma=[4.0, 3.0, 2.0, 1.0])
    near, far = (Spline(rho=rho)(view)["0.weight"] for rho in (0.1, 1.0))
    # .05 between 1 and 2, then .1 between 0 and 1, then .2; with rho = 1 first .2, then .5 and 1.
    assert near.tolist() == pytest.approx([0.2, 0.1, 0.05, 0.2])
    assert order_of(near) == [2, 1, 3, 0]
    assert far.tolist() == pytest.approx([1.0, 1.0, 0.5, 0.2])
    assert order_of(far) == [3, 2, 1, 0]


def test_units_that_are_gone_are_nobodys_neighbours():
    # Without 0 and 1, 2 has no twin left, and 3 is the weaker of the last pair.
    view = view_of(PLANES, gamma=[0.2, 0.9, 0.3, 0.1], mask=[False, False, True, True])
    score = Spline()(view)["0.weight"]
    assert score.tolist() == pytest.approx([0, 0, 1.1, 1.1])
    assert score[2] > score[3]
    gone = view_of(PLANES, gamma=[1.0] * 4, mask=[False] * 4)
    assert Spline()(gone)["0.weight"].tolist() == [0, 0, 0, 0]


def test_a_constant_unit_goes_first_however_strong():
    planes = torch.tensor([[1, 0, 0], [0, 0, 7], [0, 1, 0.0]], dtype=torch.float64)
    score = Spline()(view_of(planes, gamma=[0.1, 9.0, 0.2]))["0.weight"]
    assert order_of(score) == [1, 0, 2]
    assert score.tolist() == pytest.approx([1, 0, 1])
    # Next to nothing is nothing, although its plane is somewhere far away.
    planes[1, 0] = 1e-9
    assert order_of(Spline()(view_of(planes, gamma=[0.1, 9.0, 0.2]))["0.weight"]) == [1, 0, 2]


def test_layers_that_meet_are_averaged():
    # The twins 0 and 1 of one layer are at a right angle in the other, at rho = 0: (0 + 1) / 2;
    # 0 and 2 are at 1 and at 1 - .8, so .6; 1 and 2 at 1 and at 1 - .6, so .7.
    first = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0.0]], dtype=torch.float64)
    second = torch.tensor([[1, 0, 0], [0, 1, 0], [0.8, 0.6, 0]], dtype=torch.float64)
    weights = {"a.weight": first[:, :-1], "b.weight": second[:, :-1]}
    gammas = {"n.weight": torch.tensor([3.0, 2.0, 1.0]), "n.bias": torch.zeros(3)}
    members = tuple(UnitMember(name, 0, singles(3), "out") for name in (*weights, *gammas))
    view = ModelView(
        weights,
        dense_masks(weights),
        {Signal.HYPERPLANES: {"a.weight": first, "b.weight": second}},
        (UnitGroup("a.weight", 3, members),),
        others=gammas,
    )
    score = Spline(rho=0.0)(view)["a.weight"]
    assert score.tolist() == pytest.approx([0.6, 0.5, 0.6])
    assert order_of(score) == [1, 2, 0]


def test_a_unit_of_several_rows_is_near_another_in_all_of_them():
    # Unit 0 owns rows 0 and 1, unit 1 rows 2 and 3, unit 2 rows 4 and 5: twins in the first row,
    # at a right angle in the second; unit 2 at a right angle to both in both.
    rows = [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.0]]
    planes = torch.tensor(rows, dtype=torch.float64)
    index = ((0, 1), (2, 3), (4, 5))
    group = UnitGroup("w", 3, (UnitMember("w", 0, index, "out"), UnitMember("r", 1, index, "in")))
    weights = {"w": planes[:, :-1], "r": torch.tensor([[3.0, 3.0, 2.0, 2.0, 1.0, 1.0]])}
    signals = {Signal.HYPERPLANES: {"w": planes}}
    score = Spline()(ModelView(weights, dense_masks(weights), signals, (group,)))["w"]
    assert score.tolist() == pytest.approx([1.0, 0.5, 1.0])
    assert order_of(score) == [1, 2, 0]


def greedy(layers, strengths, floor=1):
    """Drop units of a whole net by the rule as it is worded, looking at all pairs every time."""
    alive = [set(range(len(layer))) for layer in layers]
    gone = []
    while any(len(units) > floor for units in alive):
        pairs = [
            (float(layers[k][i, j]), k, i, j)
            for k, units in enumerate(alive)
            if len(units) > floor
            for i, j in combinations(sorted(units), 2)
        ]
        _, k, i, j = min(pairs)
        unit = i if strengths[k][i] < strengths[k][j] else j
        alive[k].remove(unit)
        gone.append((k, unit))
    return gone


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, derandomize=True, deadline=None)
def test_ranking_scores_is_the_rule_over_the_whole_net(seed):
    stream = torch.Generator().manual_seed(seed)
    nets = [torch.randn(n, 4, generator=stream, dtype=torch.float64) for n in (6, 4, 7)]
    gammas = [torch.rand(len(planes), generator=stream) for planes in nets]
    views = [view_of(p, gamma=g.tolist()) for p, g in zip(nets, gammas, strict=True)]
    scores = [Spline(rho=0.2)(view)["0.weight"] for view in views]
    order = greedy([pair_distances(p, 0.2) for p in nets], gammas)
    ranks = [scores[k][unit].item() for k, unit in order]
    assert ranks == sorted(ranks)
    # The unit that a layer keeps to the last has its highest score.
    for k, score in enumerate(scores):
        (stays,) = set(range(len(score))) - {unit for layer, unit in order if layer == k}
        assert int(score.argmax()) == stays


def test_drops_end_with_one_unit():
    assert list(drops(torch.zeros(1, 1), torch.ones(1))) == []
    found = list(drops(torch.zeros(4, 4), torch.tensor([0.0, 1.0, 2.0, 3.0])))
    assert [unit for unit, _ in found] == [0, 1, 2]
    assert not any(math.isinf(distance) for _, distance in found)
