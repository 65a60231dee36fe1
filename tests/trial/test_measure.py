from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.config import LRConfig, TaskConfig
from autoprune.core.records import Job, JobResult
from autoprune.data.taskfile import identify
from autoprune.methods.base import complete
from autoprune.metrics.accuracy import evaluate
from autoprune.metrics.topk import top_accuracy
from autoprune.stages.state import TrialState
from autoprune.stages.store import Store
from autoprune.stages.support import load_model
from autoprune.testing.methods import TASK, TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.measure import figures_of
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job
from tests.methods.support import job, labelled, of_kind, plan

ALL = ("top5", "before", "train", "distance")
NEW = {
    "val_top5",
    "before_val_accuracy",
    "before_val_top5",
    "train_accuracy",
    "train_loss",
    "distance",
    "distance_alive",
    "distance_pruned",
}
TESTED = {"test_accuracy", "test_loss", "test_top5", "before_test_accuracy", "before_test_top5"}


def worker(context: WorkerContext, *measure: str) -> WorkerContext:
    """A fresh worker on the same task and store."""
    return WorkerContext(replace(context.settings, measure=measure), context.task)


def rounds(stop: int | None = None, *, test: bool = False) -> Job:
    base = job("imp", rounds=3)
    return replace(base, config=replace(base.config, stop_round=stop), test=test)


def content(result: JobResult) -> dict[str, Any]:
    """Everything but wall times."""
    found = result.to_json()
    found.pop("wall_s")
    for stage in found["stages"]:
        stage.pop("wall_s")
    return found


def state_of(found: Job, context: WorkerContext) -> TrialState:
    return Resolver(context).state(plan(found)[-1])


@pytest.mark.parametrize(
    ("asked", "last", "test", "expected"),
    [
        ((), True, False, set()),
        ((), True, True, {"test"}),
        ((), False, True, set()),
        (("top5", "size_bytes"), False, False, {"size_bytes"}),
        (("top5", "size_bytes"), False, True, {"size_bytes"}),
        (("top5", "size_bytes"), True, True, {"top5", "size_bytes", "test"}),
        (("top5", "rounds"), False, True, {"top5", "test"}),
        (("top5", "rounds"), False, False, set()),
        (("top5", "rounds"), True, False, {"top5"}),
        (("rounds",), True, True, {"test"}),
    ],
)
def test_which_round_is_measured_for_what(
    asked: tuple[str, ...], last: bool, test: bool, expected: set[str]
) -> None:
    assert figures_of(asked, last=last, test=test) == expected


@pytest.mark.parametrize("test", [False, True])
def test_further_figures_join_the_others_in_the_last_round(
    test: bool, digits_context: WorkerContext
) -> None:
    run_job(rounds(), digits_context)  # so that all is in the store
    bare = run_job(rounds(test=test), worker(digits_context))
    full = run_job(rounds(test=test), worker(digits_context, *ALL))
    added = NEW | (TESTED - {"test_accuracy", "test_loss"} if test else set())
    assert set(full.metrics) - set(bare.metrics) == added
    assert {name: full.metrics[name] for name in bare.metrics} == bare.metrics
    assert full.rounds == bare.rounds
    # What is looked at beside the rounds was trained before, and is on nobody's record.
    assert [s.key for s in full.stages] == [s.key for s in bare.stages]
    assert JobResult.from_json(full.to_json()) == full


@pytest.mark.parametrize("figure", ALL)
def test_each_figure_is_asked_for_by_its_own_name(
    figure: str, digits_context: WorkerContext
) -> None:
    found = set(run_job(rounds(), worker(digits_context, figure)).metrics)
    own = {
        "top5": {"val_top5"},
        "before": {"before_val_accuracy", "before_val_top5"},
        "train": {"train_accuracy", "train_loss"},
        "distance": {"distance", "distance_alive", "distance_pruned"},
    }
    assert found & NEW == own[figure]
    assert not found & {"latency_ms", "size_bytes"}


