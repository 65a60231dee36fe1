"""Scoring and masking in rounds, without training in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.stages.init import Init
from autoprune.stages.prune import Mask, MaskRounds, Score
from autoprune.stages.state import TrialState
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.resolve import Resolver
from tests.methods.support import TOTAL, assert_equal, kept, state

INIT = Init(TASK, 0, "init")


def rounds(score: str = "synflow", **changes: Any) -> MaskRounds:
    stage = MaskRounds(
        parents=(INIT,), score=score, allocation="global", sparsity=0.99, rounds=6, seed=0
    )
    return replace(stage, **changes)


def one_round(
    before: TrialState, context: WorkerContext, score: str, sparsity: float, k: int
) -> TrialState:
    scored = Score(score=score, seed=0, label=f"score/{k}").run([before], context)
    mask = Mask(allocation="global", sparsity=sparsity)
    return mask.run([before, scored], context)


@pytest.mark.parametrize("score", ["snip", "grasp", "synflow"])
def test_rounds_are_scoring_and_masking_in_turns(digits_context: WorkerContext, score: str) -> None:
    # .99 in three rounds: densities .01 ** (1/3) = .2154, .01 ** (2/3) = .0464, .01.
    found = state(rounds(score, rounds=3), digits_context)
    step = state(INIT, digits_context)
    left = [TOTAL]
    for k, density in enumerate((0.01 ** (1 / 3), 0.01 ** (2 / 3), 0.01), start=1):
        before, step = step, one_round(step, digits_context, score, 1 - density, k)
        left.append(kept(step))
        for name, mask in step.masks.items():
            if before.masks:
                assert not (mask & ~before.masks[name]).any()
            assert not step.weights[name][~mask].any()
    assert left == [TOTAL, 10_815, 2_330, 502]
    assert_equal(found.masks, step.masks)
    assert_equal(found.weights, step.weights)
    alone = one_round(state(INIT, digits_context), digits_context, score, 0.99, 1)
    assert any(not torch.equal(alone.masks[n], mask) for n, mask in found.masks.items())


@pytest.mark.parametrize("sparsity", [0.0, 0.37, 0.9995])
def test_the_last_round_meets_the_count_exactly(
    digits_context: WorkerContext, sparsity: float
) -> None:
    found = state(rounds(sparsity=sparsity, rounds=7), digits_context)
    assert kept(found) == TOTAL - round(sparsity * TOTAL)


def test_a_schedule_divides_the_way(digits_context: WorkerContext) -> None:
    # Linear, two rounds to .8: the first goes to .4. What one_shot removes, it removes at once.
    step = one_round(state(INIT, digits_context), digits_context, "synflow", 0.4, 1)
    step = one_round(step, digits_context, "synflow", 0.8, 2)
    linear = state(rounds(sparsity=0.8, rounds=2, schedule="linear"), digits_context)
    assert_equal(linear.masks, step.masks)
    geometric = state(rounds(sparsity=0.8, rounds=2), digits_context)
    assert any(not torch.equal(m, linear.masks[n]) for n, m in geometric.masks.items())


@pytest.mark.parametrize(("score", "passes"), [("snip", 6), ("grasp", 12), ("synflow", 6)])
def test_every_round_s_passes_are_counted(
    digits_context: WorkerContext, score: str, passes: int
) -> None:
    assert state(rounds(score), digits_context).log["score_passes"] == passes


def test_empty_layers_are_counted(digits_context: WorkerContext) -> None:
    # 25 weights by magnitude at an initialisation whose spread shrinks with width: the last layer,
    # 100 by 10, has the widest. In a hundred rounds SynFlow leaves none of the three empty.
    alone = state(rounds("magnitude", sparsity=0.9995), digits_context)
    empty = sum(not mask.any() for mask in alone.masks.values())
    assert empty == alone.log["empty_layers"] == 2
    assert state(rounds(sparsity=0.9995, rounds=100), digits_context).log["empty_layers"] == 0


def test_what_was_stored_is_what_would_be_computed(
    digits_context: WorkerContext, tmp_path: Path
) -> None:
    stage = rounds("snip", rounds=4)
    whole = state(stage, digits_context)
    # A worker that computes all of it, and one that comes later and finds it there.
    first = Resolver(open_context(TASK, home=tmp_path, top_epochs=TOP))
    fresh = first.state(stage)
    assert not any(record.reused for record in first.records.values())
    later = Resolver(open_context(TASK, home=tmp_path, top_epochs=TOP))
    stored = later.state(stage)
    assert [record.reused for record in later.records.values()] == [True]
    for other in (fresh, stored):
        assert_equal(whole.masks, other.masks)
        assert_equal(whole.weights, other.weights)
        assert whole.log == other.log


def test_every_field_enters_the_key(digits_context: WorkerContext) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"score": "snip"},
        {"allocation": "erk"},
        {"sparsity": 0.98},
        {"rounds": 7},
        {"seed": 1},
        {"granularity": "kernel"},
        {"of": "macs"},
        {"schedule": "linear"},
        {"label": "other"},
    ]
    keys = {rounds(**change).key(digits_context.keys) for change in changes}
    assert len(keys) == len(changes)
