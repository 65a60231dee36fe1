"""The invariants of card gap (f), on real plans."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.core.errors import ConfigError
from autoprune.methods.gap import GAP_CYCLIC, GapParams
from autoprune.pruning.masks import top_k_mask
from autoprune.stages.base import Stage
from autoprune.stages.state import TrialState
from autoprune.stages.support import load_model
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit
from tests.methods.support import assert_equal, job, kept, labelled, of_kind, plan, state

SIZES = {"fc1.weight": 19_200, "fc2.weight": 30_000, "fc3.weight": 1_000}
NAMES = list(SIZES)


def cyclic(**params: Any) -> Stage:
    (last,) = plan(job("gap_cyclic", **params))
    return last


def parallel(**params: Any) -> Stage:
    (last,) = plan(job("gap_parallel", **params))
    return last


def counts(state: TrialState) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in state.masks.items()}


def targets(last: Stage, context: WorkerContext) -> dict[str, int]:
    """Return the counts that the allocation decided on the initial weights."""
    (mask,) = of_kind(last, "mask")
    assert mask.parents[0].kind == "init"
    return counts(state(mask, context))


def num_images(steps: int) -> int:
    """Return the images of a run's first steps: 16 batches of 64 and one of 53 an epoch."""
    epochs, rest = divmod(steps, 17)
    return 1077 * epochs + 64 * rest


def spent(steps: int, kept_of: dict[str, int]) -> int:
    """Return the MACs of a run; one weight of a linear layer is one MAC of an image."""
    return 3 * num_images(steps) * sum(kept_of.values())


def test_one_part_after_the_other_is_dense(digits_context: WorkerContext) -> None:
    last = cyclic()
    target = targets(last, digits_context)
    assert sum(target.values()) == 10_040
    steps = labelled(last, "grow")
    assert len(steps) == 6
    for k, step in enumerate(steps):  # fc1, fc2, fc3, fc1, fc2, fc3
        dense = NAMES[k % 3]
        assert counts(state(step, digits_context)) == {**target, dense: SIZES[dense]}


def test_other_masks_stay_at_a_boundary(digits_context: WorkerContext) -> None:
    steps = [state(s, digits_context) for s in labelled(cyclic(), "grow")]
    for k, (before, after) in enumerate(pairwise(steps)):
        (other,) = set(NAMES) - {NAMES[k % 3], NAMES[(k + 1) % 3]}
        assert torch.equal(before.masks[other], after.masks[other])


def test_the_first_part_starts_whole_and_the_others_at_random(
    digits_context: WorkerContext,
) -> None:
    (start,) = of_kind(cyclic(), "random_start")
    found, (init, mask) = state(start, digits_context), start.parents
    fresh = state(init, digits_context).weights
    assert torch.equal(found.weights["fc1.weight"], fresh["fc1.weight"])
    # Magnitude's choice of 4,596 or more of 30,000 and a random one overlap by chance alone.
    chosen = state(mask, digits_context).masks["fc2.weight"]
    density = chosen.float().mean().item()
    overlap = (chosen & found.masks["fc2.weight"]).float().mean().item()
    assert overlap == pytest.approx(density**2, abs=4 * density / 30_000**0.5)


def test_growing_leaves_the_function_as_it_was(digits_context: WorkerContext) -> None:
    inputs, _ = next(iter(digits_context.task.data.val.batches(64)))

    def outputs(stage: Stage) -> Tensor:
        with torch.no_grad():
            answer: Tensor = load_model(state(stage, digits_context), digits_context)(inputs)
        return answer

    grown = of_kind(cyclic(allocation="uniform"), "grow_part")
    assert len(grown) == 5
    for stage in grown:
        before, after = (state(s, digits_context) for s in (stage.parents[0], stage))
        assert kept(after) > kept(before)
        assert torch.equal(outputs(stage), outputs(stage.parents[0]))


def test_a_part_is_pruned_back_by_magnitude(digits_context: WorkerContext) -> None:
    last = cyclic()
    target = targets(last, digits_context)
    pruned = of_kind(last, "prune_part")
    assert [stage.part for stage in pruned] == [0, 1, 2, 0, 1, 2]  # type: ignore[attr-defined]
    for stage in pruned:
        before, after = (state(s, digits_context) for s in (stage.parents[0], stage))
        assert counts(after) == target
        name = NAMES[stage.part]  # type: ignore[attr-defined]
        expected = top_k_mask(before.weights[name].abs(), target[name])
        assert torch.equal(after.masks[name], expected)
        for other in set(NAMES) - {name}:
            assert torch.equal(after.masks[other], before.masks[other])


@pytest.mark.parametrize("method", ["gap_cyclic", "gap_parallel"])
def test_fine_tuning_keeps_the_masks(method: str, digits_context: WorkerContext) -> None:
    (last,) = plan(job(method))
    before, after = (state(s, digits_context) for s in (last.parents[0], last))
    assert_equal(before.masks, after.masks)
    assert counts(after) == targets(last, digits_context)


@pytest.mark.parametrize("allocation", ["uniform", "erk", "global"])
def test_every_allocation_is_met_exactly(allocation: str, digits_context: WorkerContext) -> None:
    last = cyclic(allocation=allocation, rounds=1, sparsity=0.95)
    target = targets(last, digits_context)
    assert sum(target.values()) == 2_510
    if allocation == "uniform":
        assert target == {"fc1.weight": 960, "fc2.weight": 1_500, "fc3.weight": 50}
    assert counts(state(last, digits_context)) == target