def test_figures_of_the_deployed_net_are_of_every_round(digits_context: WorkerContext) -> None:
    found = run_job(rounds(), worker(digits_context, "size_bytes", "top5"))
    sizes = [r.metrics["size_bytes"] for r in found.rounds] + [found.metrics["size_bytes"]]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[2]
    assert all("val_top5" not in r.metrics for r in found.rounds)
    assert "latency_ms" not in found.metrics


def test_they_are_what_the_states_give(digits_context: WorkerContext) -> None:
    context = worker(digits_context, *ALL)
    found = run_job(rounds(test=True), context).metrics
    last = plan(rounds())[-1]
    (trained,) = labelled(last, "retrain/3")
    before = Resolver(context).state(trained.parents[0])
    assert trained.parents[0].kind == "mask"
    for name, state in (("", Resolver(context).state(last)), ("before_", before)):
        model, data = load_model(state, context), context.task.data
        for split in ("val", "test"):
            held = getattr(data, split)
            assert found[f"{name}{split}_accuracy"] == evaluate(model, held, context.task).accuracy
            assert found[f"{name}{split}_top5"] == top_accuracy(model, held, 5)
    assert found["before_val_accuracy"] != found["val_accuracy"]
    assert found["val_accuracy"] < found["val_top5"] <= 1.0
    initial = Resolver(context).state(of_kind(last, "init")[0])
    final = state_of(rounds(), context)
    names = [layer.name for layer in context.task.info.layers]
    moved = torch.cat([(final.weights[n] - initial.weights[n]).flatten() for n in names])
    # float32 here, float64 there
    assert found["distance"] == pytest.approx(float(moved.norm()), rel=1e-5)
    alive = torch.cat([final.masks[n].flatten() for n in names])
    assert found["distance_alive"] == pytest.approx(float(moved[alive].norm()), rel=1e-5)
    assert found["distance_pruned"] == pytest.approx(float(moved[~alive].norm()), rel=1e-5)


def test_the_training_split_counts_with_the_labels_it_has(digits_context: WorkerContext) -> None:
    honest = run_job(rounds(), worker(digits_context, "train")).metrics
    assert honest["train_accuracy"] > 0.9
    task = digits_context.task
    train = replace(task.data.train, targets=(task.data.train.targets + 1) % 10)
    other = replace(task, data=replace(task.data, train=train))
    context = WorkerContext(replace(digits_context.settings, measure=("train",)), other)
    wrong = run_job(rounds(), context).metrics  # the same state, from the store
    assert wrong["train_accuracy"] < 1 - honest["train_accuracy"] + 1e-9
    assert wrong["train_loss"] > honest["train_loss"]
    assert wrong["val_accuracy"] == honest["val_accuracy"]


def test_a_dense_run_has_nothing_before_it_and_nothing_pruned(
    digits_context: WorkerContext,
) -> None:
    found = run_job(job("dense", sparsity=0.0), worker(digits_context, *ALL)).metrics
    assert not any(name.startswith("before") for name in found)
    assert found["distance"] == found["distance_alive"] > 0
    assert found["distance_pruned"] == 0


def test_from_scratch_the_net_before_is_the_masked_initial_one(
    digits_context: WorkerContext,
) -> None:
    found = run_job(job("snip"), worker(digits_context, "before", "train")).metrics
    assert found["before_val_accuracy"] < 0.4 < found["train_accuracy"]


def test_brought_weights_have_no_initialisation_to_be_far_from(
    tmp_path: Path, digits_context: WorkerContext
) -> None:
    file = tmp_path / "weights.pt"
    torch.save(digits_context.task.build_model(1).state_dict(), file)
    task = identify(TaskConfig(checkpoint=str(file)))
    context = worker(open_context(task, home=tmp_path, top_epochs=TOP), *ALL)
    found = run_job(job("magnitude", task=task), context)
    assert found.error == ""
    assert not any(name.startswith("distance") for name in found.metrics)
    assert "before_val_top5" in found.metrics


