from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from autoprune.metrics.distance import learning_distance

INITIAL = {"a": torch.tensor([[1.0, -2.0], [2.0, 0.0]]), "b": torch.tensor([3.0, 4.0])}
FINAL = {"a": torch.tensor([[3.0, -2.0], [0.0, 1.0]]), "b": torch.tensor([0.0, 2.0])}
MASKS = {
    "a": torch.tensor([[True, True], [False, True]]),
    "b": torch.tensor([False, True]),
}


def masks(value: bool) -> dict[str, Tensor]:
    return {name: torch.full_like(w, value, dtype=torch.bool) for name, w in INITIAL.items()}


def test_by_hand() -> None:
    # Kept: a moves by 2, 0 and 1, b by 2: 4 + 0 + 1 + 4 = 9. Masked: 2 and 3 at first: 4 + 9 = 13.
    found = learning_distance(INITIAL, FINAL, MASKS)
    assert found.alive == 3.0
    assert found.pruned == pytest.approx(math.sqrt(13), rel=1e-15)
    assert found.total == pytest.approx(math.sqrt(22), rel=1e-15)


def test_before_training_and_without_pruning_it_is_zero() -> None:
    assert learning_distance(INITIAL, INITIAL, masks(True)) == (0.0, 0.0, 0.0)
    assert learning_distance(INITIAL, INITIAL, {}) == (0.0, 0.0, 0.0)


def test_with_everything_pruned_it_is_the_norm_of_the_start() -> None:
    norm = math.sqrt(1 + 4 + 4 + 9 + 16)
    assert learning_distance(INITIAL, FINAL, masks(False)) == (norm, 0.0, norm)


def test_what_a_mask_removed_counts_as_zero_whatever_stands_there() -> None:
    # A checkpoint written right after an update may hold anything under its masks.
    dirty = {n: torch.where(MASKS[n], w, torch.inf) for n, w in FINAL.items()}
    assert learning_distance(INITIAL, dirty, MASKS) == learning_distance(INITIAL, FINAL, MASKS)


def test_only_what_the_start_names_is_compared_in_any_order() -> None:
    more = {"norm.weight": torch.ones(3), **FINAL}
    turned = dict(reversed(INITIAL.items()))
    assert learning_distance(turned, more, MASKS) == pytest.approx(
        learning_distance(INITIAL, FINAL, MASKS), rel=1e-15
    )
    whole = learning_distance(INITIAL, FINAL, {"a": MASKS["a"]})  # b is kept whole: 9 + 4 for it
    assert whole.alive == pytest.approx(math.sqrt(4 + 1 + 9 + 4), rel=1e-15)


values = st.lists(st.floats(-10, 10, width=32), min_size=6, max_size=6)


@given(start=values, end=values, kept=st.lists(st.booleans(), min_size=6, max_size=6))
def test_squares_add_up(start: list[float], end: list[float], kept: list[bool]) -> None:
    w0, w, mask = torch.tensor(start), torch.tensor(end), torch.tensor(kept)
    found = learning_distance({"w": w0}, {"w": w}, {"w": mask})
    # Rounding of float64 roots and squares only.
    assert found.total**2 == pytest.approx(found.alive**2 + found.pruned**2, rel=1e-12, abs=1e-30)
    direct = float((w0.double() - w.double() * mask).norm())
    assert found.total == pytest.approx(direct, rel=1e-12, abs=1e-30)
