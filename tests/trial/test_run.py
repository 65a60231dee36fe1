from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.config import LRConfig, TrainConfig
from autoprune.core.errors import StudyError
from autoprune.core.records import Job, JobResult
from autoprune.data.base import TaskData
from autoprune.methods.base import METHODS, complete
from autoprune.pruning.registry import SCORES
from autoprune.stages.store_files import file_of
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, job_runner, open_context
from autoprune.trial.plan import make_plan
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job
from tests.methods.normed import task_for
from tests.methods.support import job

LISTED = [name for name in METHODS if METHODS.get(name).listed]


def comparable(result: JobResult) -> dict[str, Any]:
    """Everything but times, and whether a stage was reused."""
    content = result.to_json()
    for key in ("wall_s", "stages", "epochs_trained", "epochs_reused", "train_macs"):
        content.pop(key)
    return content


@pytest.mark.parametrize("method", LISTED)
def test_a_huge_learning_rate_diverges(
    method: str, digits_context: WorkerContext, normed_context: WorkerContext
) -> None:
    context = digits_context if task_for(method) == TASK else normed_context
    base = job(method, task=context.settings.task)
    config = complete(replace(base.config, lr=LRConfig(name="constant", params={"peak": 1e20})))
    result = run_job(replace(base, config=config), context)
    assert result.error == ""
    assert result.status == "diverged"
    assert result.metrics["val_loss"] == 1e9  # JSON has no NaN
    assert JobResult.from_json(result.to_json()) == result


def test_epochs_behind_a_divergence_are_nobody_s(tmp_path: Path) -> None:
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    base = job("imp", rounds=2)
    config = complete(replace(base.config, train=TrainConfig(epochs=3, lr=1e20)))
    first = run_job(replace(base, config=config), context)
    assert (first.status, first.epochs_trained, first.epochs_reused) == ("diverged", 3.0, 0.0)
    again = run_job(replace(base, config=config), context)
    assert (again.status, again.epochs_trained, again.epochs_reused) == ("diverged", 0.0, 3.0)


class FirstLayerLast:
    """Rates the first layer below everything else, so that a global rule empties it."""

    needs: frozenset[Any] = frozenset()
    of_units = False
    cheap = True
    passes = 0

    def __call__(self, view: Any) -> dict[str, torch.Tensor]:
        first = next(iter(view.weights))
        return {n: torch.full_like(w, float(n != first)) for n, w in view.weights.items()}


class OneRaises:
    """A score with a fault in it."""

    needs: frozenset[Any] = frozenset()
    of_units = False
    cheap = True
    passes = 0

    def __call__(self, view: Any) -> dict[str, torch.Tensor]:
        raise ZeroDivisionError("one by nought")