def test_a_diverged_trial_is_measured_as_far_as_there_are_numbers(
    digits_context: WorkerContext,
) -> None:
    base = job("imp", rounds=3)
    config = complete(replace(base.config, lr=LRConfig(name="constant", params={"peak": 1e20})))
    context = worker(digits_context, *ALL)
    first = run_job(replace(base, config=config), context)
    assert (first.error, first.status) == ("", "diverged")
    assert first.metrics["train_loss"] == 1e9
    assert not any(name.startswith("distance") for name in first.metrics)
    # Rounds behind a divergence are nobody's epochs, the second time as the first.
    again = run_job(replace(base, config=config), context)
    assert again.metrics == first.metrics
    assert (again.epochs_trained, again.epochs_reused) == (0.0, 4.0)


def test_no_round_behind_a_divergence_is_taken_for_done(digits_context: WorkerContext) -> None:
    # Nothing rests on the look that ends the first round, so no later round would correct it.
    base = job("ap", rounds=2, epochs=6, measure_dnr=True)
    config = complete(replace(base.config, lr=LRConfig(name="constant", params={"peak": 1e20})))
    context = worker(digits_context)
    run_job(replace(base, config=config), context)
    context.measured.clear()
    fresh = content(run_job(replace(base, config=config), context))
    assert content(run_job(replace(base, config=config), context)) == fresh


def test_rounds_are_measured_as_trials_of_their_own_would_be(
    digits_context: WorkerContext,
) -> None:
    context = worker(digits_context, *ALL, "rounds")
    whole = run_job(rounds(test=True), context)
    assert len(whole.rounds) == 2
    for record in whole.rounds:
        assert set(record.metrics) >= NEW | TESTED
        alone = run_job(rounds(record.stop_round, test=True), worker(digits_context, *ALL))
        assert alone.metrics == record.metrics
    distances = [r.metrics["distance_pruned"] for r in whole.rounds]
    assert distances[0] < distances[1] < whole.metrics["distance_pruned"]
    quiet = run_job(rounds(), context)
    assert all(not set(r.metrics) & (NEW | TESTED) for r in quiet.rounds)


@pytest.mark.parametrize("measure", [(), (*ALL, "rounds")])
def test_what_is_measured_again_is_what_was_measured(
    measure: tuple[str, ...], digits_context: WorkerContext
) -> None:
    context = worker(digits_context, *measure)
    run_job(rounds(test=True), context)  # whatever is new to the store
    for found in (rounds(test=True), rounds(2, test=True), rounds(1), rounds()):
        context.measured.clear()
        fresh = content(run_job(found, context))
        assert content(run_job(found, context)) == fresh  # all of it kept
        context.measured.clear()
        run_job(rounds(test=True), context)
        assert content(run_job(found, context)) == fresh  # some of it kept


def test_a_round_that_was_measured_is_not_looked_at(
    digits_context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = worker(digits_context)
    run_job(rounds(), context)
    asked: list[str] = []
    get = context.store.get
    monkeypatch.setattr(context.store, "get", lambda key: (asked.append(key), get(key))[1])
    keys = [stage.key(context.keys) for stage in plan(rounds())]
    again = run_job(rounds(), context)
    assert set(asked) == {keys[2]}
    assert [(s.key, s.reused) for s in again.stages] == [(key, True) for key in keys]
    asked.clear()
    run_job(rounds(2), context)
    assert set(asked) == {keys[1]}


def test_a_round_that_was_passed_over_is_trained_where_the_last_needs_it(tmp_path: Path) -> None:
    context = open_context(TASK, home=tmp_path, top_epochs=TOP, threads=1)
    keys = [stage.key(context.keys) for stage in plan(rounds())]
    first = run_job(rounds(), context)

    def lose() -> JobResult:
        for key in keys[1:]:
            context.store.path(key).unlink()
        context.store = Store(context.store.root)  # with nothing in memory
        return run_job(rounds(), context)

    kept = lose()
    assert kept.metrics == first.metrics
    # Rounds of one epoch each; the dense run and the first round are still there.
    assert (kept.epochs_trained, kept.epochs_reused) == (2.0, 4.0)
    assert kept.train_macs == pytest.approx(first.train_macs * 2 / 6)
    context.measured.clear()
    assert content(lose()) == content(kept)
