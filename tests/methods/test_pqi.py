from __future__ import annotations

import doctest

import pytest
import torch

from autoprune.core.errors import ConfigError
from autoprune.methods import pqi
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.scores.pq_index import PqIndex
from autoprune.pruning.view import ModelView
from autoprune.stages.state import TrialState
from autoprune.trial.context import WorkerContext
from tests.methods.support import (
    TOTAL,
    assert_equal,
    job,
    kept,
    labelled,
    masked,
    of_kind,
    plan,
    state,
)

NAMES = ("fc1.weight", "fc2.weight", "fc3.weight")


def view_of(found: TrialState) -> ModelView:
    weights = {name: found.weights[name] for name in NAMES}
    return ModelView(weights, found.masks or dense_masks(weights))


def test_the_docstrings_hold() -> None:
    assert doctest.testmod(pqi).failed == 0


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({}, PqIndex("neuron", 0.5, 1.0, 0.0, 0.9)),
        ({"scope": "layer", "norms": "1,2"}, PqIndex("layer", 1.0, 2.0, 0.0, 0.9)),
        ({"scope": "global", "eta_r": 0.1, "beta": 0.2}, PqIndex("global", 0.5, 1.0, 0.1, 0.2)),
    ],
)
def test_a_round_removes_what_the_rule_says(
    settings: dict[str, object], rule: PqIndex, digits_context: WorkerContext
) -> None:
    last = plan(job("pqi", sparsity=0.9, rounds=2, gamma=1.5, **settings))[-1]
    first, second = sorted(of_kind(last, "pqi_mask"), key=lambda s: s.index)  # type: ignore[attr-defined]
    dense = state(first.parents[0], digits_context)
    done = state(first, digits_context)
    planned = rule.planned(view_of(dense), 1.5)
    assert 0 < planned < 0.9 * TOTAL
    assert kept(done) == TOTAL - planned
    assert done.log["beyond_rule"] == 0.0
    trained = state(second.parents[0], digits_context)
    end = state(second, digits_context)
    assert kept(end) == TOTAL - round(0.9 * TOTAL)
    beyond = kept(done) - kept(end) - rule.planned(view_of(trained), 1.5)
    assert end.log["beyond_rule"] == max(0, beyond)


def test_a_round_stops_at_the_target(digits_context: WorkerContext) -> None:
    # gamma 10 would remove nine tenths of every neuron; half is asked for.
    stages = plan(job("pqi", sparsity=0.5, rounds=2, gamma=10.0))
    assert [kept(state(stage, digits_context)) for stage in stages] == [TOTAL // 2] * 2
    assert state(stages[-1], digits_context).log["beyond_rule"] == 0.0


def test_without_gamma_only_the_last_round_prunes(digits_context: WorkerContext) -> None:
    stages = plan(job("pqi", sparsity=0.8, rounds=2, gamma=0.0))
    assert [kept(state(stage, digits_context)) for stage in stages] == [TOTAL, TOTAL // 5]
    assert state(stages[-1], digits_context).log["beyond_rule"] == TOTAL * 4 // 5


def test_every_round_leaves_its_mean_index(digits_context: WorkerContext) -> None:
    last = plan(job("pqi", rounds=3))[-1]
    log = state(last, digits_context).log
    for stage in of_kind(last, "pqi_mask"):
        found = log[f"pq_index_{stage.index}"]  # type: ignore[attr-defined]
        before = view_of(state(stage.parents[0], digits_context))
        assert found == PqIndex().mean_index(before)
        assert 0.0 < found < 1.0


@pytest.mark.parametrize("rewind", ["init", "step:0.5", "none"])
def test_survivors_go_back(rewind: str, digits_context: WorkerContext) -> None:
    last = plan(job("pqi", rounds=2, rewind=rewind))[-1]
    starts = [stage.parents[0] for stage in labelled(last, "retrain")]
    if rewind == "none":
        assert [start.kind for start in starts] == ["pqi_mask"] * 2
        return
    for start in starts:
        pruned, snapshot = (state(parent, digits_context) for parent in start.parents)
        found = state(start, digits_context)
        assert_equal(found.weights, masked(snapshot.weights, pruned.masks))
        assert found.log["pq_index_1"] > 0.0


def test_the_paper_s_rewind_is_the_default() -> None:
    assert job("pqi").config.params["rewind"] == "init"
    assert len(of_kind(plan(job("pqi"))[-1], "rewind")) == 3


@pytest.mark.parametrize("norms", ["", "1", "1,1", "2,1", "0,1", "a,b", "0.5,1,2", "nan,1", "1,99"])
def test_norms_are_two_and_rise(norms: str) -> None:
    with pytest.raises(ConfigError, match=r"trial\.pqi\.norms must be p,q with 0 < p < q <= 10"):
        job("pqi", norms=norms)


@pytest.mark.parametrize(
    ("name", "value"),
    [("gamma", -1.0), ("beta", 0.0), ("beta", 1.1), ("eta_r", -0.1), ("scope", "net")],
)
def test_limits(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"trial\.pqi\.{name} must be"):
        job("pqi", **{name: value})


def test_a_rewind_policy_is_one_of_the_four() -> None:
    with pytest.raises(ConfigError, match=r"trial\.pqi\.rewind must be none, init, reinit or"):
        job("pqi", rewind="start")


def test_scopes_differ(digits_context: WorkerContext) -> None:
    masks = []
    for scope in ("neuron", "layer", "global"):
        last = plan(job("pqi", rounds=1, scope=scope))[-1]
        masks.append(state(of_kind(last, "pqi_mask")[0], digits_context).masks)
    # One neuron's weights are judged alone, so no neuron of the first layer is emptied.
    assert int(masks[0]["fc1.weight"].sum(1).min()) > 0
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert any(not torch.equal(masks[one][name], masks[other][name]) for name in NAMES)
