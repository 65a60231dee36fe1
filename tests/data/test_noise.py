from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.config import TaskConfig
from autoprune.data.noise import CLEAN, LabelNoise, noisy_labels
from autoprune.data.raw import Part

KINDS = ("symmetric", "exact", "pairflip")
N = 20_000


def balanced(num_classes: int, count: int = N) -> np.ndarray:
    return np.arange(count, dtype=np.int64) % num_classes


def transition(kind: str, num_classes: int, rate: float) -> np.ndarray:
    """Row y, column y~: how probable it is that label y becomes y~."""
    kept = (1 - rate) * np.eye(num_classes)
    if kind == "symmetric":  # the right label is drawn as often as any other
        return kept + rate / num_classes
    if kind == "exact":
        return kept + rate / (num_classes - 1) * (1 - np.eye(num_classes))
    return kept + rate * np.roll(np.eye(num_classes), 1, axis=1)


@pytest.mark.parametrize("rate", [0.1, 0.4])
@pytest.mark.parametrize("num_classes", [2, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_as_many_labels_are_wrong_as_the_card_says(
    kind: Any, num_classes: int, rate: float
) -> None:
    labels = balanced(num_classes)
    found = noisy_labels(labels, num_classes, rate, kind, 0)
    # Of the symmetric draws one in C hits the right class: at .1 and C = 10, 9 % are wrong.
    q = rate * (1 - 1 / num_classes) if kind == "symmetric" else rate
    assert abs((found != labels).mean() - q) <= 3 * math.sqrt(q * (1 - q) / N)


@pytest.mark.parametrize("num_classes", [3, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_each_class_goes_where_its_row_says(kind: Any, num_classes: int) -> None:
    labels = balanced(num_classes)
    found = noisy_labels(labels, num_classes, 0.3, kind, 1)
    for y, row in enumerate(transition(kind, num_classes, 0.3)):
        own = found[labels == y]
        shares = np.bincount(own, minlength=num_classes) / len(own)
        # 4 sigma, where the whole has 3: a row of ten entries, ten rows.
        assert (np.abs(shares - row) <= 4 * np.sqrt(row * (1 - row) / len(own))).all()


def test_symmetric_noise_draws_a_number_of_examples_rounded_up() -> None:
    # A million classes, so that a draw hits the right one in none of these. ceil(.05 * 41) = 3,
    # and .07 of 100 are 7, though the floats' product is 7.000000000000001.
    for count, rate, changed in ((41, 0.05, 3), (100, 0.07, 7), (10, 0.9, 9), (7, 0.0, 0)):
        labels = np.zeros(count, dtype=np.int64)
        found = noisy_labels(labels, 1_000_000, rate, "symmetric", 0)
        assert int((found != labels).sum()) == changed


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_is_one_draw(kind: Any) -> None:
    labels = balanced(10, 1000)
    before = labels.copy()
    found = noisy_labels(labels, 10, 0.3, kind, 5)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(labels, before)
    np.testing.assert_array_equal(found, noisy_labels(labels, 10, 0.3, kind, 5))
    assert (found != noisy_labels(labels, 10, 0.3, kind, 6)).any()


def test_pairs_are_neighbours_and_the_last_class_becomes_the_first() -> None:
    labels = balanced(4, 400)
    found = noisy_labels(labels, 4, 0.5, "pairflip", 0)
    assert set((found - labels).tolist()) == {0, 1, -3}


@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=30),
    rate=st.floats(0.0, 0.99),
    kind=st.sampled_from(KINDS),
)
def test_labels_stay_classes_and_no_noise_changes_none(
    labels: list[int], rate: float, kind: Any
) -> None:
    array = np.array(labels, dtype=np.int64)
    found = noisy_labels(array, 3, rate, kind, 0)
    assert found.shape == array.shape
    assert ((found >= 0) & (found < 3)).all()
    np.testing.assert_array_equal(noisy_labels(array, 3, 0.0, kind, 0), array)


def test_a_task_says_which_noise() -> None:
    task = TaskConfig(label_noise=0.2, label_noise_kind="exact", label_noise_seed=3)
    assert LabelNoise.of(task) == LabelNoise(0.2, "exact", 3)
    assert LabelNoise.of(TaskConfig()) == CLEAN
    part = Part(np.zeros((50, 1, 2, 2), np.uint8), balanced(5, 50))
    noisy = LabelNoise.of(task).apply(part, 5)
    assert noisy.images is part.images
    np.testing.assert_array_equal(noisy.labels, noisy_labels(part.labels, 5, 0.2, "exact", 3))
