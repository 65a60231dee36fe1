"""K-FAC units on digits: what is scored, what stays, and the contract on a small conv net."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS
from autoprune.testing.methods import TOP, MethodContract
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.deploy import compacted
from autoprune.trial.run import run_job
from tests.methods.support import job, of_kind, plan, state

CONV = TaskConfig(data="digits", model="conv2", width=0.125)


def units_left(found: Any) -> dict[str, int]:
    return {name: sum(flags) for name, flags in found.structure.units.items()}


def test_scores_are_of_the_parameters(digits_context: WorkerContext) -> None:
    given = {"flatness": 0.0, "labels": "empirical", "min_alive": 7}
    scored: Any = of_kind(plan(job("kfac_neuron", rounds=2, **given))[-1], "score")
    assert [(s.score, s.params) for s in scored] == [("kfac_neuron", given)] * 2
    found = state(scored[0], digits_context).tensors
    # 7 units of fc1's 300 and of fc2's 100 stand above the rest, whose damage is never negative.
    rest = torch.cat([value.sort().values[:-7] for value in found.values()])
    best = torch.cat([value.sort().values[-7:] for value in found.values()])
    assert [len(value) for value in found.values()] == [300, 100]
    assert rest.min() >= 0.0
    assert best.min() >= rest.max()


def test_units_are_gone_and_nothing_changes(digits_context: WorkerContext) -> None:
    (last,) = plan(job("kfac_neuron", sparsity=0.8, rounds=1))
    found = state(last, digits_context)
    slim = compacted(found, digits_context)
    whole = digits_context.task.build_model(0).eval()
    whole.load_state_dict(found.weights)
    inputs = digits_context.task.data.val.inputs[:64]  # type: ignore[attr-defined]
    with torch.no_grad():
        # Sums of fewer terms are rounded differently: 1e-5 of logits of order 1 to 10.
        assert torch.allclose(slim(inputs), whole(inputs), atol=1e-5)
    left = units_left(found)
    assert slim.state_dict()["fc2.weight"].shape == (left["fc2.weight"], left["fc1.weight"])


def test_every_group_keeps_its_least(digits_context: WorkerContext) -> None:
    (last,) = plan(job("kfac_neuron", sparsity=0.98, rounds=1, min_alive=9))
    (mask,) = of_kind(last, "mask")
    assert min(units_left(state(mask, digits_context)).values()) >= 9


def test_it_says_that_it_is_a_reconstruction() -> None:
    assert METHODS.get("kfac_neuron").reconstruction


@pytest.mark.parametrize("params", [{"flatness": 1.5}, {"labels": "true"}, {"min_alive": 0}])
def test_parameters_out_of_range_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"kfac_neuron\.{next(iter(params))}"):
        job("kfac_neuron", **params)


def test_a_rewind_policy_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.kfac_neuron\.rewind must be none, init"):
        job("kfac_neuron", rewind="dense")


@pytest.fixture(scope="module")
def conv_context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerContext]:
    threads = torch.get_num_threads()
    home: Path = tmp_path_factory.mktemp("conv")
    yield open_context(CONV, home=home, top_epochs=TOP, threads=1)
    torch.set_num_threads(threads)


class TestOnAConvNet(MethodContract):
    method: ClassVar[str] = "kfac_neuron"
    task: ClassVar[TaskConfig] = CONV
    params: ClassVar[dict[str, Any]] = {"rounds": 2}
    sparsity: ClassVar[float] = 0.6

    @pytest.fixture
    def digits_context(self, conv_context: WorkerContext) -> WorkerContext:
        return conv_context

    def test_channels_and_neurons_go(self, digits_context: WorkerContext) -> None:
        found = run_job(self.job(), digits_context)
        assert found.metrics["macs"] < digits_context.task.info.macs
