"""Parts of a network by depth: grown to dense, pruned back, and joined again (card gap).

A network's prunable layers are divided into contiguous parts. A part that is grown has no mask at
all for a while; pruned back, it holds exactly as many weights in each layer as it did before. The
counts are the masks' of one state, `targets`, that every pruning rests on, so they never drift.
This module imports no torch at its top: a search driver plans with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.core.records import LayerInfo
from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.stages.state import TrialState


def depth_blocks(layers: Sequence[LayerInfo]) -> list[list[LayerInfo]]:
    """Return the layers that a cut by depth may not separate, in model order.

    A layer inside a child of the module that holds the layer before it stays with that one: the
    projection of a shortcut belongs to its residual block (card gap, g).

    Examples
    --------
    >>> names = ["stem", "a.conv1", "a.conv2", "a.short.0", "b.conv1"]
    >>> layers = [LayerInfo(f"{name}.weight", (1, 1), "conv", 1) for name in names]
    >>> [len(block) for block in depth_blocks(layers)]
    [1, 1, 2, 1]
    """
    blocks: list[list[LayerInfo]] = []
    block = ""  # the module that holds the layer which began the last block
    for layer in layers:
        holder = layer.name.rpartition(".")[0].rpartition(".")[0]
        inside = holder.removeprefix(f"{block}.") if block else holder
        if inside != holder and not inside[0].isdigit():  # a number is an item of a sequence
            blocks[-1].append(layer)
        else:
            blocks.append([layer])
            block = holder
    return blocks


def partition(layers: Sequence[LayerInfo], parts: int) -> tuple[tuple[str, ...], ...]:
    """Divide layers into contiguous parts of nearly equal numbers of weights.

    Parameters
    ----------
    layers : sequence of LayerInfo
        Prunable layers in model order.
    parts : int
        Number of parts, at least 1 and at most the number of `depth_blocks`.

    Returns
    -------
    tuple of tuple of str
        Names by part; none is empty.

    Notes
    -----
    The sum of the parts' squared sizes is least, which is the least variance of the sizes.

    Examples
    --------
    >>> sizes = [4, 1, 1, 2, 4]
    >>> layers = [LayerInfo(f"l{i}.weight", (1, n), "linear", n) for i, n in enumerate(sizes)]
    >>> [len(part) for part in partition(layers, 3)]
    [1, 3, 1]
    """
    blocks = depth_blocks(layers)
    ends = _best_ends([sum(layer.num_weights for layer in block) for block in blocks], parts)
    starts = (0, *ends[:-1])
    return tuple(
        tuple(layer.name for block in blocks[i:j] for layer in block)
        for i, j in zip(starts, ends, strict=True)
    )


def _best_ends(sizes: Sequence[int], parts: int) -> tuple[int, ...]:
    """Return where each part ends, the sum of squared part sizes being least."""
    sums = [0]
    for size in sizes:
        sums.append(sums[-1] + size)
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for part in range(1, parts + 1):
        # Tie-break: tuples compare by cost, then by ends, so the earlier cut wins.
        best = {
            end: min(
                (cost + (sums[end] - sums[start]) ** 2, (*ends, end))
                for start, (cost, ends) in best.items()
                if start < end
            )
            for end in range(part, len(sizes) + 1)
        }
    return best[len(sizes)][1]


def _counts(targets: TrialState) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in targets.masks.items()}


def _largest(weights: Mapping[str, Tensor], counts: Mapping[str, int]) -> dict[str, Tensor]:
    """Return masks of each tensor's largest magnitudes."""
    from autoprune.pruning.masks import top_k_mask

    return {name: top_k_mask(weights[name].abs(), count) for name, count in counts.items()}


def _with_masks(state: TrialState, masks: dict[str, Tensor]) -> TrialState:
    """Return a state under new masks, with what they took away in its log."""
    from autoprune.stages.support import apply_masks, damage

    done = replace(state, weights=apply_masks(state.weights, masks), masks=masks, tensors={})
    return replace(done, log={**state.log, **damage(state, done)})


