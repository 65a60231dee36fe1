"""AP's own removals (card ap): negative weights that moved least since the start of a round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.core.config import Scalar
from autoprune.stages.base import RunContext, Stage
from autoprune.stages.prune import Mask, Score

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.stages.state import TrialState


def ap_select(
    trained: dict[str, Tensor], start: dict[str, Tensor], masks: dict[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Remove the `count` alive negative weights that moved least.

    Parameters
    ----------
    trained, start : dict of Tensor
        Prunable weights after training in this round, and at its start.
    masks : dict of Tensor
        Bool masks after the base method pruned; not edited.
    count : int
        Weights to remove; all candidates go when there are fewer.

    Returns
    -------
    dict of Tensor
        The new masks; ties go by tensor order, then flat index.
    """
    import torch

    moved = [
        torch.where(mask & (trained[n] < 0), (trained[n] - start[n]).abs(), torch.inf).reshape(-1)
        for n, mask in masks.items()
    ]
    scores = torch.cat(moved)
    count = min(count, int(torch.isfinite(scores).sum()))
    drop = torch.zeros_like(scores, dtype=torch.bool)
    # Tie-break: a stable sort over the tensors in order.
    drop[torch.sort(scores, stable=True).indices[:count]] = True
    parts = torch.split(drop, [len(m) for m in moved])
    return {
        n: mask & ~gone.reshape(mask.shape)
        for (n, mask), gone in zip(masks.items(), parts, strict=True)
    }


@dataclass(frozen=True)
class Activate(Stage):
    """AP's own removal, after the base method's.

    Parameters
    ----------
    parents : tuple of Stage
        The state the base method masked, the trained state before that, and the round's start;
        without a start (pretrained weights have none) movement is counted from zero, so that the
        smallest negative weights go.
    sparsity : float
        Sparsity to reach over the prunable weights.
    score, allocation, seed, granularity, label, params
        The base's, for what is left to remove when negative weights run out.
    """

    kind: ClassVar[str] = "activate"

    sparsity: float
    score: str
    allocation: str
    seed: int
    granularity: str = "weight"
    label: str = "score"
    params: dict[str, Scalar] = field(default_factory=dict)

    @property
    def cheap(self) -> bool:
        """One partial sort."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Remove quiet negative weights until the sparsity is reached."""
        from autoprune.stages.support import apply_masks, damage

        masked, trained = inputs[:2]
        start = _start(inputs[2:], trained)
        wanted = _alive(masked) - self._kept(masked)
        masks = ap_select(trained.weights, start, masked.masks, max(0, wanted))
        done = replace(masked, weights=apply_masks(masked.weights, masks), masks=masks)
        removed = _alive(masked) - _alive(done)
        if removed < wanted:
            done = self._refill(done, context)
        counts = {"ap_removed": removed, "ap_left_to_base": max(0, wanted - removed)}
        return replace(done, log={**done.log, **counts, **damage(trained, done)})

    def _kept(self, state: TrialState) -> int:
        total = sum(mask.numel() for mask in state.masks.values())
        return total - round(self.sparsity * total)

    def _refill(self, state: TrialState, context: RunContext) -> TrialState:
        """Let the base remove what negative weights did not suffice for."""
        label = f"{self.label}/rest"
        score = Score(score=self.score, seed=self.seed, label=label, params=self.params)
        mask = Mask(
            allocation=self.allocation, sparsity=self.sparsity, granularity=self.granularity
        )
        return mask.run([state, score.run([state], context)], context)


@dataclass(frozen=True)
class Quieten(Stage):
    """AP's removal where weights live and die together: it comes before the base method's.

    The base then keeps whole kernels or blocks of what is left, and removes what was not found.

    Parameters
    ----------
    parents : tuple of Stage
        The trained state, and the round's start, as for `Activate`.
    share : float
        Fraction of the living weights to remove.
    """

    kind: ClassVar[str] = "quieten"

    share: float

    @property
    def cheap(self) -> bool:
        """One sort."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Remove the share, or all negative weights where there are fewer."""
        from autoprune.stages.support import apply_masks, prunable_masks

        held = prunable_masks(inputs[0], context)
        trained = replace(inputs[0], masks=held, tensors={})
        wanted = round(self.share * _alive(trained))
        masks = ap_select(trained.weights, _start(inputs[1:], trained), held, wanted)
        done = replace(trained, weights=apply_masks(trained.weights, masks), masks=masks)
        removed = _alive(trained) - _alive(done)
        counts = {"ap_removed": removed, "ap_left_to_base": wanted - removed}
        return replace(done, log={**done.log, **counts})


@dataclass(frozen=True)
class Tally(Stage):
    """Log what a round's removals took together, where two stages removed.

    Parameters
    ----------
    parents : tuple of Stage
        The pruned state, and the trained one before any removal.
    """

    kind: ClassVar[str] = "tally"

    @property
    def cheap(self) -> bool:
        """Two sums."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Measure the damage anew."""
        from autoprune.stages.support import damage

        pruned, trained = inputs
        return replace(pruned, log={**pruned.log, **damage(trained, pruned)})


def _start(given: Sequence[TrialState], trained: TrialState) -> dict[str, Tensor]:
    """Return what movement is counted from: the round's start, or zeros where there is none."""
    import torch

    if given:
        return given[0].weights
    return {name: torch.zeros_like(weight) for name, weight in trained.weights.items()}


def _alive(state: TrialState) -> int:
    return sum(int(mask.sum()) for mask in state.masks.values())
