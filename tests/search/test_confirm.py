from __future__ import annotations

import json

from autoprune.core.config import TrialConfig
from autoprune.search import confirm
from autoprune.search.front import Point
from tests.search.support import small_space


def point(sparsity: float) -> Point:
    import math

    values = (0.1 + 0.5 * (sparsity - 0.5), math.log10(1 - sparsity) / 3)
    return Point(TrialConfig(sparsity=sparsity), 0, 9, {}, values)


def test_finalists_hold_the_first_point_of_every_band() -> None:
    line = [point(0.5 + i * 0.49 / 60) for i in range(61)]
    chosen = [config.sparsity for config in confirm.finalists(line)]
    assert len(chosen) == len(set(chosen)) == 12
    for band in (0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99):
        first = min(p.config.sparsity for p in line if p.config.sparsity >= band - 1e-4)
        assert first in chosen
    assert set(chosen[:2]) == {0.5, 0.99}  # the ends first, so that a short list spans the front


def test_few_points_are_all_confirmed_once() -> None:
    assert len(confirm.finalists([point(0.6), point(0.9), point(0.9)])) == 2
    assert confirm.finalists([]) == []


def test_what_is_affordable() -> None:
    config = TrialConfig()
    wanted = [[confirm.Planned(config, seed, "confirm") for seed in (1, 2)] for _ in range(5)]
    for epochs, groups in ((0, 2), (4, 2), (5.9, 2), (6, 3), (99, 5)):
        assert len(confirm.affordable(wanted, lambda planned: 1.0, epochs)) == groups


def test_the_event_rebuilds_the_queue() -> None:
    space = small_space(targets={"high": 0.92})
    seeds = confirm.confirm_seeds(5, 2)
    assert seeds == (6, 7)
    chosen = [space.plainest("imp"), space.plainest("snip")]
    wanted = confirm.groups(chosen, confirm.baselines(space), seeds)
    event = json.loads(json.dumps(confirm.event(wanted, 9)))
    assert confirm.queue(event) == [planned for group in wanted for planned in group]
    assert [row["trial"] for row in event["finalists"]] == [c.trial_id for c in chosen]
    tags = [row["tag"] for row in event["baselines"]]
    # Two sparsities lie within the targets; magnitude has two peaks.
    assert tags == ["dense"] + ["magnitude"] * 4 + ["random"] * 2 + ["scratch_e"] * 2


def test_a_baseline_the_task_does_not_allow_is_left_out(caplog: object) -> None:
    space = small_space(targets={"high": 0.85, "of": "macs"})
    assert {name for name, _ in confirm.baselines(space)} >= {"dense", "magnitude"}
