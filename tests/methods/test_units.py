"""Methods that score units, remove the least and retrain; the contract holds them to more."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autoprune.core.errors import ConfigError
from autoprune.pruning.scores.fpgm import distances
from autoprune.trial.context import WorkerContext
from autoprune.trial.deploy import compacted
from autoprune.trial.run import run_job
from tests.methods.normed import NORMED
from tests.methods.support import job, labelled, of_kind, plan, state

ONE_SHOT = ("filter_l1", "filter_l2", "fpgm", "taylor")
ALL = (*ONE_SHOT, "slimming")


def last_of(method: str, **params: Any) -> Any:
    return plan(job(method, task=NORMED, **params))[-1]


@pytest.mark.parametrize("method", ONE_SHOT)
def test_the_dense_net_is_pruned_once_and_retrained(method: str) -> None:
    last = last_of(method)
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    assert (score.score, mask.granularity, mask.allocation) == (method, "channel", "uniform")  # type: ignore[attr-defined]
    assert score.parents[0].label == mask.parents[0].label == "dense"  # type: ignore[attr-defined]
    assert [stage.length for stage in labelled(last, "retrain")] == [3.0]
    assert of_kind(last, "rewind") == []


@pytest.mark.parametrize("method", ALL)
def test_rounds_rewinding_and_allocation_are_free(method: str) -> None:
    last = last_of(method, rounds=2, rewind="init", allocation="global", sparsity=0.75)
    masks = of_kind(last, "mask")
    assert [mask.sparsity for mask in masks] == pytest.approx([0.5, 0.75])  # type: ignore[attr-defined]
    assert {mask.allocation for mask in masks} == {"global"}  # type: ignore[attr-defined]
    assert len(of_kind(last, "rewind")) == 2
    with pytest.raises(ConfigError, match=rf"trial\.{method}\.rewind must be none, init, reinit"):
        job(method, rewind="early")


@pytest.mark.parametrize("method", ALL)
def test_the_units_with_the_lowest_scores_of_each_group_go(
    method: str, normed_context: WorkerContext
) -> None:
    last = last_of(method)
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    scores = state(score, normed_context).tensors
    found = state(mask, normed_context)
    assert found.log["score_passes"] == (method == "taylor")
    assert set(found.structure.units) == {"0.weight", "4.weight"}
    for name, flags in found.structure.units.items():
        keep = torch.tensor(flags).bool()
        value = scores[f"score/{name}"]
        assert 0 < int(keep.sum()) < len(keep)
        assert value[keep].min() >= value[~keep].max()


def test_scores_are_those_of_the_dense_net(normed_context: WorkerContext) -> None:
    weights = state(of_kind(last_of("filter_l1"), "score")[0].parents[0], normed_context).weights
    weight = weights["4.weight"].flatten(1).double()
    wanted = {
        "filter_l1": weight.abs().sum(1),
        "filter_l2": weight.norm(dim=1),
        "fpgm": distances(weight, torch.ones(32, dtype=torch.bool)),
    }
    for method, value in wanted.items():
        (score,) = of_kind(last_of(method), "score")
        assert torch.allclose(state(score, normed_context).tensors["score/4.weight"], value)


@pytest.mark.parametrize("context", ["digits_context", "normed_context"])
def test_every_method_keeps_units_of_its_own(context: str, request: pytest.FixtureRequest) -> None:
    worker: WorkerContext = request.getfixturevalue(context)
    methods = ALL if worker.task.info.has_batchnorm else ONE_SHOT
    found = set()
    for method in methods:
        (mask,) = of_kind(plan(job(method, task=worker.settings.task))[-1], "mask")
        found.add(str(state(mask, worker).structure.units))
    assert len(found) == len(methods)


@pytest.mark.parametrize("method", ["taylor", "slimming"])
def test_units_are_gone_and_nothing_changes(method: str, normed_context: WorkerContext) -> None:
    found = state(last_of(method), normed_context)
    slim = compacted(found, normed_context)
    whole = normed_context.task.build_model(0).eval()
    whole.load_state_dict(found.weights)
    inputs = normed_context.task.data.val.inputs[:64]  # type: ignore[attr-defined]
    with torch.no_grad():
        # Sums of fewer terms are rounded differently: 1e-5 of logits of order 1 to 10.
        assert torch.allclose(slim(inputs), whole(inputs), atol=1e-5)
    left = {name: sum(flags) for name, flags in found.structure.units.items()}
    shapes = {n: tuple(w.shape) for n, w in slim.state_dict().items()}
    assert shapes["0.weight"] == (left["0.weight"], 1, 3, 3)
    assert shapes["4.weight"] == (left["4.weight"], left["0.weight"], 3, 3)
    assert shapes["9.weight"] == (10, 4 * left["4.weight"])
    assert shapes["1.weight"] == (left["0.weight"],)


def test_a_global_ranking_gives_other_shares_than_uniform(normed_context: WorkerContext) -> None:
    counts = []
    for allocation in ("uniform", "global"):
        (mask,) = of_kind(last_of("filter_l1", allocation=allocation), "mask")
        units = state(mask, normed_context).structure.units
        counts.append({name: sum(flags) for name, flags in units.items()})
    # Uniform: the same share of 16 and 32. The first filters have 9 weights, the others 144.
    assert counts[0]["4.weight"] == pytest.approx(2 * counts[0]["0.weight"], abs=1)
    assert counts[1]["0.weight"] < counts[0]["0.weight"]


def test_taylor_reads_the_masked_net_again_in_the_next_round(normed_context: WorkerContext) -> None:
    found = run_job(job("taylor", task=NORMED, rounds=2), normed_context)
    assert (found.status, found.metrics["log/score_passes"]) == ("ok", 2)
