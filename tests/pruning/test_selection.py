from __future__ import annotations

import pytest
import torch

from autoprune.pruning.selection import best_of_layer, lift_best, rank, select_weights


def test_the_count_is_exact_whatever_is_alive() -> None:
    # Twelve weights, a third to go: 12 - round(4) = 8 stay; of equal scores the first.
    scores = {"a": torch.zeros(2, 4), "b": torch.zeros(4)}
    masks = select_weights(scores, scores, "global", 1 / 3)
    assert masks["a"].all()
    assert not masks["b"].any()


def test_an_allocation_decides_by_layer() -> None:
    scores = {"a": torch.arange(4.0), "b": torch.arange(10.0, 14.0)}
    weights = {name: score + 1 for name, score in scores.items()}
    assert select_weights(scores, weights, "global", 0.5)["a"].tolist() == [False] * 4
    assert select_weights(scores, weights, "uniform", 0.5)["a"].tolist() == [
        False,
        False,
        True,
        True,
    ]


def test_the_best_of_a_layer_are_whole_weights() -> None:
    # 0.5 % of 300 is 1.5: two stay.
    scores = torch.linspace(0, 1, 300)
    assert best_of_layer(scores, 0.005).nonzero().flatten().tolist() == [298, 299]
    assert int(best_of_layer(scores, 0.0).sum()) == 0


def test_lifting_spares_every_layer() -> None:
    # Half of each layer is lifted, so b keeps its 4 though all of a is above it.
    scores = {"a": torch.tensor([30.0, 10.0]), "b": torch.tensor([1.0, 4.0])}
    lifted = lift_best(scores, 0.5)
    assert lifted["b"][1] > lifted["a"][1]
    assert lifted["a"][0] > lifted["b"][1]  # the order among the lifted stays
    masks = select_weights(lifted, scores, "global", 0.5)
    assert (masks["a"].tolist(), masks["b"].tolist()) == ([True, False], [False, True])
    # One of four: fewer than were lifted; the best of them remains.
    assert select_weights(lifted, scores, "global", 0.75)["a"].tolist() == [True, False]


def test_ranks_go_by_the_first_score_then_the_second_then_the_place() -> None:
    # In order: b0 (1), then a1 (.5 with 3), a0 (.5 with 2), b1 (.5 with 2, but later), a2.
    first = {"a": torch.tensor([0.5, 0.5, 0.1]), "b": torch.tensor([[1.0, 0.5]])}
    second = {"a": torch.tensor([2.0, 3.0, 9.0]), "b": torch.tensor([[0.0, 2.0]])}
    ranks = rank(first, second)
    assert ranks["a"].tolist() == [3, 4, 1]
    assert ranks["b"].tolist() == [[5, 2]]
    assert ranks["a"].dtype is torch.float64


def test_a_name_that_is_no_allocation_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        select_weights({"a": torch.ones(2)}, {"a": torch.ones(2)}, "nowhere", 0.5)
