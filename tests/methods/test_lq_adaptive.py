from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.errors import ConfigError, TaskError
from autoprune.methods.base import METHODS
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit
from tests.methods.support import TOTAL, job, kept, labelled, of_kind, plan, state

RULES = ("effective_count", "tail_tolerance", "output_weighted")


@pytest.mark.parametrize("rule", RULES)
def test_every_neuron_keeps_something_and_the_total_is_exact(
    rule: str, digits_context: WorkerContext
) -> None:
    (mask,) = of_kind(plan(job("lq_adaptive", sparsity=0.9, rule=rule))[-1], "mask")
    found = state(mask, digits_context)
    assert kept(found) == TOTAL - round(0.9 * TOTAL)
    for keep in found.masks.values():
        assert int(keep.sum(1).min()) >= 1
    # Of the three rules only the last reads images.
    assert found.log["score_passes"] == (rule == "output_weighted")


def test_rules_norms_and_orders_give_masks_of_their_own(digits_context: WorkerContext) -> None:
    settings: list[dict[str, object]] = [
        *({"rule": rule} for rule in RULES),
        {"norm": 1},
        {"rule": "output_weighted", "norm": 1},
        {"rule": "effective_count", "q": 0.9},
    ]
    found = []
    for params in settings:
        (mask,) = of_kind(plan(job("lq_adaptive", **params))[-1], "mask")
        found.append(torch.cat([m.reshape(-1) for m in state(mask, digits_context).masks.values()]))
    assert len({tuple(row.tolist()) for row in torch.stack(found)}) == len(settings)


def test_the_dense_net_is_pruned_once_unless_rounds_say_otherwise() -> None:
    (only,) = plan(job("lq_adaptive"))
    (mask,) = of_kind(only, "mask")
    assert mask.parents[0].label == "dense"  # type: ignore[attr-defined]
    rounds = plan(job("lq_adaptive", rounds=3, sparsity=0.9, rewind="init"))
    assert [stage.sparsity for stage in of_kind(rounds[-1], "mask")] == pytest.approx(  # type: ignore[attr-defined]
        [0.5358411, 0.7845565, 0.9]
    )
    assert [stage.length for stage in labelled(rounds[-1], "retrain")] == [1.0] * 3
    assert len(of_kind(rounds[-1], "rewind")) == 3


def test_another_method_wraps_it_with_its_own_rule(digits_context: WorkerContext) -> None:
    control = job("scratch_e", base="lq_adaptive", allocation="global")
    (wrapped,) = of_kind(plan(control)[-1], "mask")
    (mask,) = of_kind(plan(job("lq_adaptive"))[-1], "mask")
    one, other = (state(stage, digits_context).masks for stage in (wrapped, mask))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_inputs_that_cannot_be_watched_are_refused(digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    attention = replace(info.layers[0], kind="attention")
    unseen = replace(info.layers[0], macs=0)
    check_fit(job("lq_adaptive", rule="output_weighted").config, info)
    for layer in (attention, unseen):
        odd = replace(info, layers=(layer, *info.layers[1:]))
        check_fit(job("lq_adaptive").config, odd)
        with pytest.raises(TaskError, match=r"fc1\.weight must belong to a linear layer or a conv"):
            check_fit(job("lq_adaptive", rule="output_weighted").config, odd)


@pytest.mark.parametrize(
    ("name", "value"), [("q", 0.0), ("q", 1.0), ("norm", 3), ("rule", "budget"), ("rounds", 0)]
)
def test_limits(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"trial\.lq_adaptive\.{name} must be"):
        job("lq_adaptive", **{name: value})


def test_it_says_that_it_is_a_reconstruction() -> None:
    assert METHODS.get("lq_adaptive").reconstruction
    assert not METHODS.get("pqi").reconstruction
