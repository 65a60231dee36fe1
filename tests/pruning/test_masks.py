from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.pruning.masks import top_k_mask

few_values = st.sampled_from([-1.0, 0.0, 0.5, 2.0, float("inf"), float("-inf")])


@given(st.lists(few_values, min_size=1, max_size=12), st.data())
def test_the_highest_are_kept_and_ties_go_to_the_lower_index(
    values: list[float], data: st.DataObject
) -> None:
    keep = data.draw(st.integers(0, len(values)))
    order = sorted(range(len(values)), key=lambda i: (-values[i], i))  # a sort, by hand
    mask = top_k_mask(torch.tensor(values, dtype=torch.float64), keep)
    assert torch.nonzero(mask).reshape(-1).tolist() == sorted(order[:keep])


def test_what_is_no_number_ranks_last_and_the_count_holds() -> None:
    scores = torch.tensor([[float("nan"), 1.0], [2.0, float("nan")]])
    assert top_k_mask(scores, 2).tolist() == [[False, True], [True, False]]
    assert top_k_mask(scores, 3).tolist() == [[True, True], [True, False]]


def test_nothing_and_everything() -> None:
    scores = torch.zeros(2, 3)
    assert not top_k_mask(scores, 0).any()
    assert top_k_mask(scores, 6).all()
    assert top_k_mask(scores, 6).dtype is torch.bool