@pytest.fixture
def magnitude_is(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put another score behind the name, as a plug-in of that name would be."""
    return lambda score: monkeypatch.setitem(SCORES._loaded, "magnitude", score)


def test_an_emptied_layer_is_a_collapse(
    magnitude_is: Any, tmp_path: Path, digits_context: WorkerContext
) -> None:
    magnitude_is(FirstLayerLast)
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    result = run_job(job("magnitude", sparsity=0.9), context)
    assert result.error == ""
    assert result.status == "collapsed"
    assert result.layers["fc1.weight"] == 0.0
    # Every image gets the same answer: about a tenth is right.
    assert result.metrics["val_accuracy"] < 0.2


def test_an_emptied_branch_beside_a_shortcut_is_no_collapse(
    magnitude_is: Any, tmp_path: Path
) -> None:
    class BranchLast(FirstLayerLast):
        def __call__(self, view: Any) -> dict[str, torch.Tensor]:
            low = "layer1.0.conv1.weight"
            return {n: w.abs() + float(n != low) for n, w in view.weights.items()}

    magnitude_is(BranchLast)
    task = replace(TASK, model="resnet20", width=0.25, train_size=128)
    context = open_context(task, home=tmp_path, top_epochs=TOP, threads=1)
    result = run_job(job("magnitude", sparsity=0.05, task=task, epochs=10, dense_epochs=1), context)
    assert result.error == ""
    assert result.layers["layer1.0.conv1.weight"] == 0.0
    assert result.status == "ok"


def test_an_exception_in_a_part_is_a_failed_result(magnitude_is: Any, tmp_path: Path) -> None:
    magnitude_is(OneRaises)
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    result = run_job(job("magnitude"), context)
    assert result.status == "failed"
    assert result.error == "ZeroDivisionError: one by nought"
    assert result.epochs_trained == 3.0  # the dense run is in the store now, and counts
    assert result.metrics == {}


def test_a_refused_plan_is_a_failed_result(digits_context: WorkerContext) -> None:
    result = run_job(job("imp", rounds=1, epochs=4, lr="lrw"), digits_context)
    assert result.status == "failed"
    assert "must not be 'lrw' for cycles longer than the dense run" in result.error
    assert result.stages == ()


def test_a_job_too_short_for_its_method_is_refused(digits_context: WorkerContext) -> None:
    result = run_job(job("lrpet", epochs=1), digits_context)
    assert result.status == "failed"
    assert "epochs must be at least 3 for method 'lrpet', which needs 40 steps" in result.error


def test_a_full_disk_is_not_the_job_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)

    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StudyError, match="must be writable and have room"):
        run_job(job("magnitude"), context)


class Counting:
    """A split that notes when it is read."""

    def __init__(self, split: Any) -> None:
        self.split, self.reads = split, 0

    @property
    def size(self) -> int:
        return int(self.split.size)

    def batches(self, *args: Any, **kwargs: Any) -> Any:
        self.reads += 1
        return self.split.batches(*args, **kwargs)


def test_the_test_split_is_read_when_asked_for_and_once(digits_context: WorkerContext) -> None:
    task = digits_context.task
    watched = Counting(task.data.test)
    data: TaskData = replace(task.data, test=watched)
    context = WorkerContext(digits_context.settings, replace(task, data=data))
    quiet = run_job(job("imp", rounds=2), context)
    assert watched.reads == 0
    assert not any(name.startswith("test") for name in quiet.metrics)
    loud = run_job(replace(job("imp", rounds=2), test=True), context)
    assert watched.reads == 1
    assert 0 < loud.metrics["test_accuracy"] <= 1
    assert {k: v for k, v in loud.metrics.items() if not k.startswith("test")} == quiet.metrics
    assert all(not any(n.startswith("test") for n in r.metrics) for r in loud.rounds)


def test_a_reused_process_and_a_fresh_one_agree(
    digits_context: WorkerContext, tmp_path: Path
) -> None:
    busy = open_context(TASK, home=tmp_path / "busy", top_epochs=TOP, threads=1)
    for method in ("movement", "dropnet", "rigl"):
        run_job(job(method, seed=7), busy)
    for method in ("imp", "lrpet"):
        fresh = open_context(TASK, home=tmp_path / method, top_epochs=TOP, threads=1)
        one, other = run_job(job(method), busy), run_job(job(method), fresh)
        assert comparable(one) == comparable(other)
        states = [Resolver(c).state(make_plan(job(method), TOP)[-1]) for c in (busy, fresh)]
        for name, value in states[0].weights.items():
            assert torch.equal(value, states[1].weights[name]), name


def test_jobs_travel_as_json(digits_context: WorkerContext) -> None:
    run = job_runner(digits_context.settings.to_json())
    found = JobResult.from_json(run(job("magnitude").to_json()))
    assert comparable(found) == comparable(run_job(job("magnitude"), digits_context))


def test_accounts_add_up(tmp_path: Path) -> None:
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    first = run_job(job("imp", rounds=2), context)
    # 3 dense epochs and 2 rounds of 1.5.
    assert (first.epochs_trained, first.epochs_reused) == (6.0, 0.0)
    assert first.train_macs == 3 * 6 * 1077 * 50_200
    other = run_job(job("magnitude"), context)
    assert (other.epochs_trained, other.epochs_reused) == (3.0, 3.0)
    again = run_job(job("imp", rounds=2), context)
    assert (again.epochs_trained, again.epochs_reused) == (0.0, 6.0)
    assert again.train_macs == 0
    assert comparable(again) == comparable(first)
    shorter = replace(job("imp", rounds=2).config, stop_round=1)
    one_round = run_job(replace(job("imp", rounds=2), config=shorter), context)
    assert (one_round.epochs_trained, one_round.epochs_reused) == (0.0, 4.5)


def test_rounds_are_offered_on_the_way(digits_context: WorkerContext) -> None:
    result = run_job(job("imp", rounds=3, sparsity=0.9), digits_context)
    assert [(r.stop_round, r.epochs) for r in result.rounds] == [(1, 1.0), (2, 2.0)]
    assert [round(r.metrics["sparsity"], 4) for r in result.rounds] == [0.5358, 0.7846]
    assert result.metrics["sparsity"] == pytest.approx(0.9)


def test_the_final_state_is_in_the_store(digits_context: WorkerContext) -> None:
    result = run_job(job("magnitude"), digits_context)
    assert file_of(digits_context.store.root, result.final_key).exists()


def test_the_dense_accuracy_is_the_dense_run_s(digits_context: WorkerContext) -> None:
    dense = run_job(job("dense", sparsity=0.0), digits_context)
    pruned = run_job(job("magnitude"), digits_context)
    assert pruned.metrics["dense_val_accuracy"] == dense.metrics["val_accuracy"]
    assert run_job(job("snip"), digits_context).metrics["dense_val_accuracy"] == 0.0


def test_another_seed_is_another_dense_run(digits_context: WorkerContext) -> None:
    jobs: list[Job] = [job("magnitude", seed=seed) for seed in (0, 1)]
    one, other = (run_job(j, digits_context) for j in jobs)
    assert one.trial == other.trial
    assert one.mask_sha256 != other.mask_sha256
