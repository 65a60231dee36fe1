"""Parts by depth, and the stages that grow, prune and join them (card gap)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from autoprune.core.records import LayerInfo
from autoprune.stages.init import Init
from autoprune.stages.partition import (
    Combine,
    GrowPart,
    PrunePart,
    RandomStart,
    depth_blocks,
    partition,
)
from autoprune.stages.state import TrialState
from autoprune.testing.methods import TASK

NONE = Init(TASK, 0)  # stands for parents: `run` gets its inputs directly


def layers(*sizes: int) -> list[LayerInfo]:
    return [LayerInfo(f"l{i}.weight", (1, n), "linear", n) for i, n in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "parts", "lengths"),
    [
        # lenet300's 235,200, 30,000 and 1,000 weights: two parts can only cut after the first.
        ((235_200, 30_000, 1_000), 2, [1, 2]),
        ((235_200, 30_000, 1_000), 3, [1, 1, 1]),
        ((235_200, 30_000, 1_000), 1, [3]),
        # 5 | 1+1+1 | 4 is 25 + 9 + 16 = 50; 5+1 | 1+1 | 4 would be 36 + 4 + 16.
        ((5, 1, 1, 1, 4), 3, [1, 3, 1]),
        # 1 | 1 1 and 1 1 | 1 are as good: the earlier cut.
        ((1, 1, 1), 2, [1, 2]),
        ((1, 1, 1, 1, 1, 1), 3, [2, 2, 2]),
    ],
)
def test_parts_are_contiguous_and_balanced(
    sizes: tuple[int, ...], parts: int, lengths: list[int]
) -> None:
    found = partition(layers(*sizes), parts)
    assert [len(part) for part in found] == lengths
    assert [name for part in found for name in part] == [x.name for x in layers(*sizes)]


def test_a_shortcut_stays_with_its_block() -> None:
    # Weights 1, 1, 6, 1: balance would cut before the projection (4 + 49), which belongs to block
    # 0. So 1 | 8 and 8 | 1 are left, and the earlier cut is taken.
    names = ["layer1.0.conv1", "layer1.0.conv2", "layer1.0.downsample.0", "layer1.1.conv1"]
    found = [
        LayerInfo(f"{n}.weight", (1, size), "conv", 1)
        for n, size in zip(names, (1, 1, 6, 1), strict=True)
    ]
    assert [[x.name for x in block] for block in depth_blocks(found)] == [
        ["layer1.0.conv1.weight"],
        ["layer1.0.conv2.weight", "layer1.0.downsample.0.weight"],
        ["layer1.1.conv1.weight"],
    ]
    assert [len(part) for part in partition(found, 2)] == [1, 3]
    assert [len(part) for part in partition(found, 3)] == [1, 2, 1]


def context(*sizes: int) -> Any:
    return SimpleNamespace(task=SimpleNamespace(info=SimpleNamespace(layers=layers(*sizes))))


def bools(*rows: list[int]) -> dict[str, Tensor]:
    return {f"l{i}.weight": torch.tensor([row]).bool() for i, row in enumerate(rows)}


def weights(*rows: list[float], bias: float = 0.0) -> dict[str, Tensor]:
    found = {f"l{i}.weight": torch.tensor([row]) for i, row in enumerate(rows)}
    return {**found, "bias": torch.tensor([bias]), "count": torch.tensor(7)}


TARGETS = TrialState({}, bools([1, 1, 0, 0], [1, 0, 0]))  # 2 of 4 and 1 of 3


def test_a_random_start_has_the_targets_counts() -> None:
    state = TrialState(weights([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0]))
    stage = RandomStart(parents=(NONE, NONE), seed=0, parts=2)
    found = stage.run([state, TARGETS], context(4, 3))
    assert [int(m.sum()) for m in found.masks.values()] == [2, 1]
    for name, mask in found.masks.items():
        assert torch.equal(found.weights[name], state.weights[name] * mask)
    others = {
        tuple(
            RandomStart(parents=(NONE, NONE), seed=seed, parts=2)
            .run([state, TARGETS], context(4, 3))
            .masks["l0.weight"]
            .flatten()
            .tolist()
        )
        for seed in range(30)
    }
    assert len(others) == 6  # all pairs of 4 places come up


def test_a_random_start_may_leave_a_part_whole() -> None:
    state = TrialState(weights([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0]))
    stage = RandomStart(parents=(NONE, NONE), seed=0, parts=2, dense=1)
    found = stage.run([state, TARGETS], context(4, 3))
    assert [int(m.sum()) for m in found.masks.values()] == [2, 3]
    assert torch.equal(found.weights["l1.weight"], state.weights["l1.weight"])


def test_growing_moves_masks_and_no_weight() -> None:
    state = TrialState(
        weights([0.0, 2.0, 0.0, 4.0], [5.0, 0.0, 0.0]), bools([0, 1, 0, 1], [1, 0, 0])
    )
    found = GrowPart(parents=(NONE,), part=0, parts=2).run([state], context(4, 3))
    assert found.weights is state.weights
    assert bool(found.masks["l0.weight"].all())
    assert found.masks["l1.weight"] is state.masks["l1.weight"]


def test_pruning_back_keeps_the_largest_of_its_part() -> None:
    # |-9| and 3 are the two largest of the first part; the second is left dense.
    state = TrialState(weights([1.0, 3.0, -9.0, 2.0], [5.0, 6.0, 7.0]), bools([1] * 4, [1] * 3))
    stage = PrunePart(parents=(NONE, NONE), part=0, parts=2)
    found = stage.run([state, TARGETS], context(4, 3))
    assert found.masks["l0.weight"].tolist() == [[False, True, True, False]]
    assert found.weights["l0.weight"].tolist() == [[0.0, 3.0, -9.0, 0.0]]
    assert bool(found.masks["l1.weight"].all())
    # Lost (1, 2) of (1, 3, -9, 2, 5, 6, 7): sqrt(5 / 205).
    assert found.log["norm_lost"] == pytest.approx((5 / 205) ** 0.5)
    assert found.log["share_lost"] == pytest.approx(2 / 7)


def test_branches_give_their_own_parts_and_average_the_rest() -> None:
    start = TrialState(weights([0.0] * 4, [0.0] * 3), log={"train_macs": 100.0})
    one = TrialState(
        weights([4.0, 3.0, 2.0, 1.0], [8.0, 8.0, 9.0], bias=1.0), log={"train_macs": 130.0}
    )
    two = TrialState(
        weights([9.0, 9.0, 9.0, 9.0], [1.0, 2.0, -3.0], bias=4.0), log={"train_macs": 120.0}
    )
    stage = Combine(parents=(NONE,) * 4)
    found = stage.run([one, two, start, TARGETS], context(4, 3))
    assert found.weights["l0.weight"].tolist() == [[4.0, 3.0, 0.0, 0.0]]
    assert found.weights["l1.weight"].tolist() == [[0.0, 0.0, -3.0]]
    assert found.weights["bias"].tolist() == [2.5]
    assert found.weights["count"] == 7  # a counter is no average
    assert found.log["train_macs"] == 150.0  # 100 shared, 30 and 20 by the branches


def test_joining_what_was_not_trained_changes_nothing() -> None:
    # Card gap (f)5, with three branches: a third of three equal floats has to be that float.
    stream = torch.Generator().manual_seed(0)
    masks = bools([0, 1, 1, 0], [0, 0, 1], [1])
    values = {n: torch.randn(m.shape, generator=stream) * m for n, m in masks.items()}
    start = TrialState({**values, "bias": torch.randn(50, generator=stream)}, masks)
    targets = TrialState({}, bools([1, 1, 0, 0], [1, 0, 0], [1]))
    seen = context(4, 3, 1)
    grown = [GrowPart(parents=(NONE,), part=p, parts=3).run([start], seen) for p in range(3)]
    found = Combine(parents=(NONE,) * 5).run([*grown, start, targets], seen)
    for name, value in start.weights.items():
        assert torch.equal(found.weights[name], value), name
    for name, mask in masks.items():
        assert torch.equal(found.masks[name], mask), name


def test_a_branch_that_diverged_is_the_result() -> None:
    fine = TrialState(weights([1.0] * 4, [1.0] * 3), log={"status": "ok"})
    broken = TrialState(weights([torch.nan] * 4, [1.0] * 3), log={"status": "diverged"})
    stage = Combine(parents=(NONE,) * 4)
    assert stage.run([fine, broken, fine, TARGETS], context(4, 3)) is broken
