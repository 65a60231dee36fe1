from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.errors import DataError
from autoprune.data.raw import Part, RawData, balanced_order, check, split


def raw(labels: list[int], num_classes: int = 2, **rest: object) -> RawData:
    array = np.array(labels, dtype=np.int64)
    images = np.arange(len(array), dtype=np.float32).reshape(-1, 1, 1, 1)
    names = tuple(map(str, range(num_classes)))
    return RawData(train=Part(images, array), classes=names, **rest)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_every_beginning_holds_the_classes_in_proportion(labels: list[int]) -> None:
    array = np.array(labels)
    order = balanced_order(array)
    assert sorted(order) == list(range(len(labels)))
    share = np.bincount(array, minlength=4) / len(array)
    for length in range(1, len(array) + 1):
        counts = np.bincount(array[order[:length]], minlength=4)
        # A class is off by at most 1/2 by its own rounding and, through the length, by its
        # share of at most 1/2 for each of the four classes.
        assert (np.abs(counts - length * share) <= 0.5 + 2 * share + 1e-9).all()


def test_the_order_is_shuffled_and_depends_on_the_seed_only() -> None:
    labels = np.zeros(50, dtype=np.int64)
    first = balanced_order(labels)
    assert (first == balanced_order(labels)).all()
    assert (first != np.arange(50)).any()
    assert (first != balanced_order(labels, seed=1)).any()


def test_splits_are_disjoint_and_cover_everything() -> None:
    parts = split(raw([0, 1] * 20, num_val=8, num_test=4), None)
    seen = [set(part.images.ravel().tolist()) for part in parts]
    assert [len(s) for s in seen] == [28, 8, 4]
    assert set.union(*seen) == set(range(40))


def test_train_size_keeps_the_beginning_of_training_and_leaves_validation_whole() -> None:
    data = raw([0, 1] * 20, num_val=8, num_test=4)
    whole, small = split(data, None), split(data, 6)
    assert (small[0].images == whole[0].images[:6]).all()
    assert np.bincount(small[0].labels).tolist() == [3, 3]
    for before, after in zip(whole[1:], small[1:], strict=True):
        assert (before.images == after.images).all()


def test_a_given_part_is_not_split_off() -> None:
    own = Part(np.zeros((3, 1, 1, 1), np.float32), np.array([0, 1, 0]))
    train, val, test = split(raw([0, 1] * 5, val=own, num_val=4, num_test=2), None)
    assert (len(train.labels), len(val.labels), len(test.labels)) == (8, 3, 2)
    assert val is own


@pytest.mark.parametrize("train_size", [29, 1000])
def test_train_size_beyond_the_split_is_refused(train_size: int) -> None:
    with pytest.raises(DataError, match=r"task\.train_size must be at most 28"):
        split(raw([0, 1] * 20, num_val=8, num_test=4), train_size)


@pytest.mark.parametrize(("num_val", "num_test"), [(0, 1), (1, 0), (2, 2)])
def test_data_too_small_to_split_is_refused(num_val: int, num_test: int) -> None:
    with pytest.raises(DataError, match="too small to split"):
        split(raw([0, 1, 0], num_val=num_val, num_test=num_test), None)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([], "must not be empty"),
        ([0, 0, 0], "at least two classes"),
        ([0, 1, 2], r"labels must lie in \[0, 2\); got 2"),
        ([0, 1, -1], r"labels must lie in \[0, 2\); got -1"),
    ],
)
def test_bad_labels_are_refused(labels: list[int], words: str) -> None:
    with pytest.raises(DataError, match=words):
        check("mine", raw(labels))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite_are_refused_by_number(value: float) -> None:
    data = raw([0, 1, 0, 1])
    data.train.images[2, 0, 0, 0] = value
    with pytest.raises(DataError, match="mine training data input 2 must be finite"):
        check("mine", data)


def test_inputs_and_labels_of_different_length_are_refused() -> None:
    part = Part(np.zeros((3, 1, 2, 2), np.uint8), np.array([0, 1]))
    with pytest.raises(DataError, match="3 inputs, 2 labels"):
        check("mine", RawData(train=part, classes=("a", "b")))


def test_inputs_without_a_shape_are_refused() -> None:
    part = Part(np.zeros(2, np.float32), np.array([0, 1]))
    with pytest.raises(DataError, match="shape of their own"):
        check("mine", RawData(train=part, classes=("a", "b")))


def test_validation_data_is_checked_too() -> None:
    own = Part(np.zeros((1, 1, 1, 1), np.float32), np.array([7]))
    with pytest.raises(DataError, match="validation data labels"):
        check("mine", raw([0, 1], val=own))
