"""Early tickets: prune a training run where it has stopped moving (card spline, c1 and c3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

from autoprune.core.config import Scalar
from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.stages.state import TrialState

Rule = Literal["newest_vs_queue", "consecutive", "partition"]

TIED = 1e-6
"""Scores of a group that differ by no more say nothing: its mask would be one of indices."""


def mask_distances(masks: Sequence[Tensor], rule: Rule) -> list[float]:
    """Return the shares of entries in which masks differ.

    Parameters
    ----------
    masks : sequence of Tensor ``(units,)``
        Bool, oldest first.
    rule : str
        ``newest_vs_queue`` compares the newest with each of the others, ``consecutive`` each with
        the one before it.

    Returns
    -------
    list of float
        Normalised Hamming distances in [0, 1], one fewer than masks.

    Examples
    --------
    >>> import torch
    >>> masks = [torch.tensor(m) > 0 for m in ([1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 1])]
    >>> mask_distances(masks, "newest_vs_queue"), mask_distances(masks, "consecutive")
    ([1.0, 0.5], [0.5, 0.5])
    """
    newest = [(old, masks[-1]) for old in masks[:-1]]
    pairs = pairwise(masks) if rule == "consecutive" else newest
    return [float((one != other).double().mean()) for one, other in pairs]


def settled(masks: Sequence[Tensor | None], window: int, threshold: float, rule: Rule) -> bool:
    """Say whether the last masks have stopped moving.

    Parameters
    ----------
    masks : sequence of Tensor or None
        Those seen so far, oldest first; None where scores were tied.
    window : int
        Masks that are compared (K), >= 2.
    threshold : float
        Greatest distance that counts as none (epsilon).
    rule : str
        See `mask_distances`.
    """
    last = [mask for mask in masks[-window:] if mask is not None]
    return len(last) == window and all(d <= threshold for d in mask_distances(last, rule))


@dataclass(frozen=True)
class EarlyTicket(Stage):
    """Remove units of the first snapshot at which the run has settled, or else of its end.

    Parameters
    ----------
    parents : tuple of Stage
        Snapshots of one training run, earliest first, and its end.
    shares : tuple of float
        At which shares of the run the snapshots were taken.
    score : str
        Registry name of a score of units.
    allocation, sparsity, of : str, float, str
        As for `stages.prune.Mask`.
    window, threshold, rule : int, float, str
        See `settled`; under ``partition`` the newest partition of the input space must lie less
        than the threshold from each of the ``window - 1`` before it.
    canvas : int
        Side of the grid of inputs on which partitions are compared.
    params, grain : dict
        What the score and the granularity are built with.

    Notes
    -----
    Logged are ``ticket_share``, the share of the run that was trained, and ``ticket_settled``,
    whether it had settled. A run that diverges before is the result.
    """

    kind: ClassVar[str] = "early_ticket"

    shares: tuple[float, ...]
    score: str
    allocation: str
    sparsity: float
    seed: int
    of: Literal["weights", "macs"] = "weights"
    window: int = 5
    threshold: float = 0.1
    rule: Rule = "newest_vs_queue"
    canvas: int = 32
    params: dict[str, Scalar] = field(default_factory=dict)
    grain: dict[str, Scalar] = field(default_factory=dict)

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Look at one snapshot after the other, until they agree."""
        still = self._partitions(context) if self.rule == "partition" else self._masks(context)
        for share, state in zip(self.shares, inputs[:-1], strict=True):
            if state.diverged:
                return state
            if still(state):
                return _noted(self._draw(state, context)[0], share, found=True)
        end = inputs[-1]
        return end if end.diverged else _noted(self._draw(end, context)[0], 1.0, found=False)

    def _masks(self, context: RunContext) -> Callable[[TrialState], bool]:
        """Return what draws a snapshot's mask and says whether the last ones agree."""
        seen: list[Tensor | None] = []

        def still(state: TrialState) -> bool:
            seen.append(self._draw(state, context)[1])
            return settled(seen, self.window, self.threshold, self.rule)

        return still

    def _partitions(self, context: RunContext) -> Callable[[TrialState], bool]:
        """Return what looks at a snapshot's partition and says whether the last ones agree."""
        from autoprune.stages.canvas import Partition, canvas, look, partition_distance

        inputs = canvas(context.task, self.canvas, self.seed)
        seen: deque[Partition] = deque(maxlen=self.window)

        def still(state: TrialState) -> bool:
            seen.append(look(state.weights, inputs, context))
            if len(seen) < self.window:
                return False
            *before, newest = seen
            return max(partition_distance(newest, old) for old in before) < self.threshold

        return still

    def _draw(self, state: TrialState, context: RunContext) -> tuple[TrialState, Tensor | None]:
        """Return a state without its lowest units, and which units stay; None if scores tie."""
        import torch

        from autoprune.stages.prune import Mask, Score

        score = Score(score=self.score, seed=self.seed, params=self.params)
        scored = score.run([state], context)
        mask = Mask(
            allocation=self.allocation,
            sparsity=self.sparsity,
            granularity="channel",
            of=self.of,
            grain=self.grain,
        )
        pruned = mask.run([state, scored], context)
        flags = [torch.tensor(kept, dtype=torch.bool) for kept in pruned.structure.units.values()]
        tied = any(float(score.max() - score.min()) <= TIED for score in scored.tensors.values())
        return pruned, None if tied else torch.cat(flags)


def _noted(state: TrialState, share: float, *, found: bool) -> TrialState:
    return replace(state, log={**state.log, "ticket_share": share, "ticket_settled": found})
