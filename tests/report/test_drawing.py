from __future__ import annotations

import numpy as np

from autoprune.report.drawing import COLOURS, bars, looks, numbers, window


def test_looks_start_again_when_used_up() -> None:
    names = [f"m{i}" for i in range(len(COLOURS) + 1)]
    found = looks(names)
    assert list(found) == names
    assert found["m0"] == found[names[-1]]
    assert len(set(found.values())) == len(COLOURS)


def test_bars_have_two_lengths_and_none_without_an_interval() -> None:
    lengths = bars(numbers([90.0, 80.0, None]), [[88.0, 91.0], None, None])
    assert lengths.tolist() == [[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_a_collapsed_tail_falls_out_of_the_view_and_is_counted() -> None:
    # Spread max(90 - 89.5, 2) = 2, floor 90 - 8 = 82, margin 0.06 * 8 + 0.15 = 0.63.
    values = np.array([90.0, 90.0, 89.5, 89.5, 10.0, np.nan])
    low, high, below = window(values, None)
    assert np.allclose([low, high], [81.37, 90.63])
    assert below == 1


def test_the_dense_level_is_in_view_and_nothing_shows_more_than_100() -> None:
    low, high, below = window(np.array([90.0, 91.0]), 99.9)
    assert low < 90
    assert high == 100.5
    assert below == 0
    assert window(np.array([]), None) == (0.0, 100.0, 0)
