from __future__ import annotations

import pytest

from autoprune.search.engine import SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.forecast import describe, forecast, samples
from autoprune.space import list_spaces, load_space
from tests.search.support import INFO, simulation, small_space, start


def test_it_foresees_jobs_and_roughly_the_epochs() -> None:
    space, options = small_space(), SearchOptions("30", confirm_seeds=2)
    phases = {p.name: p for p in forecast(space, INFO, options)}
    engine = start(space, options)
    InlineExecutor(simulation(space)).run(engine)
    assert phases["explore"].jobs + phases["lift"].jobs == 30
    real = engine.state.epochs_trained
    # Which methods are lifted is unknown beforehand, and from-scratch ones cost more.
    assert 0.7 < sum(p.epochs for p in phases.values()) / real < 1.4
    assert all(p.wall_s is None for p in phases.values())
    dense = 4 * 2
    assert phases["baselines"].epochs >= dense


def test_wall_time_needs_a_speed_and_divides_by_workers() -> None:
    options = SearchOptions("12", confirm_seeds=1)
    one, two = (
        forecast(small_space(), INFO, options, workers=n, seconds_per_epoch=2.0) for n in (1, 2)
    )
    assert one[0].wall_s == pytest.approx(one[0].epochs * 2.0)
    assert two[0].wall_s == pytest.approx(two[0].epochs)


@pytest.mark.parametrize("name", list_spaces())
def test_sample_configurations_are_valid_and_differ(name: str) -> None:
    space = load_space(name)
    found = samples(space)
    assert len({str(config) for config in found}) == 5
    assert [config["method"] for config in found] == list(space.methods[:5])
    assert samples(space) == found
    assert samples(space, seed=1) != found


def test_budgets_in_words() -> None:
    assert describe("100").startswith("100 search jobs")
    assert describe("500ep").startswith("500 epochs")
    assert describe("2h").startswith("120 minutes")
