"""Run a job: a pure function of the job and the worker's settings."""

from __future__ import annotations

import logging
import math
import time
import traceback
from dataclasses import replace

import torch

from autoprune.core.errors import BadInput, StudyError
from autoprune.core.records import Job, JobResult, RoundRecord, Status
from autoprune.metrics.accuracy import evaluate
from autoprune.metrics.macs import inference
from autoprune.pruning.accounting import account
from autoprune.stages.base import Stage, closure
from autoprune.stages.state import TrialState
from autoprune.stages.support import load_model
from autoprune.stages.train import Train
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import check_fit, check_steps, make_plan
from autoprune.trial.resolve import Resolver

_LOG = logging.getLogger(__name__)


def run_job(job: Job, context: WorkerContext) -> JobResult:
    """Run one trial at one rung with one replicate.

    An exception inside becomes a result with status ``failed`` and its text, and a run that
    diverged or collapsed is a result like any other.

    Raises
    ------
    StudyError
        If the store is full or cannot be written: that says nothing about the job, which can be
        run again when there is room.
    """
    start = time.perf_counter()
    resolver = Resolver(context)
    try:
        return _run(job, context, resolver, start)
    except StudyError:
        raise
    except BadInput as error:
        message = str(error)
    except Exception as error:  # noqa: BLE001 - the boundary: any failure becomes a result
        _LOG.exception("job %d failed", job.number)
        message = "".join(traceback.format_exception_only(error)).strip()
    return _result(job, resolver, "failed", start, error=message)


def _run(job: Job, context: WorkerContext, resolver: Resolver, start: float) -> JobResult:
    check_fit(job.config, context.task.info)
    check_steps(job, context.task.info)
    pretrained = context.task.info.pretrained
    plan = make_plan(job, context.settings.top_epochs, pretrained=pretrained)
    dense = _dense_accuracy(plan, resolver)
    rounds = []
    for number, stage in enumerate(plan, start=1):
        state = resolver.state(stage)
        metrics, layers, sha = _measure(state, stage, context, dense)
        rounds.append(RoundRecord(number, job.epochs * number / len(plan), metrics))
    if job.test:
        metrics = {**metrics, **_accuracy(state, context, "test")}
    return _result(
        job,
        resolver,
        _status(state, context),
        start,
        metrics=metrics,
        layers=layers,
        rounds=tuple(rounds[:-1]),
        mask_sha256=sha,
        final_key=plan[-1].key(context.keys),
        train_macs=_train_macs(resolver, context),
        epochs_reused=_epochs_spared(plan, resolver),
    )


def _epochs_spared(plan: tuple[Stage, ...], resolver: Resolver) -> float:
    """Epochs of the plan that others trained: what stored states rest on counts, too."""
    context, records = resolver.context.keys, resolver.records
    total = {s.key(context): s.epochs for s in closure(plan[-1])}
    total |= {key: record.epochs for key, record in records.items()}  # 0 behind a divergence
    trained = sum(r.epochs for r in records.values() if not r.reused)
    return sum(total.values()) - trained


def _result(
    job: Job, resolver: Resolver, status: Status, start: float, **rest: object
) -> JobResult:
    records = tuple(resolver.records.values())
    return JobResult(
        job=job.number,
        trial=job.trial,
        status=status,
        stages=records,
        epochs_trained=sum(r.epochs for r in records if not r.reused),
        wall_s=time.perf_counter() - start,
        **rest,  # type: ignore[arg-type] # forwarded fields
    )


def _measure(
    state: TrialState, stage: Stage, context: WorkerContext, dense: float
) -> tuple[dict[str, float], dict[str, float], str]:
    info = context.task.info
    # What is counted and timed does not depend on values, but nothing factorises a NaN.
    shape = _finite(state) if state.diverged else state
    counted = account(
        load_model(shape, context),
        state.masks,
        state.structure.units,
        state.structure.ranks,
        context.groups if state.structure.units else (),
        info.layers,
        torch.zeros(1, *info.input_shape, device=context.settings.device),
        dense_macs=info.macs,
    )
    layers = counted.pop("layers")
    sha = counted.pop("mask_sha256")
    metrics = {**counted, **_accuracy(state, context, "val"), "dense_val_accuracy": dense}
    metrics |= _extra(shape, context) | _logged(state)
    return metrics, layers, sha


def _logged(state: TrialState) -> dict[str, float]:
    """Return the numbers that the stages and hooks of a trial logged, as ``log/<name>``."""
    numbers = {n: v for n, v in state.log.items() if isinstance(v, int | float)}
    return {f"log/{name}": float(value) for name, value in numbers.items()}


def _finite(state: TrialState) -> TrialState:
    weights = {name: value.nan_to_num(0.0, 0.0, 0.0) for name, value in state.weights.items()}
    return replace(state, weights=weights)


def _accuracy(state: TrialState, context: WorkerContext, split: str) -> dict[str, float]:
    model = load_model(state, context)
    found = evaluate(model, getattr(context.task.data, split), context.task)
    loss = found.loss if math.isfinite(found.loss) else 1e9
    return {f"{split}_accuracy": found.correct / found.total, f"{split}_loss": loss}


def _dense_accuracy(plan: tuple[Stage, ...], resolver: Resolver) -> float:
    """Return the dense run's validation accuracy, or the given weights'; 0 without either."""
    context = resolver.context
    for stage in closure(plan[-1]):
        dense = stage.kind == "pretrained" or (
            isinstance(stage, Train) and stage.label == "dense" and stage.stop == 1.0
        )
        if dense:
            key = stage.key(context.keys)
            if key not in context.evaluations:
                context.evaluations[key] = _accuracy(resolver.state(stage), context, "val")
            return context.evaluations[key]["val_accuracy"]
    return 0.0


def _status(state: TrialState, context: WorkerContext) -> Status:
    """Say whether the trial gave a model: one that diverged or collapsed is none.

    A model has collapsed when no input reaches its outputs: a layer that every path goes through
    was emptied, or all its units died. An emptied branch beside a shortcut is no collapse.
    """
    if state.diverged:
        return "diverged"
    inputs, _ = next(iter(context.task.data.val.batches(256)))
    with inference(model := load_model(state, context)):
        outputs = model(inputs)
    if not bool(outputs.isfinite().all()):
        return "diverged"
    # Equal rows may be summed in another order, so equal up to rounding is equal.
    spread = (outputs - outputs[0]).abs().max()
    return "collapsed" if len(outputs) > 1 and spread <= 1e-6 * outputs.abs().max() else "ok"


def _train_macs(resolver: Resolver, context: WorkerContext) -> float:
    """Multiply-adds of the training done here: three forward passes' worth per image, dense."""
    epochs = sum(r.epochs for r in resolver.records.values() if not r.reused)
    return 3.0 * epochs * context.task.info.num_train * context.task.info.macs


def _extra(state: TrialState, context: WorkerContext) -> dict[str, float]:
    if not context.settings.measure:
        return {}
    from autoprune.trial.deploy import deployed_figures

    return deployed_figures(state, context)
