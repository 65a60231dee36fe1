"""SAP's rule as a score."""

from __future__ import annotations

import doctest
import math

import pytest
import torch

from autoprune.pruning.allocations import global_
from autoprune.pruning.granularities.weight import WeightGranularity
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.scores import pq_index
from autoprune.pruning.scores.pq_index import PqIndex
from autoprune.pruning.view import ModelView

SCOPES = ("neuron", "layer", "global")


def view_of(weights, masks=None):
    return ModelView(weights, masks or dense_masks(weights))


def net(seed=0, dead=0.0):
    stream = torch.Generator().manual_seed(seed)
    shapes = {"conv": (8, 3, 3, 3), "fc1": (20, 40), "fc2": (5, 20)}
    scales = {"conv": 1.0, "fc1": 0.1, "fc2": 3.0}
    weights = {n: scales[n] * torch.randn(s, generator=stream) for n, s in shapes.items()}
    masks = {n: torch.rand(w.shape, generator=stream) >= dead for n, w in weights.items()}
    return view_of({n: w * masks[n] for n, w in weights.items()}, masks)


def keep(score, view, kept):
    units = WeightGranularity().pool(score(view), view)
    return WeightGranularity().select(units, global_.allocate(units, kept), view).masks


def alive(masks):
    return sum(int(mask.sum()) for mask in masks.values())


def test_the_docstrings_hold():
    assert doctest.testmod(pq_index).failed == 0


def test_scores_by_hand():
    # (1, 2): N(4, 1, 1) = 36 / 18 = 2, so d - r = 1. Ranks from the smallest: of the equal ones
    # the later index is the smaller. x = 1 and 2: 1 / 2, 2 / 3. floor(.9 * 3) = 2 may go at once,
    # so the third is beyond beta. A constant row never goes: 2 + k / 3. A scope's largest weight
    # goes last of all: 3 + 1/1 in a layer's only neuron.
    view = view_of({"w": torch.tensor([[4.0, 1.0, 1.0]]), "c": torch.tensor([[5.0, 5.0]])})
    scores = PqIndex(p=1.0, q=2.0)(view)
    assert scores["w"][0].tolist() == pytest.approx([4, 2 / 3, 0.5])
    assert scores["c"][0].tolist() == pytest.approx([4, 2 + 1 / 3])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.7, 3.0, 9.0])
@pytest.mark.parametrize(("p", "q", "eta"), [(0.5, 1.0, 0.0), (1.0, 2.0, 0.0), (0.5, 1.0, 0.1)])
def test_a_top_k_over_the_net_is_the_rule_in_every_scope(scope, gamma, p, q, eta):
    view, score = net(dead=0.3), PqIndex(scope, p, q, eta)
    total = alive(view.masks)
    planned = score.planned(view, gamma)
    masks = keep(score, view, total - planned)
    assert total - alive(masks) == planned
    rows = zip(score._rows(view), pq_index.to_rows(masks, scope), strict=True)
    for (values, before), after in rows:
        counts = score.row_counts(values, before, gamma)
        assert torch.equal((before & ~after).sum(1).double(), counts)
        assert (counts <= 0.9 * before.sum(1)).all()
        # What goes is smaller than what stays.
        gone = torch.where(before & ~after, values.abs(), 0.0).amax(1)
        left = torch.where(after, values.abs(), math.inf).amin(1)
        assert (gone <= left).all()


@pytest.mark.parametrize("scope", SCOPES)
def test_at_gamma_one_the_count_is_that_of_the_rounded_bound(scope):
    # floor(d - r) = d - ceil(r), with the authors' ceil.
    view, score = net(), PqIndex(scope, 1.0, 2.0)
    for values, before in score._rows(view):
        sizes = before.sum(1).double()
        count = values.double().abs().sum(1) ** 2 / values.double().square().sum(1)
        assert torch.equal(score.row_counts(values, before, 1.0), sizes - count.ceil())


def test_the_first_step_on_gaussian_weights_removes_what_the_card_says():
    stream = torch.Generator().manual_seed(0)
    view = view_of({"w": torch.randn(1000, 1000, generator=stream)})
    # 1 - 2 / pi = .3634 and 1 - .8472 = .1528 of a long vector; rows of 1000 hardly differ.
    for norms, share in (((1.0, 2.0), 0.3634), ((0.5, 1.0), 0.1528)):
        for scope in SCOPES:
            found = PqIndex(scope, *norms).planned(view, 1.0) / 1_000_000
            assert found == pytest.approx(share, abs=0.003)


def test_nothing_goes_at_gamma_zero_and_more_at_more():
    view = net()
    counts = [PqIndex().planned(view, gamma) for gamma in (0.0, 0.5, 1.0, 3.0, 5.0, 9.0)]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[1] < counts[-1]
    tolerant = [PqIndex(eta=eta).planned(view, 1.0) for eta in (0.0, 0.01, 0.1, 1.0)]
    assert tolerant == sorted(tolerant)
    assert tolerant[0] < tolerant[-1]


def test_beta_limits_a_round():
    view = net()
    for beta in (0.1, 0.25, 0.5):
        score = PqIndex(beta=beta)
        for values, before in score._rows(view):
            counts = score.row_counts(values, before, 10.0)
            assert torch.equal(counts, torch.floor(beta * before.sum(1)).double())


def test_masks_are_nested_in_the_count():
    view, score = net(dead=0.2), PqIndex()
    before = view.masks
    for kept in range(alive(view.masks), -1, -37):
        masks = keep(score, view, kept)
        assert alive(masks) == kept
        assert all(not (mask & ~before[name]).any() for name, mask in masks.items())
        before = masks


def test_beyond_beta_every_scope_loses_the_same_share():
    # Nine tenths of each row are the rule's at most; half of what is left is .05 of each.
    view, score = view_of({"w": net().weights["fc1"]}), PqIndex()
    masks = keep(score, view, 40)
    assert masks["w"].sum(1).tolist() == [2] * 20


def test_a_neuron_is_judged_by_itself():
    view = net(dead=0.1)
    factors = {n: torch.rand(len(w), *(1,) * (w.dim() - 1)) + 0.5 for n, w in view.weights.items()}
    other = view_of({n: w * factors[n] for n, w in view.weights.items()}, dict(view.masks))
    kept = alive(view.masks) // 3
    one, two = (keep(PqIndex("neuron"), v, kept) for v in (view, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    one, two = (keep(PqIndex("global"), v, kept) for v in (view, other))
    assert not all(torch.equal(one[name], two[name]) for name in one)


def test_the_mean_index_is_over_scopes_that_live():
    weights = {"w": torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 1.0], [7.0, 2.0, 1.0]])}
    masks = {"w": torch.tensor([[True] * 3, [True] * 3, [False] * 3])}
    # Rows: 1 - sqrt(2 / 3), 0, and nothing.
    found = PqIndex(p=1.0, q=2.0).mean_index(view_of(weights, masks))
    assert found == pytest.approx((1 - math.sqrt(2 / 3)) / 2)
    gone = {"w": torch.zeros(3, 3, dtype=torch.bool)}
    assert PqIndex().mean_index(view_of(weights, gone)) == 0.0
