"""Superpose: average sparse nets, and prune the average back to their number of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.pruning.masks import MaskSet
    from autoprune.stages.state import TrialState

UNION = "union/"


@dataclass(frozen=True)
class Superpose(Stage):
    """Blend states one after the other, then keep the largest averages over all layers.

    Parameters
    ----------
    parents : tuple of Stage
        The average so far (or the first ticket), then the tickets to take in. All tickets have
        the same number of weights.
    shares : tuple of float
        What each of these tickets contributes when its turn comes, in [0, 1]: a third for the
        third of three makes the plain mean.

    Notes
    -----
    Raw values are averaged, zero where a ticket has no connection, so a connection of one ticket
    in ``n`` shrinks to an ``n``-th. Buffers that count (BatchNorm's number of batches) are the
    last ticket's; running statistics are averaged, and mean nothing before a `Recalibrate`.

    The log's ``union_density`` is the share of weights that any ticket so far has.
    """

    kind: ClassVar[str] = "superpose"

    shares: tuple[float, ...]

    @property
    def cheap(self) -> bool:
        """Averaging and ranking weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Average, take the union of the supports, prune it."""
        from autoprune.stages.support import apply_masks

        broken = [state for state in inputs if state.diverged]
        if broken:
            return broken[0]
        weights, first, last = inputs[0].weights, inputs[0], inputs[-1]
        for ticket, share in zip(inputs[1:], self.shares, strict=True):
            weights = blend(weights, ticket.weights, share)
        alive = _union([state.masks for state in inputs])
        ever = _union([alive, {n: first.tensors.get(UNION + n, m) for n, m in alive.items()}])
        chosen = strongest(weights, alive, sum(int(m.sum()) for m in last.masks.values()))
        density = sum(int(m.sum()) for m in ever.values()) / sum(m.numel() for m in ever.values())
        return replace(
            last,
            weights=apply_masks(weights, chosen.masks),
            masks=chosen.masks,
            tensors={UNION + name: mask for name, mask in ever.items()},
            log={**last.log, "union_density": density},
        )


def blend(
    average: Mapping[str, Tensor], ticket: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Move an average by `share` of the way to a ticket; counters are the ticket's."""
    import torch

    return {
        # Equal values stay as they are to the bit, which ``(1 - f) a + f b`` would not promise.
        name: torch.lerp(average[name], value, share) if value.is_floating_point() else value
        for name, value in ticket.items()
    }


def strongest(weights: Mapping[str, Tensor], alive: Mapping[str, Tensor], kept: int) -> MaskSet:
    """Keep exactly the `kept` largest alive weights over all layers."""
    from autoprune.pruning.granularities.weight import WeightGranularity
    from autoprune.pruning.registry import ALLOCATIONS
    from autoprune.pruning.view import ModelView

    values = {name: weights[name] for name in alive}
    view = ModelView(weights=values, masks=alive)
    granularity = WeightGranularity()
    units = granularity.pool({name: value.abs() for name, value in values.items()}, view)
    return granularity.select(units, ALLOCATIONS.get("global")(units, kept), view)


def _union(masks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return what any of the masks keeps."""
    import torch

    return {name: torch.stack([m[name] for m in masks]).any(dim=0) for name in masks[0]}
