"""Which point of the front to ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autoprune.core.errors import ConfigError
from autoprune.search.profile import TOLERANCE

Entry = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """What a pick must keep to; None is no limit.

    Parameters
    ----------
    max_drop : float or None
        Greatest loss of mean validation accuracy against dense, absolute (0.01 is one point).
    min_accuracy : float or None
        Least mean validation accuracy.
    min_sparsity : float or None
        Least sparsity.
    max_macs : float or None
        Greatest share of the dense multiply-adds, above 0.
    max_latency_ms : float or None
        Greatest latency in milliseconds, where it was measured.
    """

    max_drop: float | None = None
    min_accuracy: float | None = None
    min_sparsity: float | None = None
    max_macs: float | None = None
    max_latency_ms: float | None = None

    def __post_init__(self) -> None:
        if self.max_latency_ms is not None and not self.max_latency_ms > 0.0:
            raise ConfigError(
                "--max-latency-ms", "must be a number of milliseconds above 0", self.max_latency_ms
            )
        if self.max_macs is not None and not self.max_macs > 0.0:
            raise ConfigError(
                "--max-macs", "must be a share of the dense multiply-adds above 0", self.max_macs
            )

    def check(self, objectives: Sequence[str], least_macs: float = 0.0) -> None:
        """Refuse a limit on what a search will not measure or cannot reach, before it runs.

        Parameters
        ----------
        objectives : sequence of str
            The search's.
        least_macs : float
            Least share of the dense multiply-adds that a trial of the search can keep.

        Raises
        ------
        ConfigError
            With what would do.
        """
        if self.max_macs is not None and self.max_macs < least_macs:
            raise ConfigError(
                "--max-macs",
                f"must be at least {least_macs:.4g}, which is what the methods and targets of this "
                "search leave of the dense multiply-adds",
                self.max_macs,
                "allow more, or name methods that remove units or rank (removing single weights "
                "saves no multiply-adds), or raise the space's targets",
            )
        if self.max_latency_ms is not None and "latency_ms" not in objectives:
            raise ConfigError(
                "--max-latency-ms",
                "needs latency_ms among the objectives, which are " + ",".join(objectives),
                self.max_latency_ms,
                f"add --objectives {','.join([*objectives, 'latency_ms'])}",
            )

    @property
    def on_accuracy(self) -> bool:
        """Whether accuracy is limited."""
        return self.max_drop is not None or self.min_accuracy is not None

    @property
    def on_cost(self) -> bool:
        """Whether size or speed is limited."""
        limits = (self.min_sparsity, self.max_macs, self.max_latency_ms)
        return any(limit is not None for limit in limits)

    def allow(self, entry: Entry, dense: Entry) -> bool:
        """Whether a front entry keeps to every limit."""
        accuracy = entry["val_accuracy"]
        kept = [
            self.max_drop is None or dense["val_accuracy"] - accuracy <= self.max_drop + 1e-12,
            self.min_accuracy is None or accuracy >= self.min_accuracy - 1e-12,
            self.min_sparsity is None or entry["sparsity"] >= self.min_sparsity - TOLERANCE,
            self.max_macs is None or entry["macs"] <= self.max_macs * dense["macs"],
            self.max_latency_ms is None or _latency(entry) <= self.max_latency_ms,
        ]
        return all(kept)


def _latency(entry: Entry) -> float:
    """Return an entry's latency.

    Raises
    ------
    ConfigError
        If the study did not measure any.
    """
    if entry.get("latency_ms") is None:
        raise ConfigError(
            "--max-latency-ms",
            "needs a study that measured latency",
            remedy="search with --objectives accuracy,sparsity,latency_ms",
        )
    return float(entry["latency_ms"])


def pick(entries: Sequence[Entry], dense: Entry, limits: Limits | None = None) -> Entry:
    """Choose a front entry.

    With limits on accuracy only, the allowed entry that goes farthest in the study's second
    objective (the sparsest, unless it is another); with limits on cost only, the most accurate one;
    with both or none, the knee of what is allowed.

    Parameters
    ----------
    entries : sequence of dict
        The front.
    dense : dict
        `val_accuracy` and `macs` of the dense model.
    limits : Limits, optional
        What it must keep to.

    Raises
    ------
    ConfigError
        If the front is empty, or no entry keeps to the limits; with the nearest misses.
    """
    limits = limits or Limits()
    if not entries:
        raise ConfigError("front", "is empty", remedy="let the search finish, or raise its budget")
    allowed = [entry for entry in entries if limits.allow(entry, dense)]
    if not allowed:
        asked = {k: v for k, v in vars(limits).items() if v is not None}
        best = max(float(e["val_accuracy"]) for e in entries)
        sparsest = max(float(e["sparsity"]) for e in entries)
        raise ConfigError(
            "front",
            "holds no point within the limits",
            asked,
            f"its best validation accuracy is {best:.4f}, its greatest sparsity {sparsest:.4f}",
        )
    if limits.on_accuracy and not limits.on_cost:
        return max(allowed, key=lambda e: (e["reduction"], e["val_accuracy"]))
    if limits.on_cost and not limits.on_accuracy:
        return max(allowed, key=lambda e: (e["val_accuracy"], e["reduction"]))
    return knee(allowed)


def knee(entries: Sequence[Entry]) -> Entry:
    """Return the entry farthest above the chord between the front's ends, axes scaled to 1.

    The axes are the study's own: accuracy, and the reduction in its second objective. Where no
    entry lies above the chord (two entries, say) there is no knee: the most accurate one then.

    # Tie-break: the entry with the greater reduction.
    """
    table = np.array([[e["reduction"], e["val_accuracy"]] for e in entries], float)
    order = np.lexsort((table[:, 1], table[:, 0]))
    width = np.ptp(table, axis=0)
    scaled = (table - table.min(axis=0)) / np.where(width > 0, width, 1.0)
    first, last = scaled[order[0]], scaled[order[-1]]
    along = last - first
    # Twice the signed area of the triangle with the chord; positive above it.
    above = along[0] * (scaled[:, 1] - first[1]) - along[1] * (scaled[:, 0] - first[0])
    heights = np.round(above, 12)
    column = heights if heights.max() > 0 else table[:, 1]
    return entries[max(range(len(entries)), key=lambda i: (column[i], table[i, 0]))]
