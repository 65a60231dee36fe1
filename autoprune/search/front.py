"""Who dominates whom, and how much of the plane is dominated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import moocore
import numpy as np

from autoprune.core.config import TrialConfig
from autoprune.core.records import TaskInfo
from autoprune.search.state import Record

LEAST_SHARE = 1e-3
_DENSE = {"latency_ms": "dense_latency_ms", "size_bytes": "dense_size_bytes"}


@dataclass(frozen=True)
class Point:
    """A trained network: a finished job, or a round of one.

    Parameters
    ----------
    config : TrialConfig
        The trial; `stop_round` is set for a round.
    job : int
        The job it comes from.
    epochs : float
        Retraining epochs that led to it.
    metrics : dict
        As in `JobResult.metrics`.
    values : tuple of float
        What is minimised: error (0 none, 1 chance), then the log10 share of dense of every other
        objective, over 3 (0 dense, -1 a thousandth).
    """

    config: TrialConfig
    job: int
    epochs: float
    metrics: Mapping[str, float]
    values: tuple[float, ...]


def share_of_dense(metrics: Mapping[str, float], objective: str, info: TaskInfo) -> float:
    """Return what is left of the dense model, in an objective other than accuracy."""
    if objective == "sparsity":
        return 1.0 - metrics["sparsity"]
    if objective == "macs":
        return metrics["macs"] / info.macs
    if objective == "params":
        return metrics["params"] / info.params
    return metrics[objective] / metrics[_DENSE[objective]]


def values(
    metrics: Mapping[str, float], objectives: Sequence[str], info: TaskInfo, split: str = "val"
) -> tuple[float, ...]:
    """Scale metrics for dominance and hypervolume; see `Point`."""
    chance = 1.0 - 1.0 / max(2, info.num_classes)
    error = (1.0 - metrics[f"{split}_accuracy"]) / chance
    shares = (share_of_dense(metrics, name, info) for name in objectives[1:])
    return (error, *(math.log10(max(share, LEAST_SHARE)) / 3.0 for share in shares))


def points(records: Iterable[Record], objectives: Sequence[str], info: TaskInfo) -> list[Point]:
    """Return every trained network of the search: jobs that ended well, and their rounds.

    Diverged, collapsed and failed jobs are on record but no candidates for the front.
    """
    found = []
    for record in records:
        result, config = record.result, record.job.config
        if result.status != "ok":
            continue
        stops = [(replace(config, stop_round=r.stop_round), r) for r in result.rounds]
        for stopped, part in stops:
            scaled = values({**result.metrics, **part.metrics}, objectives, info)
            found.append(Point(stopped, result.job, part.epochs, part.metrics, scaled))
        scaled = values(result.metrics, objectives, info)
        found.append(Point(config, result.job, record.job.epochs, result.metrics, scaled))
    return found


def nondominated(rows: Sequence[Sequence[float]]) -> list[int]:
    """Return the positions of the rows that no other row dominates (all minimised).

    Of equal rows the first one stays.
    """
    if not rows:
        return []
    return [int(i) for i in np.flatnonzero(moocore.is_nondominated(np.asarray(rows, float)))]


def ranks(rows: Sequence[Sequence[float]]) -> list[int]:
    """Return the non-dominated layer of every row, 0 for the front."""
    if not rows:
        return []
    return [int(rank) for rank in moocore.pareto_rank(np.asarray(rows, float))]


def front(candidates: Sequence[Point]) -> list[Point]:
    """Return the points that none dominates, least sparse first."""
    kept = [candidates[i] for i in nondominated([p.values for p in candidates])]
    return sorted(kept, key=lambda point: (-point.values[1], point.values[0]))


def hypervolume(rows: Sequence[Sequence[float]]) -> float:
    """Return the share of the box between perfect and chance-level dense that rows dominate.

    The reference is error 1 (chance) and log10 share 0 (dense); the ideal is error 0 at a
    thousandth of the weights, so that the value lies in [0, 1].
    """
    inside = [row for row in rows if row[0] < 1.0 and all(v < 0.0 for v in row[1:])]
    if not inside:
        return 0.0
    reference = [1.0] + [0.0] * (len(inside[0]) - 1)
    return float(moocore.hypervolume(np.asarray(inside, float), ref=reference))


def spread(rows: Sequence[Sequence[float]], count: int) -> list[int]:
    """Order rows so that every beginning of the order is spread out (an eps-net), at most `count`.

    The ends of the second objective come first; each next row is the farthest from all before it.
    """
    if not rows:
        return []
    second = [row[1] for row in rows]
    low, high = (pick(range(len(rows)), key=second.__getitem__) for pick in (min, max))
    return fill(rows, [low, high] if low != high else [low], count)


def fill(rows: Sequence[Sequence[float]], chosen: Sequence[int], count: int) -> list[int]:
    """Add to chosen rows the one farthest from all of them, until there are `count`.

    Distances are taken with every axis scaled to 1.
    """
    if not rows:
        return []
    table = np.asarray(rows, float)
    width = np.ptp(table, axis=0)
    table = table / np.where(width > 0, width, 1.0)
    order = list(chosen)[:count] or [0]
    nearest = np.min([np.linalg.norm(table - table[i], axis=1) for i in order], axis=0)
    nearest[order] = -1.0
    while len(order) < min(count, len(rows)):
        order.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, np.linalg.norm(table - table[order[-1]], axis=1))
        nearest[order] = -1.0
    return order
