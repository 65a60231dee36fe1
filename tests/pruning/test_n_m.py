"""N:M patterns of masks."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.core.errors import ConfigError, UnknownNameError, VerificationError
from autoprune.core.seeds import torch_stream
from autoprune.pruning.granularities.n_m import round_together
from autoprune.pruning.granularities.spec import (
    Pattern,
    check_granularity,
    read_pattern,
    resolve_granularity,
)
from autoprune.pruning.keep import keep_masks
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.patterns import check_pattern, from_blocks, most_in_a_block, to_blocks
from autoprune.pruning.registry import ALLOCATIONS
from autoprune.pruning.view import ModelView

SHAPES = {
    "stem": (4, 3, 3, 3),  # three channels: never whole blocks
    "conv": (4, 8, 3, 3),
    "deep": (8, 4, 3, 3),
    "head": (6, 16),
    "last": (3, 6),
}


def view_of(seed: int = 0, shapes: dict[str, tuple[int, ...]] = SHAPES) -> ModelView:
    stream = torch_stream(seed, "patterns")
    weights = {name: torch.randn(shape, generator=stream) for name, shape in shapes.items()}
    return ModelView(weights, dense_masks(weights))


def pruned(
    spec: str, sparsity: float, view: ModelView, allocation: str = "global", sign: float = 1.0
) -> dict[str, Tensor]:
    scores = {name: sign * weight.abs() for name, weight in view.weights.items()}
    rule = ALLOCATIONS.get(allocation)
    return keep_masks(scores, resolve_granularity(spec), rule, sparsity, view).masks


def total(masks: dict[str, Tensor]) -> int:
    return sum(int(mask.sum()) for mask in masks.values())


# Blocks of four, scores      the best two           the tie of 5s goes to the lower index
GOLDEN = [
    [1.0, 9.0, 3.0, 2.0, 5.0, 5.0, 5.0, 5.0],  # 9 3     | 5 5 . .
    [4.0, 1.0, 4.0, 4.0, 0.0, 7.0, 8.0, 6.0],  # 4 . 4 . | . 7 8 .
]
KEPT = [[0, 1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 1, 1, 0]]


@pytest.mark.parametrize("spec", ["2:4", "n:4"])
def test_two_of_four_on_a_matrix_of_two_by_eight(spec: str) -> None:
    view = view_of(shapes={"w": (2, 8)})
    scores = {"w": torch.tensor(GOLDEN)}
    rule = ALLOCATIONS.get("global")
    found = keep_masks(scores, resolve_granularity(spec), rule, 0.5, view).masks["w"]
    assert found.int().tolist() == KEPT


def test_a_convolution_s_block_is_its_channels_at_one_position() -> None:
    # One filter, four channels, two positions: position 0 holds 1 4 2 3, position 1 holds 8 5 7 6.
    weight = torch.tensor([[[[1.0, 8.0]], [[4.0, 5.0]], [[2.0, 7.0]], [[3.0, 6.0]]]])
    assert to_blocks(weight, 4).reshape(2, 4).tolist() == [[1, 4, 2, 3], [8, 5, 7, 6]]
    assert torch.equal(from_blocks(to_blocks(weight, 2)), weight)
    view = ModelView({"w": weight}, dense_masks({"w": weight}))
    mask = pruned("2:4", 0.5, view)["w"]
    assert mask[0, :, 0].int().tolist() == [[0, 1], [1, 0], [0, 1], [1, 0]]


@pytest.mark.parametrize("allocation", ["global", "uniform", "erk", "lamp", "layerwise"])
@pytest.mark.parametrize("spec", ["n:4", "n:2", "n:8", "2:4", "1:4", "1:2"])
def test_no_block_holds_more_and_layers_without_whole_blocks_stay(
    spec: str, allocation: str
) -> None:
    view = view_of()
    pattern = read_pattern(spec)
    assert pattern is not None
    masks = pruned(spec, pattern.reaches[1], view, allocation)
    for mask in masks.values():
        if mask.shape[1] % pattern.size:
            assert bool(mask.all())
        else:  # the greatest sparsity of n:M is 1:M everywhere
            check_pattern(mask, pattern.keep or 1, pattern.size)
            assert int(mask.sum()) == mask.numel() * (pattern.keep or 1) // pattern.size


@given(
    seed=st.integers(0, 50),
    sparsity=st.floats(0.0, 0.75),
    allocation=st.sampled_from(["global", "uniform", "erk", "lamp"]),
    size=st.sampled_from([2, 4, 8]),
)
@settings(max_examples=20, derandomize=True, deadline=None)
def test_every_block_of_a_layer_keeps_its_n_and_the_total_is_near(
    seed: int, sparsity: float, allocation: str, size: int
) -> None:
    view = view_of(seed)
    masks = pruned(f"n:{size}", sparsity, view, allocation)
    steps = []
    for name, mask in masks.items():
        if mask.shape[1] % size:
            assert bool(mask.all())
            continue
        held = to_blocks(mask, size).sum(-1)
        assert held.min() == held.max() >= 1
        steps.append(mask.numel() // size)
        # What the best of a block are, by themselves.
        least = torch.where(mask, view.weights[name].abs(), torch.inf)
        most = torch.where(mask, -torch.inf, view.weights[name].abs())
        assert bool((to_blocks(least, size).amin(-1) >= to_blocks(most, size).amax(-1)).all())
    everything = sum(weight.numel() for weight in view.weights.values())
    floor = everything - sum(step * (size - 1) for step in steps)
    target = max((1 - sparsity) * everything, floor)
    assert abs(total(masks) - target) <= max(steps) / 2 + 1


@given(
    wanted=st.lists(st.floats(0.2, 4.0), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 40), min_size=3, max_size=3),
    target=st.integers(0, 400),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_rounding_together_misses_no_nearer_total_by_two_layers(
    wanted: list[float], sizes: list[int], target: int
) -> None:
    names = "abc"[: len(wanted)]
    held = {n: [k * size for k in range(5)] for n, size in zip(names, sizes, strict=False)}
    given_ = dict(zip(names, wanted, strict=True))
    found = round_together(given_, held, target)
    ends = [sorted({max(1, int(n)), max(1, -int(-n // 1))}) for n in wanted]

    def miss(choice: tuple[int, ...]) -> int:
        return abs(sum(held[n][k] for n, k in zip(names, choice, strict=True)) - target)

    mine = tuple(found[name] for name in names)
    assert mine in set(product(*ends))
    near = [c for c in product(*ends) if sum(a != b for a, b in zip(c, mine, strict=True)) < 3]
    assert miss(mine) == min(miss(choice) for choice in near)


def test_a_half_is_rounded_up_where_the_total_does_not_care() -> None:
    held = {"a": [0, 1, 2], "b": [0, 1, 2]}
    assert round_together({"a": 1.5, "b": 1.5}, held, 4) == {"a": 2, "b": 2}
    # 3 is reached by either; the earlier layer is the one rounded down.
    assert round_together({"a": 1.5, "b": 1.5}, held, 3) == {"a": 1, "b": 2}


@pytest.mark.parametrize(("first", "then"), [("n:8", "n:8"), ("2:4", "2:4"), ("n:4", "n:4")])
@pytest.mark.parametrize("allocation", ["global", "uniform"])
def test_a_later_round_chooses_among_the_living(first: str, then: str, allocation: str) -> None:
    view = view_of()
    masks = pruned(first, 0.25, view, allocation)
    later = ModelView(view.weights, masks)
    after = pruned(then, 0.5, later, allocation, sign=-1.0)
    assert not any(bool((after[name] & ~masks[name]).any()) for name in masks)
    assert total(after) < total(masks)
    pattern = read_pattern(then)
    assert pattern is not None
    for mask in after.values():
        if mask.shape[1] % pattern.size == 0:
            held = to_blocks(mask, pattern.size).sum(-1)
            assert held.min() == held.max()  # each living block has as many left


def test_a_fixed_pattern_goes_down_in_steps_that_all_layers_share() -> None:
    view = view_of(shapes={"a": (2, 8), "b": (5, 16)})
    share = [1 - total(pruned("1:4", s, view)) / 96 for s in (0.0, 0.1, 0.2, 0.4, 0.7, 0.75)]
    assert share == [0.0, 0.0, 0.25, 0.5, 0.75, 0.75]
    for sparsity in (0.2, 0.4):
        numbers = {most_in_a_block(mask, 4) for mask in pruned("1:4", sparsity, view).values()}
        assert len(numbers) == 1


def test_its_own_sparsity_is_the_pattern_whatever_is_left_dense() -> None:
    # 54 of 62 weights are not cut: 3:4 is nearer to half of all than 2:4, but 2:4 is what is meant.
    view = view_of(shapes={"a": (9, 6), "b": (2, 4)})
    assert most_in_a_block(pruned("2:4", 0.5, view)["b"], 4) == 2


def test_a_block_that_holds_less_already_stays_so() -> None:
    view = view_of(shapes={"w": (2, 4)})
    mask = torch.tensor([[True, False, False, False], [True, True, True, True]])
    after = pruned("2:4", 0.5, ModelView(view.weights, {"w": mask}))["w"]
    assert after.sum(1).tolist() == [1, 2]
    assert not bool((after & ~mask).any())


def test_scores_that_are_no_numbers_go_last_but_before_the_dead() -> None:
    view = view_of(shapes={"w": (1, 4)})
    mask = torch.tensor([[False, True, True, True]])
    scores = {"w": torch.tensor([[9.0, torch.nan, torch.nan, 1.0]])}
    view, part = ModelView(view.weights, {"w": mask}), resolve_granularity("2:4")
    found = part.select(part.pool(scores, view), {"w": 2}, view).masks["w"]
    assert found.tolist() == [[False, True, False, True]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("5:4", "must keep 1 to 3 of 4 weights; got '5:4'; the form is 2:4"),
        ("4:4", "must keep 1 to 3 of 4"),
        ("0:4", "must keep 1 to 3 of 4"),
        ("n:0", "must have blocks of 2, 4, 8, 16, 32, 64 weights; got 'n:0'"),
        ("n:6", "must have blocks of 2, 4"),
        ("2:", "must be N:M or n:M with whole numbers; got '2:'"),
        (":4", "must be N:M or n:M"),
        ("m:4", "must be N:M or n:M"),
        ("n:4:2", "must be N:M or n:M"),
        ("channel", "must not speak of whole units"),
    ],
)
def test_what_is_no_pattern_is_refused(spec: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_granularity(spec, "here")
    assert str(caught.value).startswith(f"here {words}")


@pytest.mark.parametrize(("spec", "near"), [("wieght", "'weight'"), ("2/4", "'2:4'")])
def test_a_misspelt_name_gets_the_nearest(spec: str, near: str) -> None:
    with pytest.raises(UnknownNameError, match=f"did you mean {near}"):
        check_granularity(spec, "here")


def test_what_is_a_granularity_passes() -> None:
    for spec in ("weight", "kernel", "2:4", "63:64", "n:16"):
        check_granularity(spec, "here")
    assert Pattern(64, 1).reaches == (0.984375, 0.984375)
    assert Pattern(8).reaches == (0.0, 0.875)


def test_a_mask_is_checked() -> None:
    mask = torch.tensor([[True, True, False, False, False, True, True, True]])
    check_pattern(mask, 3, 4)
    with pytest.raises(VerificationError, match="w: blocks of 4 must keep at most 2; one keeps 3"):
        check_pattern(mask, 2, 4, "w")
    with pytest.raises(VerificationError, match="must be whole blocks of 16 for 2:16; got 8"):
        check_pattern(mask, 2, 16)
