"""Whole units, but only those that a single layer reads; all others stay."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.keep import UnitScores
from autoprune.pruning.readers import read_once
from autoprune.pruning.view import ModelView, Scores


@dataclass(frozen=True)
class InnerChannelGranularity(ChannelGranularity):
    """Channels inside a residual block, and those between two layers of a plain network.

    What a residual stream carries is read by several layers and stays whole; the sparsity counts
    all prunable weights nevertheless, so `reachable` can be far below that of all channels.
    """

    def pool(self, scores: Scores, view: ModelView) -> UnitScores:
        """Take one vector per group that a single layer reads.

        Raises
        ------
        TaskError
            If the model has no such units.
        """
        return super().pool(scores, replace(view, groups=read_once(view.groups)))
