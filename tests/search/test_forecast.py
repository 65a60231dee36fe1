from __future__ import annotations

from dataclasses import replace

import pytest

from autoprune.search.engine import SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.forecast import axes, describe, forecast, least_macs, samples
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


def test_the_least_multiply_adds_are_those_of_the_kinds_and_targets_there_are() -> None:
    info = replace(INFO, reach={"units": 0.97, "units_macs": 0.9})
    space = small_space()
    assert least_macs(space, info) == pytest.approx(0.1)
    weights = small_space(method={"magnitude": None})
    assert least_macs(weights, info) == 1.0
    targets = replace(space.targets, of="macs", high=0.6)
    assert least_macs(replace(space, targets=targets), info) == pytest.approx(0.4)


def test_budgets_in_words() -> None:
    assert describe("100").startswith("100 search jobs")
    assert describe("500ep").startswith("500 epochs")
    assert describe("2h").startswith("120 minutes")


def test_kinds_say_what_they_buy_and_what_is_left_out() -> None:
    info = replace(INFO, reach={"units": 0.97, "units_macs": 0.9})
    found = axes(small_space(), info)
    assert [(row["kind"], row["methods"], row["most"]) for row in found["kinds"]] == [
        ("weights", 3, 0.999),
        ("units", 1, 0.97),
    ]
    assert found["left_out"] == {}
    fast = small_space(objectives=["accuracy", "macs"])
    found = axes(fast, info)
    assert [(row["kind"], row["most"]) for row in found["kinds"]] == [("units", 0.9)]
    assert set(found["left_out"]) == {"magnitude", "imp", "snip"}
    assert all("do not change macs" in reason for reason in found["left_out"].values())
    assert {config["method"] for config in samples(fast, info=info)} == {"dropnet"}
    assert all(config["sparsity"] <= 0.9 for config in samples(fast, count=9, info=info))


def test_a_search_for_speed_proposes_nothing_that_makes_nothing_faster() -> None:
    space = small_space(objectives=["accuracy", "latency_ms"])
    engine = start(space, SearchOptions("6", confirm_seeds=1))
    InlineExecutor(simulation(space)).run(engine)
    assert {job.config.method for job in engine.state.search_jobs} == {"dropnet"}
    both = small_space(objectives=["accuracy", "macs", "sparsity"])
    assert len(start(both, SearchOptions("6")).view.usable) == 4
