"""Spline pruning on real plans; the distances themselves stand in tests/pruning/scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch

from autoprune.core.config import TaskConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, complete
from autoprune.stages.prune import Score
from autoprune.testing.methods import MethodContract
from autoprune.trial.context import WorkerContext
from autoprune.trial.deploy import compacted
from tests.methods.normed import NORMED, OnNorms
from tests.methods.support import job, of_kind, plan, state


class TestRawOverTheNet(OnNorms, MethodContract):
    method = "spline"
    params: ClassVar[dict[str, Any]] = {"rounds": 2, "allocation": "global", "normalised": False}
    sparsity = 0.6


def test_it_is_a_reconstruction() -> None:
    assert METHODS.get("spline").reconstruction
    assert not METHODS.get("early_bird").reconstruction


def test_the_parameters_reach_the_score() -> None:
    (last,) = plan(job("spline", rho=0.7, normalised=False))
    (score,) = of_kind(last, "score")
    assert score.params == {"rho": 0.7, "normalised": False}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"spline\.rho must be greater than or equal to 0"):
        complete(TrialConfig(method="spline", params={"rho": -0.1}))
    with pytest.raises(ConfigError, match=r"trial\.spline\.rewind must be none, init"):
        complete(TrialConfig(method="spline", params={"rewind": "step:2"}))


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_the_redundant_go(allocation: str, digits_context: WorkerContext) -> None:
    (last,) = plan(job("spline", sparsity=0.7, allocation=allocation, round_to=1))
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    scores, units = state(score, digits_context), state(mask, digits_context).structure.units
    assert scores.log["score_passes"] == 1
    assert list(units) == ["fc1.weight", "fc2.weight"]
    flags = {name: torch.tensor(kept) > 0 for name, kept in units.items()}
    values = {name: scores.tensors[f"score/{name}"] for name in units}
    shares = [float(keep.double().mean()) for keep in flags.values()]
    # 300 and 100 neurons at the same share, within one; or at the same distance.
    assert (abs(shares[0] - shares[1]) <= 1 / 100) == (allocation == "uniform")
    scopes = [[name] for name in units] if allocation == "uniform" else [list(units)]
    for scope in scopes:
        kept = torch.cat([values[name][flags[name]] for name in scope])
        gone = torch.cat([values[name][~flags[name]] for name in scope])
        assert kept.min() > gone.max()


@pytest.mark.parametrize("task", [None, NORMED], ids=["mlp", "norms"])
def test_a_twin_goes_before_all_others(
    task: TaskConfig | None, digits_context: WorkerContext, normed_context: WorkerContext
) -> None:
    # A unit becomes twice another: the same hyperplane. Its scale, or what it sends on, is less.
    context = digits_context if task is None else normed_context
    dense = plan(job("spline", **({} if task is None else {"task": task})))[-1]
    (score,) = of_kind(dense, "score")
    weights = dict(state(score.parents[0], context).weights)
    twins = (
        {"fc1.weight": 2.0, "fc1.bias": 2.0}
        if task is None
        else {
            "0.weight": 2.0,
            "1.running_mean": 2.0,
            "1.running_var": 4.0,
            "1.weight": 0.5,
            "1.bias": 0.5,
        }
    )
    for name, factor in twins.items():
        weights[name] = weights[name].clone()
        weights[name][3] = factor * weights[name][7]
    if task is None:
        weights["fc2.weight"] = weights["fc2.weight"].clone()
        weights["fc2.weight"][:, 3] = 0.5 * weights["fc2.weight"][:, 7]
    found = Score(score="spline", seed=0).run(
        [replace(state(score.parents[0], context), weights=weights)], context
    )
    first = next(iter(found.tensors.values()))
    assert int(first.argmin()) == 3
    # Nothing but rounding: the variance's epsilon is not doubled with it.
    assert first[3] < 1e-4 < first[first.argsort()[1]]


def test_units_are_gone_and_nothing_changes(normed_context: WorkerContext) -> None:
    (last,) = plan(job("spline", sparsity=0.6, task=NORMED))
    found = state(last, normed_context)
    slim = compacted(found, normed_context)
    whole = normed_context.task.build_model(0).eval()
    whole.load_state_dict(found.weights)
    inputs = normed_context.task.data.val.inputs[:64]  # type: ignore[attr-defined]
    with torch.no_grad():
        # Sums of fewer terms are rounded differently: 1e-5 of logits of order 1 to 10.
        assert torch.allclose(slim(inputs), whole(inputs), atol=1e-5)
    left = [sum(flags) for flags in found.structure.units.values()]
    assert [w.shape[0] for n, w in slim.named_parameters() if w.dim() == 4] == left
