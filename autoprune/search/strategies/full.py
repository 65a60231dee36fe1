"""The control: every job at the top rung, first at random, then as the sampler proposes."""

from __future__ import annotations

from autoprune.core.records import Job
from autoprune.search.strategies.base import View, Wish
from autoprune.search.strategies.contextual import EXPLORE_FACTOR, num_random, random_job


def propose(view: View) -> Job | None:
    """Return the next job, or nothing while every candidate waits for a stage in flight."""
    issued = view.issued()
    target = view.target(len(issued))
    if len(issued) < num_random(view):
        return random_job(view, "lift", target, top=True)
    return view.job(Wish("lift", target, view.usable, top=True, factor=EXPLORE_FACTOR))
