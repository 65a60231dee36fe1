"""N:M patterns through the plans of the methods that take a granularity."""

from __future__ import annotations

import pytest

from autoprune.core.errors import ConfigError, TaskError
from autoprune.methods.base import METHODS
from autoprune.pruning.granularities.spec import read_pattern
from autoprune.pruning.patterns import check_pattern, to_blocks
from autoprune.stages.activate import Quieten, Tally
from autoprune.stages.state import TrialState
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit
from tests.methods.support import TOTAL, job, kept, of_kind, plan, state

TAKE = [
    "magnitude",
    "random",
    "imp",
    "lottery_ticket",
    "snip",
    "grasp",
    "synflow",
    "ap",
    "movement",
]


def test_these_methods_take_a_granularity() -> None:
    found = {n for n in METHODS if "granularity" in METHODS.get(n).params.__dataclass_fields__}
    assert found == {*TAKE, "movement"}


def assert_holds(done: TrialState, spec: str) -> None:
    pattern = read_pattern(spec)
    assert pattern is not None
    for name, mask in done.masks.items():
        assert not bool(done.weights[name][~mask].any())
        if pattern.keep is not None:
            check_pattern(mask, pattern.keep, pattern.size, name)
        else:
            held = to_blocks(mask, pattern.size).sum(-1)
            assert held.min() == held.max()


@pytest.mark.parametrize("method", ["magnitude", "snip", "movement"])
def test_half_is_two_of_four_and_the_count_exact(
    method: str, digits_context: WorkerContext
) -> None:
    done = state(plan(job(method, sparsity=0.5, granularity="2:4"))[-1], digits_context)
    assert_holds(done, "2:4")
    assert kept(done) == TOTAL // 2


def test_rounds_only_shrink_to_the_number_that_each_layer_ends_with(
    digits_context: WorkerContext,
) -> None:
    rounds = plan(job("imp", sparsity=0.7, rounds=2, granularity="n:4"))
    first, last = (state(done, digits_context) for done in rounds)
    assert not any(bool((last.masks[n] & ~first.masks[n]).any()) for n in last.masks)
    for done, sparsity in ((first, 1 - 0.3**0.5), (last, 0.7)):
        assert_holds(done, "n:4")
        # Half of the largest step, a block's weight more or less in 300 x 100.
        assert abs(kept(done) - TOTAL * (1 - sparsity)) <= 3750


@pytest.mark.parametrize("base", ["magnitude", "snip"])
def test_ap_removes_first_and_the_base_leaves_whole_blocks(
    base: str, digits_context: WorkerContext
) -> None:
    planned = plan(job("ap", sparsity=0.5, base=base, rounds=2, granularity="2:4"))
    done = state(planned[-1], digits_context)
    assert_holds(done, "2:4")
    assert 0.5 <= 1 - kept(done) / TOTAL < 0.51  # a few blocks had less than two left
    quiet, tally = (of_kind(planned[-1], kind) for kind in ("quieten", "tally"))
    assert len(quiet) == len(tally) == 2
    assert isinstance(quiet[0], Quieten)
    assert isinstance(tally[0], Tally)
    trained = state(tally[0].parents[1], digits_context)
    after, before = state(tally[0], digits_context), state(tally[0].parents[0], digits_context)
    assert after.log["ap_removed"] == round(0.02 * TOTAL)
    assert after.log["share_lost"] == pytest.approx(1 - kept(after) / TOTAL)
    assert after.log["norm_lost"] >= before.log["norm_lost"] > 0.0
    removed = state(quiet[0], digits_context)
    for name, mask in removed.masks.items():
        assert bool((trained.weights[name][~mask] < 0).all())


def test_ap_without_a_share_is_its_base() -> None:
    params = {"sparsity": 0.5, "rounds": 2, "granularity": "n:4"}
    ours, theirs = (plan(job(m, **params)) for m in ("ap", "imp"))
    assert plan(job("ap", share=0.0, **params)) == theirs
    assert ours != theirs


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        (
            "magnitude",
            {"granularity": "2:4", "sparsity": 0.6},
            "must be 0.5 for",
        ),
        (
            "imp",
            {"granularity": "n:4", "sparsity": 0.8},
            r"must lie in \[0, 0.75\]",
        ),
        ("ap", {"granularity": "1:4", "sparsity": 0.5}, "must be 0.75 for method 'ap'"),
        ("ap", {"granularity": "2:4", "sparsity": 0.5, "base": "nnrelief"}, "must be left out"),
        ("snip", {"granularity": "5:4"}, "trial.snip.granularity must keep 1 to 3 of 4"),
        (
            "lottery_ticket",
            {"granularity": "2:4", "sparsity": 0.5, "control": "shuffle"},
            "must not be 'shuffle' with granularity '2:4'",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(method: str, params: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        job(method, **params)


def test_a_model_that_no_pattern_fits_is_refused(digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    check_fit(job("magnitude", granularity="n:64").config, info)  # the first layer has 64 inputs
    odd = info.__class__(**{**vars(info), "layers": info.layers[1:]})
    with pytest.raises(TaskError, match="a multiple of 64 for granularity 'n:64'"):
        check_fit(job("magnitude", granularity="n:64").config, odd)
