"""Run a job: a pure function of the job and the worker's settings."""

from __future__ import annotations

import logging
import time
import traceback

from autoprune.core.errors import BadInput, StudyError
from autoprune.core.records import Job, JobResult, RoundRecord, Status
from autoprune.metrics.macs import inference
from autoprune.stages.base import Stage, closure
from autoprune.stages.state import TrialState
from autoprune.stages.support import load_model
from autoprune.trial.context import WorkerContext
from autoprune.trial.measure import dense_accuracy, figures_of, measure_round
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
    dense = dense_accuracy(plan, resolver)
    rounds = []
    for number, stage in enumerate(plan, start=1):
        last = number == len(plan)
        figures = figures_of(context.settings.measure, last=last, test=job.test)
        found = measure_round(stage, resolver, figures)
        metrics = {**found.metrics, "dense_val_accuracy": dense}
        rounds.append(RoundRecord(number, job.epochs * number / len(plan), metrics))
    return _result(
        job,
        resolver,
        _status(resolver.state(plan[-1]), context),
        start,
        metrics=metrics,
        layers=found.layers,
        rounds=tuple(rounds[:-1]),
        mask_sha256=found.mask_sha256,
        final_key=plan[-1].key(context.keys),
        train_macs=_train_macs(resolver, context),
        epochs_reused=_epochs_spared(plan, resolver),
    )


def _epochs_spared(plan: tuple[Stage, ...], resolver: Resolver) -> float:
    """Epochs of the plan that others trained: what stored states rest on counts, too."""
    context, records = resolver.context.keys, resolver.records
    total = {s.key(context): resolver.epochs_of(s) for s in closure(plan[-1])}
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