@dataclass(frozen=True)
class RandomStart(Stage):
    """Keep randomly drawn weights, as many in each layer as the targets' masks do.

    Parameters
    ----------
    parents : tuple of Stage
        The weights, and the targets.
    parts : int
        Number of parts.
    dense : int or None
        The part that is left whole, if one is.
    """

    kind: ClassVar[str] = "random_start"

    seed: int
    parts: int
    dense: int | None = None

    @property
    def cheap(self) -> bool:
        """One draw."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Draw one mask per layer from a stream of its own."""
        import torch

        from autoprune.core.seeds import torch_stream
        from autoprune.pruning.masks import top_k_mask

        state, targets = inputs
        parts = partition(context.task.info.layers, self.parts)
        whole = () if self.dense is None else parts[self.dense]
        masks = {}
        for name, count in _counts(targets).items():
            weight = state.weights[name]
            stream = torch_stream(self.seed, "random_start", name)
            draws = torch.rand(weight.shape, generator=stream, dtype=torch.float64)
            masks[name] = top_k_mask(draws, weight.numel() if name in whole else count)
        return _with_masks(state, masks)


@dataclass(frozen=True)
class GrowPart(Stage):
    """Take the masks off one part; its grown weights start at zero, so outputs stay as they are.

    Parameters
    ----------
    parents : tuple of Stage
        The masked state.
    part, parts : int
        Which part, from 0, of how many.
    """

    kind: ClassVar[str] = "grow_part"

    part: int
    parts: int

    @property
    def cheap(self) -> bool:
        """Only masks change."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Set the part's masks to one."""
        import torch

        (state,) = inputs
        names = partition(context.task.info.layers, self.parts)[self.part]
        grown = {name: torch.ones_like(state.masks[name]) for name in names}
        return replace(state, masks={**state.masks, **grown}, tensors={})


@dataclass(frozen=True)
class PrunePart(Stage):
    """Prune one part back by magnitude, each layer to its count; other masks stay.

    Parameters
    ----------
    parents : tuple of Stage
        The trained state, and the targets.
    part, parts : int
        Which part, from 0, of how many.
    """

    kind: ClassVar[str] = "prune_part"

    part: int
    parts: int

    @property
    def cheap(self) -> bool:
        """One sort."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Keep the part's largest weights, layer by layer."""
        state, targets = inputs
        counts = _counts(targets)
        names = partition(context.task.info.layers, self.parts)[self.part]
        pruned = _largest(state.weights, {name: counts[name] for name in names})
        return _with_masks(state, {**state.masks, **pruned})


@dataclass(frozen=True)
class Combine(Stage):
    """Join branches that each trained one part dense: part ``p`` comes from branch ``p``.

    Every layer is pruned back to its count by magnitude. What belongs to no part (biases, norms,
    their statistics) is averaged over the branches; counters are the first branch's.

    Parameters
    ----------
    parents : tuple of Stage
        The branches, one per part and in order; the state that they started from; the targets.

    Notes
    -----
    The multiply-adds of all branches count. A branch that diverged is the result.
    """

    kind: ClassVar[str] = "combine"

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Take, average, prune."""
        *branches, start, targets = inputs
        broken = next((branch for branch in branches if branch.diverged), None)
        if broken is not None:
            return broken
        parts = partition(context.task.info.layers, len(branches))
        owner = {name: p for p, names in enumerate(parts) for name in names}
        weights = {
            name: branches[owner[name]].weights[name]
            if name in owner
            else _average([branch.weights[name] for branch in branches])
            for name in start.weights
        }
        before = float(start.log.get("train_macs", 0.0))
        spent = sum(float(branch.log.get("train_macs", 0.0)) - before for branch in branches)
        log = {**branches[0].log, "train_macs": before + spent}
        whole = replace(branches[0], weights=weights, masks={}, log=log)
        return _with_masks(whole, _largest(weights, _counts(targets)))


def _average(values: Sequence[Tensor]) -> Tensor:
    """Return the mean, in double precision so that equal values stay equal; counters as first."""
    import torch

    first = values[0]
    if not first.is_floating_point():
        return first
    return torch.stack([value.double() for value in values]).mean(dim=0).to(first.dtype)
