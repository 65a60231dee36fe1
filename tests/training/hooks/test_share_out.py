"""How sparse momentum shares out among layers what all of them dropped."""

from __future__ import annotations

from fractions import Fraction

import pytest

from autoprune.training.hooks.regrow import share_out

MOST = Fraction(99, 100)


def test_what_is_gone_is_shared_out_by_momentum() -> None:
    # 10 gone; shares 3 : 1 : 1 make 6, 2, 2.
    gone = {"a": 2, "b": 4, "c": 4}
    free = {"a": 100, "b": 100, "c": 100}
    assert share_out({"a": 0.3, "b": 0.1, "c": 0.1}, free, gone, MOST) == {"a": 6, "b": 2, "c": 2}


def test_a_full_layer_passes_the_rest_on() -> None:
    # a would get 6 but has room for .99 * 4 = 3; the other 7 go 1 : 1, the odd one to the first.
    gone = {"a": 2, "b": 4, "c": 4}
    free = {"a": 4, "b": 100, "c": 100}
    assert share_out({"a": 0.3, "b": 0.1, "c": 0.1}, free, gone, MOST) == {"a": 3, "b": 4, "c": 3}


def test_a_layer_without_momentum_comes_last() -> None:
    free = {"a": 100, "b": 100}
    assert share_out({"a": 0.0, "b": 0.1}, free, {"a": 2, "b": 4}, MOST) == {"a": 0, "b": 6}
    # ... but takes what the others have no room for: b takes .99 * 5 = 4 of 6.
    free = {"a": 100, "b": 5}
    assert share_out({"a": 0.0, "b": 0.1}, free, {"a": 2, "b": 4}, MOST) == {"a": 2, "b": 4}


def test_nearly_full_layers_are_filled_when_they_must() -> None:
    # .99 of 2 and of 4 is 1 and 3, fewer than the 6 gone: all free places are taken.
    assert share_out({"a": 1.0, "b": 1.0}, {"a": 2, "b": 4}, {"a": 2, "b": 4}, MOST) == {
        "a": 2,
        "b": 4,
    }


@pytest.mark.parametrize("shares", [{"a": 0.0, "b": 0.0}, {"a": float("nan"), "b": 1.0}])
def test_shares_that_say_nothing_move_nothing_between_layers(shares: dict[str, float]) -> None:
    gone = {"a": 2, "b": 4}
    assert share_out(shares, {"a": 50, "b": 50}, gone, MOST) == gone
