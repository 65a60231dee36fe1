"""Masks that stop moving (card spline, f), and the snapshot that is pruned for it."""

from __future__ import annotations

import doctest
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.stages import early
from autoprune.stages.early import EarlyTicket, Rule, mask_distances, settled
from autoprune.stages.prune import Mask, Score
from autoprune.stages.state import TrialState
from autoprune.trial.context import WorkerContext
from tests.methods.normed import normed_context
from tests.methods.support import assert_equal

__all__ = ["normed_context"]

RULES: tuple[Rule, ...] = ("newest_vs_queue", "consecutive")


def bits(text: str) -> torch.Tensor:
    return torch.tensor([int(bit) for bit in text]) > 0


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(early).failed == 0


def test_distances_by_hand() -> None:
    # The last differs from the first in 4 of 8 entries, from the second in 2, which differ in 4.
    masks = [bits("11110000"), bits("10010110"), bits("10100110")]
    assert mask_distances(masks, "newest_vs_queue") == [4 / 8, 2 / 8]
    assert mask_distances(masks, "consecutive") == [4 / 8, 2 / 8]
    # Walking on by one unit each time: the newest leaves the oldest behind.
    walk = [bits("11000000"), bits("10100000"), bits("10010000"), bits("00010001")]
    assert mask_distances(walk, "newest_vs_queue") == [4 / 8, 4 / 8, 2 / 8]
    assert mask_distances(walk, "consecutive") == [2 / 8, 2 / 8, 2 / 8]


@given(pair=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=20))
@settings(max_examples=50, derandomize=True, deadline=None)
def test_it_is_a_normalised_hamming_distance(pair: list[tuple[bool, bool]]) -> None:
    one, other = (torch.tensor(bits) for bits in zip(*pair, strict=True))
    ((found,), (back,)) = (mask_distances(m, "consecutive") for m in ([one, other], [other, one]))
    assert found == back
    assert 0.0 <= found <= 1.0
    assert (found == 0.0) == torch.equal(one, other)
    if one.sum() == other.sum():  # what one gains another loses
        assert round(found * len(one)) % 2 == 0


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("window", [2, 5])
def test_equal_masks_settle_at_the_window_and_not_before(rule: Rule, window: int) -> None:
    masks: list[torch.Tensor | None] = []
    for call in range(1, 8):
        masks.append(bits("1010"))
        assert settled(masks, window, 0.0, rule) == (call >= window)


def test_the_threshold_is_met_from_below() -> None:
    # Two of 20 entries: a distance of .1.
    masks = [bits("1" * 10 + "0" * 10), bits("1" * 9 + "01" + "0" * 9)]
    assert settled(masks, 2, 0.1, "consecutive")
    assert not settled(masks, 2, 0.099, "consecutive")


def test_a_mask_that_walks_settles_step_by_step_only() -> None:
    # Of 20 units one is exchanged for a new one each time: .1 to the one before, .3 to the third.
    walk = [torch.arange(20).add(k) % 20 < 10 for k in range(4)]
    assert mask_distances(walk, "newest_vs_queue") == pytest.approx([0.3, 0.2, 0.1])
    assert settled(walk, 4, 0.1, "consecutive")
    assert not settled(walk, 4, 0.1, "newest_vs_queue")
    assert settled(walk, 4, 0.3, "newest_vs_queue")


def test_what_came_before_the_window_is_forgotten() -> None:
    masks = [bits("1100"), bits("0011"), bits("0011"), bits("0011")]
    assert settled(masks, 3, 0.0, "newest_vs_queue")
    assert not settled(masks, 4, 0.0, "newest_vs_queue")
    assert not settled(masks, 4, 0.0, "consecutive")  # its first step is one of the three


def test_ties_hold_it_up() -> None:
    # Five masks of ties agree for no reason; the five after them for one.
    mask = bits("1100")
    assert not settled([None] * 5, 5, 1.0, "consecutive")
    assert not settled([None, mask, mask, mask, mask], 5, 1.0, "consecutive")
    assert not settled([mask, mask, None, mask, mask], 5, 1.0, "consecutive")
    assert settled([None, *[mask] * 5], 5, 0.0, "consecutive")


