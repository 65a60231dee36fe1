from __future__ import annotations

from autoprune.search.engine import SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.summary import summarize
from autoprune.tracking.content import Child, children
from tests.search.support import simulation, small_space, start


def places(child: Child) -> set[tuple[str, int]]:
    return {(value.key, value.step) for value in child.values}


def test_what_a_copy_writes_the_next_one_can_replace() -> None:
    """MLflow takes no metric back: a copy of a cut study writes none that the whole has not."""
    space, options = small_space(), SearchOptions(budget="14", confirm_seeds=2, strategy="moasha")
    engine = start(space, options)
    InlineExecutor(simulation(space)).run(engine)
    events = engine.journal.events
    last = {c.key: places(c) for c in children(events, summarize(events), "key")}
    assert any(("confirmed_seeds", 0) in found for found in last.values())
    promoted = [len({step for _, step in found} - {0}) > 1 for found in last.values()]
    assert any(promoted)
    assert not all(promoted)
    for cut in range(3, len(events)):
        for child in children(events[:cut], summarize(events[:cut]), "key"):
            assert places(child) <= last[child.key], cut
