"""The control that trains another trial's masks from fresh weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.records import Job
from autoprune.methods.base import complete
from autoprune.methods.scratch_of import control_of
from autoprune.stages.base import closure
from autoprune.stages.init import Init
from autoprune.trial.context import WorkerContext
from autoprune.trial.plan import make_plan
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job
from tests.methods.support import TOP, job


def control(of: Job, **changes: object) -> Job:
    config = complete(control_of(of.config, of.epochs, TOP))
    return replace(of, config=config, epochs=2, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["magnitude", "imp", "rigl", "movement"])
def test_it_has_the_other_trials_masks(method: str, digits_context: WorkerContext) -> None:
    base = job(method)
    found = run_job(control(base), digits_context)
    assert found.status != "failed", found.error
    assert found.mask_sha256 == run_job(base, digits_context).mask_sha256


def test_units_stay_removed(digits_context: WorkerContext) -> None:
    base = job("dropnet", sparsity=0.5, rounds=1)
    theirs, ours = (run_job(one, digits_context) for one in (base, control(base)))
    assert ours.status == "ok", ours.error
    assert ours.metrics["macs"] == theirs.metrics["macs"] < digits_context.task.info.macs
    assert ours.mask_sha256 == theirs.mask_sha256


def test_its_weights_are_drawn_anew_and_zero_under_the_mask(digits_context: WorkerContext) -> None:
    base = job("magnitude")
    (stage,) = make_plan(control(base), TOP)
    fresh = stage.parents[0]
    resolver = Resolver(digits_context)
    start = resolver.state(fresh)
    dense = next(s for s in closure(stage) if isinstance(s, Init) and s.label == "init")
    theirs = resolver.state(dense)
    end = resolver.state(stage)
    for name, mask in start.masks.items():
        assert not start.weights[name][~mask].any()
        assert not end.weights[name][~mask].any()
        kept = mask & (theirs.weights[name] != 0)
        assert not torch.equal(start.weights[name][kept], theirs.weights[name][kept])


def test_a_round_has_a_draw_of_its_own() -> None:
    base = job("imp", rounds=3)
    stops = [replace(base, config=replace(base.config, stop_round=k)) for k in (1, 2)]
    labels = []
    for one in [*stops, base]:
        (stage,) = make_plan(control(one), TOP)
        labels += [s.label for s in closure(stage) if isinstance(s, Init) and s.label != "init"]
    assert labels == ["reinit/1", "reinit/2", "reinit/3"]