def test_every_weight_was_alive_after_one_round(digits_context: WorkerContext) -> None:
    union = {name: torch.zeros(1, dtype=torch.bool) for name in NAMES}
    for step in labelled(cyclic(), "grow")[:3]:
        for name, mask in state(step, digits_context).masks.items():
            union[name] = union[name] | mask
    assert all(bool(mask.all()) for mask in union.values())


@pytest.mark.parametrize("method", ["gap_cyclic", "gap_parallel"])
def test_all_branches_share_the_epochs_of_a_run_from_scratch(method: str) -> None:
    # 3 epochs and the 6 dense ones: 9. A fifth is fine-tuning, the rest six steps or branches.
    (last,) = plan(job(method, dense_epochs=6))
    grown = labelled(last, "grow")
    assert [stage.epochs for stage in grown] == pytest.approx([1.2] * 6)
    assert last.epochs == pytest.approx(1.8)
    assert labelled(last, "dense") == []


def test_costs_are_the_masks_share_of_the_multiply_adds(digits_context: WorkerContext) -> None:
    # 6 epochs of 17 steps, a fifth (20.4) for the end and 13.6 for each of six: 14 and 20 steps.
    for last in (cyclic(), parallel()):
        target = targets(last, digits_context)
        grown = [spent(14, {**target, n: SIZES[n]}) for n in [*NAMES, *NAMES]]
        total = sum(grown) + spent(20, target)
        assert state(last, digits_context).log["train_macs"] == pytest.approx(total, rel=1e-6)


def test_every_step_starts_its_schedule_anew(digits_context: WorkerContext) -> None:
    last = cyclic()
    for stage in [*labelled(last, "grow"), last]:
        curve = state(stage, digits_context).tensors["lr_curve"]
        assert curve[0] == 0.1
        assert curve[-1] == pytest.approx(0.1 / len(curve))


def test_branches_start_from_one_state_and_see_the_same_data(
    digits_context: WorkerContext,
) -> None:
    last = parallel()
    joins = of_kind(last, "combine")
    assert len(joins) == 2
    start, target = of_kind(last, "random_start")[0], targets(last, digits_context)
    for join in joins:
        *branches, common, _ = join.parents
        assert common.kind == ("random_start" if join is joins[0] else "recalibrate")
        assert len({stage.label for stage in branches}) == 1  # type: ignore[attr-defined]
        theta = state(common, digits_context)
        assert counts(theta) == target
        for p, branch in enumerate(branches):
            assert branch.parents[0].parents == (common,)
            found = state(branch, digits_context)
            assert bool(found.masks[NAMES[p]].all())
            for other in set(NAMES) - {NAMES[p]}:  # the same masks where a branch owns nothing
                assert torch.equal(found.masks[other], theta.masks[other])
    assert joins[0].parents[-2] is start


def test_branches_are_joined_part_by_part(digits_context: WorkerContext) -> None:
    last = parallel()
    target = targets(last, digits_context)
    join = of_kind(last, "combine")[0]
    branches = [state(stage, digits_context) for stage in join.parents[:3]]
    found = state(join, digits_context)
    for p, name in enumerate(NAMES):
        own = branches[p].weights[name]
        assert torch.equal(found.weights[name], own * top_k_mask(own.abs(), target[name]))
        bias = name.replace("weight", "bias")
        mean = torch.stack([branch.weights[bias] for branch in branches]).mean(dim=0)
        assert torch.allclose(found.weights[bias], mean)
        assert not torch.equal(branches[0].weights[bias], branches[1].weights[bias])


def test_one_part_is_dense_training_and_pruning_in_turns(digits_context: WorkerContext) -> None:
    last = cyclic(partitions=1)
    steps = labelled(last, "grow")
    assert [kept(state(step, digits_context)) for step in steps] == [50_200, 50_200]
    assert kept(state(last, digits_context)) == 10_040


@pytest.mark.parametrize("method", ["gap_cyclic", "gap_parallel"])
def test_more_parts_than_layers_are_refused(method: str, digits_context: WorkerContext) -> None:
    info = digits_context.task.info
    check_fit(job(method, partitions=3).config, info)
    with pytest.raises(ConfigError, match=rf"trial\.{method}\.partitions must be at most 3 on"):
        check_fit(job(method, partitions=4).config, info)
    few = replace(info, layers=info.layers[:2])
    with pytest.raises(ConfigError, match=r"at most 2 on .*; got 3"):
        check_fit(job(method).config, few)


@pytest.mark.parametrize(
    ("params", "steps"),
    [
        ({}, 38),  # 5 steps for each of 6, in four fifths of the run: 37.5
        ({"rounds": 4, "partitions": 4, "finetune": 0.5}, 160),  # 5 * 16 / .5
        ({"rounds": 1, "partitions": 1, "finetune": 0.05}, 100),  # 5 / .05 for the end
    ],
)
def test_the_least_number_of_steps(params: dict[str, Any], steps: int) -> None:
    assert GAP_CYCLIC.min_steps(GapParams(**params)) == steps


@pytest.mark.parametrize("finetune", [0.0, 1.0])
def test_a_fine_tuning_of_nothing_or_all_is_refused(finetune: float) -> None:
    with pytest.raises(ConfigError, match=r"trial\.gap_cyclic\.finetune must be"):
        job("gap_cyclic", finetune=finetune)
