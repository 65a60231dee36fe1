"""MO-ASHA: promote the best floor(n / eta) trials of each rung, highest rung first.

References
----------
R. Schmucker, M. Donini, M. B. Zafar, D. Salinas, C. Archambeau, "Multi-objective Asynchronous
Successive Halving", 2021, arXiv 2106.12639.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoprune.core.records import Job
from autoprune.search.front import ranks, spread
from autoprune.search.state import Record
from autoprune.search.strategies.base import View, Wish
from autoprune.search.strategies.contextual import EXPLORE_FACTOR, num_random, random_job

ETA = 3


def propose(view: View) -> Job | None:
    """Return a promotion when one is due, else a new trial at the lowest valid rung."""
    for rung, following in reversed(
        list(zip(view.space.rungs, view.space.rungs[1:], strict=False))
    ):
        for record in promotable(view, rung):
            if job := view.again(record.job.config, following, "lift"):
                return job
    issued = view.issued("explore")
    target = view.target(len(issued))
    if len(issued) < num_random(view):
        return random_job(view, "explore", target, top=False)
    return view.job(Wish("explore", target, view.usable, factor=EXPLORE_FACTOR))


def promotable(view: View, rung: int) -> list[Record]:
    """Return the records of a rung that deserve the next one, best first."""
    records = [r for r in view.state.searched if r.job.epochs == rung and r.result.status == "ok"]
    rows = [
        (1.0 - r.result.metrics["val_accuracy"], float(np.log10(1.0 - r.job.config.sparsity)))
        for r in records
    ]
    return [records[i] for i in order(rows)[: len(records) // ETA]]


def order(rows: Sequence[Sequence[float]]) -> list[int]:
    """Order rows by non-dominated layer, and within a layer so that its beginning is spread out."""
    layers = ranks(rows)
    ordered: list[int] = []
    for layer in sorted(set(layers)):
        members = [i for i, rank in enumerate(layers) if rank == layer]
        ordered += [members[i] for i in spread([rows[m] for m in members], len(members))]
    return ordered
