"""Baselines that start while the search's last jobs are still out."""

from __future__ import annotations

from collections import Counter

import pytest

from autoprune.search.engine import SearchOptions
from tests.search.test_engine import finished


def order(workers: int) -> list[str]:
    """Return the purposes of jobs as they were issued, and where the other events stand."""
    events = finished(workers=workers).journal.events
    words = {"explore": "search", "lift": "search", "confirm": "finalist"}
    return [
        words.get(p := e["job"]["purpose"], p) if e["event"] == "job" else e["event"]
        for e in events
    ]


@pytest.mark.parametrize("workers", [1, 2])
def test_two_workers_choose_the_finalists_before_any_baseline_runs(workers: int) -> None:
    names = order(workers)
    assert names.index("confirm") < names.index("test") < names.index("baseline")


def test_baselines_fill_idle_workers_while_the_last_search_jobs_run() -> None:
    names = order(8)
    last = max(i for i, name in enumerate(names) if name == "search")
    assert last < names.index("test") < names.index("baseline") < names.index("confirm")
    assert names.count("test") == names.count("confirm") == 1
    # The same work in another order.
    assert Counter(names)["baseline"] == Counter(order(1))["baseline"]


def test_baselines_of_an_epoch_budget_wait_until_it_is_known_what_it_pays_for() -> None:
    engine = finished(SearchOptions(budget="200ep", confirm_seeds=2), workers=8)
    events = engine.journal.events
    chosen = next(i for i, e in enumerate(events) if e["event"] == "confirm")
    assert not any(e["event"] == "job" and e["job"]["test"] for e in events[:chosen])
