from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.seeds import torch_stream
from autoprune.metrics.dnr import dead_neurons
from autoprune.stages.measure import MeasureDead
from autoprune.stages.state import TrialState
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from tests.methods.support import assert_equal, job, of_kind, plan, state

BN_TASK = TaskConfig(data="digits", model="resnet20", width=0.25, train_size=128)


@pytest.fixture(scope="module")
def bn_context(tmp_path_factory: pytest.TempPathFactory) -> WorkerContext:
    return open_context(BN_TASK, home=tmp_path_factory.mktemp("bn"), top_epochs=TOP, threads=1)


def trained_and_masked(context: WorkerContext) -> tuple[TrialState, TrialState]:
    last = plan(job("magnitude"))[-1]
    return state(last, context), state(of_kind(last, "mask")[0], context)


def test_the_end_is_handed_on_with_the_rates_in_its_log(digits_context: WorkerContext) -> None:
    end, start = trained_and_masked(digits_context)
    found = MeasureDead(seed=0).run([end, start], digits_context)
    assert found.weights is end.weights
    assert found.masks is end.masks
    assert found.tensors is end.tensors
    rates = {n: v for n, v in found.log.items() if n not in end.log}
    assert {n: v for n, v in found.log.items() if n in end.log} == end.log
    # By hand: all 1,077 images (fewer than 2,000), through the model in eval mode.
    by_hand = []
    for which in (start, end):
        model = digits_context.task.build_model(0)
        model.load_state_dict(which.weights)
        by_hand.append(dead_neurons(model, digits_context.task.data.train))
    first, last = by_hand
    assert (first.num_neurons, first.num_samples) == (300 + 100, 1077)
    assert rates == {
        "dnr_start": first.rate,
        "dnr_end": last.rate,
        "dnr_static": first.rate,
        "dnr_dynamic": last.rate - first.rate,
        "dead_all": last.dead_all,
    }
    assert first.rate != last.rate


def test_a_sample_is_drawn_from_a_stream_and_is_the_same_each_time(
    digits_context: WorkerContext,
) -> None:
    end, start = trained_and_masked(digits_context)
    few = MeasureDead(seed=3, num_images=20)
    found = few.run([end, start], digits_context).log
    order = torch.randperm(1077, generator=torch_stream(3, "dead_neurons"))[:20]
    model = digits_context.task.build_model(0)
    model.load_state_dict(end.weights)
    expected = dead_neurons(model, digits_context.task.data.train, order=order)
    assert found["dnr_end"] == expected.rate
    assert few.run([end, start], digits_context).log == found
    assert replace(few, seed=4).run([end, start], digits_context).log != found


def test_batch_norm_is_recalibrated_for_the_look_only(bn_context: WorkerContext) -> None:
    # Card ap (g)10. Statistics that are far off make every unit look dead, which it is not.
    last = plan(job("magnitude", task=BN_TASK, epochs=10, dense_epochs=1, sparsity=0.5))[-1]
    end = state(last, bn_context)
    off = {n: w + 1e3 if n.endswith("running_mean") else w for n, w in end.weights.items()}
    stale = replace(end, weights=off)
    model = bn_context.task.build_model(0)
    model.load_state_dict(stale.weights)
    assert dead_neurons(model, bn_context.task.data.train).rate > 0.95
    found = MeasureDead(seed=0).run([stale, end], bn_context)
    assert found.log["dnr_end"] == found.log["dnr_start"] < 0.9
    assert_equal(found.weights, off)


def test_measuring_costs_no_epochs_and_no_file() -> None:
    stage = MeasureDead(seed=0)
    assert stage.epochs == 0
    assert stage.cheap
