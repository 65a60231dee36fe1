"""Adaptive counts per neuron as a score."""

from __future__ import annotations

import doctest

import pytest
import torch

from autoprune.pruning.allocations import global_
from autoprune.pruning.compressibility import effective_count
from autoprune.pruning.granularities.weight import WeightGranularity
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.scores import lq
from autoprune.pruning.scores.lq import Lq
from autoprune.pruning.view import ModelView, Signal


def view_of(weights, rms=None):
    signals = {} if rms is None else {Signal.INPUT_RMS: rms}
    return ModelView(weights, dense_masks(weights), signals)


def net(seed=0):
    stream = torch.Generator().manual_seed(seed)
    return {
        "conv": torch.randn(8, 3, 3, 3, generator=stream, dtype=torch.float64),
        "fc": torch.randn(20, 40, generator=stream, dtype=torch.float64) ** 3,
    }


def keep(score, view, kept):
    units = WeightGranularity().pool(score(view), view)
    return WeightGranularity().select(units, global_.allocate(units, kept), view).masks


def counts(masks):
    return torch.cat([mask.flatten(1).sum(1) for mask in masks.values()])


def rows(weights):
    return [row.abs() for weight in weights.values() for row in weight.flatten(1)]


def test_the_docstrings_hold():
    assert doctest.testmod(lq).failed == 0


def test_effective_counts_by_hand():
    # q = .5: N(4, 1, 1) = 16 / 6 = 8 / 3, and N(1, 1) = 2. The weight with i larger ones scores
    # N / (N + i): 1, 8/11, 8/14 and 1, 2/3; the 1 of a layer's only neuron is lifted to 1 + 1/1.
    view = view_of({"a": torch.tensor([[1.0, -4.0, 1.0]]), "b": torch.tensor([[1.0, 1.0]])})
    scores = Lq("effective_count")(view)
    assert scores["a"][0].tolist() == pytest.approx([8 / 11, 2, 8 / 14])
    assert scores["b"][0].tolist() == pytest.approx([2, 2 / 3])


def test_tails_by_hand():
    view = view_of({"a": torch.tensor([[3.0, -12.0, 4.0]])})
    assert Lq(norm=2)(view)["a"][0].tolist() == pytest.approx([3 / 13, 2, 5 / 13])
    assert Lq(norm=1)(view)["a"][0].tolist() == pytest.approx([3 / 19, 2, 7 / 19])


def test_inputs_weight_the_tails():
    # Times (4, 1/3, 1) the weights 3, -12, 4 are 12, 4 and 4; of equal ones the first is larger.
    view = view_of({"a": torch.tensor([[3.0, -12.0, 4.0]])}, {"a": torch.tensor([[4, 1 / 3, 1.0]])})
    scores = Lq("output_weighted", norm=1)(view)["a"][0]
    assert scores.tolist() == pytest.approx([2, 8 / 20, 4 / 20])
    assert Lq("output_weighted").passes == 1
    assert not Lq("output_weighted").cheap
    assert Lq().needs == frozenset()


@pytest.mark.parametrize("kappa", [0.05, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("q", [0.3, 0.5, 0.9])
def test_one_factor_of_the_effective_count_holds_for_all(kappa, q):
    weights = net()
    # m_j = ceil(kappa N_j), at most d_j; bisecting the total to their sum gives them back.
    sizes = torch.stack([effective_count(row.unsqueeze(0), q, 1.0)[0] for row in rows(weights)])
    caps = torch.tensor([len(row) for row in rows(weights)])
    wanted = torch.minimum(torch.ceil(kappa * sizes).long(), caps)
    masks = keep(Lq("effective_count", q=q), view_of(weights), int(wanted.sum()))
    assert torch.equal(counts(masks), wanted)


@pytest.mark.parametrize("eta", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("norm", [1, 2])
def test_one_tolerance_holds_for_all(eta, norm):
    weights = net()
    wanted = []
    for row in rows(weights):
        # min {m : |w - w_m| <= eta |w|}, by trying every m.
        ordered = row.sort(descending=True).values
        rest = [float(ordered[m:].norm(norm)) for m in range(len(row) + 1)]
        wanted.append(next(m for m, left in enumerate(rest) if left <= eta * rest[0]))
    masks = keep(Lq(norm=norm), view_of(weights), sum(wanted))
    assert counts(masks).tolist() == wanted


@pytest.mark.parametrize("rule", ["effective_count", "tail_tolerance", "output_weighted"])
def test_the_budget_is_met_and_masks_are_nested(rule):
    weights = net()
    stream = torch.Generator().manual_seed(1)
    rms = {n: torch.rand(w.shape, generator=stream) for n, w in weights.items()}
    view, before = view_of(weights, rms), None
    for kept in (1016, 700, 300, 100, 28, 5, 0):
        masks = keep(Lq(rule), view, kept)
        assert int(counts(masks).sum()) == kept
        if before is not None:
            assert all(not (masks[name] & ~before[name]).any() for name in masks)
        if kept >= 28:  # a neuron's largest weight goes last, and there are 28 neurons
            assert int(counts(masks).min()) >= 1
        before = masks


@pytest.mark.parametrize("rule", ["effective_count", "tail_tolerance"])
def test_the_last_weights_are_not_all_one_layers(rule):
    # 28 neurons, 20 of them in the second layer: of the 7 best, 2 and 5, a quarter of each.
    masks = keep(Lq(rule), view_of(net()), 7)
    assert [int(mask.sum()) for mask in masks.values()] == [2, 5]


def test_compressible_neurons_lose_more():
    # Two neurons of the same norm: equal weights, and halving ones. Effective counts 10 and, q =
    # .5, (sum of sqrt(.5)^i)^2 / (sum of .5^i) = 10.96 / 2 = 5.48: 11 of 15.48 are 7.1 and 3.9.
    # Tails sqrt((10 - i) / 10) = 1 .95 .89 .84 .77 .71 .63 .55 .45 and .5^i = 1 .5 .25: the
    # eleven largest are nine and two.
    even, steep = torch.ones(10), 0.5 ** torch.arange(10)
    weights = {"w": torch.stack([even / even.norm(), steep / steep.norm()])}
    for rule, wanted in (("effective_count", [7, 4]), ("tail_tolerance", [9, 2])):
        assert counts(keep(Lq(rule), view_of(weights), 11)).tolist() == wanted


@pytest.mark.parametrize("rule", ["effective_count", "tail_tolerance"])
def test_a_neuron_is_judged_by_itself(rule):
    weights = net()
    scaled = {n: w * (1 + torch.arange(len(w)).view(-1, *(1,) * (w.dim() - 1))) for n, w in
              weights.items()}  # fmt: skip
    one, two = (keep(Lq(rule), view_of(w), 300) for w in (weights, scaled))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_neuron_of_zeros_goes_first():
    weights = {"w": torch.tensor([[0.0, 0.0], [0.1, 0.1]])}
    for rule in ("effective_count", "tail_tolerance"):
        assert keep(Lq(rule), view_of(weights), 2)["w"].tolist() == [[False] * 2, [True] * 2]


def test_what_is_gone_does_not_count():
    weights = {"w": torch.tensor([[3.0, 4.0, 5.0]])}
    view = ModelView(weights, {"w": torch.tensor([[True, True, False]])})
    # 4 and 3: 3 / 5, and the largest of the only neuron, lifted to 2.
    assert Lq(norm=2)(view)["w"][0].tolist() == pytest.approx([0.6, 2.0, 0.0])