def ticket(count: int = 8, **changes: Any) -> EarlyTicket:
    """Return the stage for `count` snapshots at 1 to `count` tenths."""
    shares = tuple(k / 10 for k in range(1, count + 1))
    stage = EarlyTicket(shares=shares, score="slimming", allocation="global", sparsity=0.5, seed=0)
    return replace(stage, **changes)


@pytest.fixture(scope="module")
def drawn(normed_context: WorkerContext) -> list[TrialState]:
    """Nine states whose scales are drawn anew, all of them distinct."""
    fresh = TrialState(normed_context.task.build_model(0).state_dict())
    stream = torch.Generator().manual_seed(0)
    states = []
    for number in range(9):
        scales = {
            f"{layer}.weight": torch.rand(n, generator=stream) for layer, n in ((1, 16), (5, 32))
        }
        states.append(replace(fresh, weights={**fresh.weights, **scales}, log={"number": number}))
    return states


@pytest.mark.parametrize("window", [3, 5])
def test_a_frozen_net_is_drawn_at_the_window(
    window: int, drawn: list[TrialState], normed_context: WorkerContext
) -> None:
    stage = ticket(window=window, threshold=0.0)
    found = stage.run([drawn[0]] * 9, normed_context)
    assert found.log["ticket_share"] == window / 10
    assert found.log["ticket_settled"] is True


def test_the_first_agreement_is_taken(
    drawn: list[TrialState], normed_context: WorkerContext
) -> None:
    # Random masks of half the weights are far apart: only the fourth to the sixth are alike.
    states = [*drawn[:3], *[replace(drawn[3], log={"number": k}) for k in (3, 4, 5)], *drawn[6:]]
    found = ticket(window=3).run(states, normed_context)
    assert (found.log["number"], found.log["ticket_share"]) == (5, 0.6)
    scored = Score(score="slimming", seed=0).run([states[5]], normed_context)
    mask = Mask(allocation="global", sparsity=0.5, granularity="channel")
    pruned = mask.run([states[5], scored], normed_context)
    assert_equal(found.weights, pruned.weights)
    assert_equal(found.masks, pruned.masks)
    assert found.structure == pruned.structure
    assert not found.structure.is_dense


def test_without_agreement_the_end_is_pruned(
    drawn: list[TrialState], normed_context: WorkerContext
) -> None:
    found = ticket(window=3).run(drawn, normed_context)
    assert found.log["number"] == 8
    assert found.log["ticket_share"] == 1.0
    assert found.log["ticket_settled"] is False
    assert (
        0
        < sum(int(m.sum()) for m in found.masks.values())
        < sum(m.numel() for m in found.masks.values())
    )


def test_scales_that_never_moved_do_not_agree(normed_context: WorkerContext) -> None:
    # All scales are 1: the masks, by index, are equal in all nine.
    fresh = TrialState(normed_context.task.build_model(0).state_dict())
    found = ticket().run([fresh] * 9, normed_context)
    assert found.log["ticket_settled"] is False


def test_a_divergence_counts_only_before_the_masks_settle(
    drawn: list[TrialState], normed_context: WorkerContext
) -> None:
    lost = replace(drawn[1], log={"status": "diverged"})
    states = [*[drawn[0]] * 4, *[lost] * 5]
    assert ticket(window=4).run(states, normed_context).log["ticket_share"] == 0.4
    assert ticket(window=5).run(states, normed_context) is lost
    # Masks of broken weights agree with one another, too.
    assert ticket(window=4).run([*[drawn[0]] * 3, *[lost] * 6], normed_context) is lost
    assert ticket(window=5).run([*drawn[:8], lost], normed_context) is lost


def test_every_field_enters_the_key(normed_context: WorkerContext) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"shares": (0.1, 0.2)},
        {"score": "random_units"},
        {"allocation": "uniform"},
        {"sparsity": 0.6},
        {"seed": 1},
        {"of": "macs"},
        {"window": 4},
        {"threshold": 0.2},
        {"rule": "consecutive"},
    ]
    keys = {ticket(**change).key(normed_context.keys) for change in changes}
    assert len(keys) == len(changes)
