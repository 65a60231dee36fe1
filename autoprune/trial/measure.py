"""What is measured of a round's state: a function of its stage alone, so it is measured once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

from autoprune.metrics.accuracy import evaluate
from autoprune.metrics.distance import learning_distance
from autoprune.metrics.topk import top_accuracy
from autoprune.pruning.accounting import account
from autoprune.stages.base import Stage, closure
from autoprune.stages.init import Init
from autoprune.stages.state import TrialState
from autoprune.stages.support import load_model
from autoprune.stages.train import Train
from autoprune.trial.context import Measured, WorkerContext
from autoprune.trial.resolve import Resolver
from autoprune.trial.settings import DEPLOYED

TOP = 5


def figures_of(asked: Iterable[str], *, last: bool, test: bool) -> frozenset[str]:
    """Return what is measured of a round's state besides what always is.

    Parameters
    ----------
    asked : iterable of str
        `WorkerSettings.measure`.
    last : bool
        Whether the round is the trial's last.
    test : bool
        Whether the job reads the test split; ``test`` is among the figures where it is read.
    """
    figures = set(asked)
    every = test and "rounds" in figures
    if not (last or every):
        figures &= DEPLOYED  # a search may choose by these: every round offers them
    elif test:
        figures.add("test")
    return frozenset(figures - {"rounds"})


def measure_round(stage: Stage, resolver: Resolver, figures: frozenset[str]) -> Measured:
    """Measure the state of a round, or return what this worker measured of it before.

    In the second case the state is not looked at: it is on record as reused.
    """
    context = resolver.context
    key = (stage.key(context.keys), figures)
    if key in context.measured:
        resolver.pass_over(stage)
        return context.measured[key]
    state = resolver.state(stage)
    found = _measure(_Round(stage, state, resolver, figures))
    if not state.diverged:  # what rests on a divergence is worked out anew, and costs nothing
        context.measured[key] = found
    return found


def dense_accuracy(plan: tuple[Stage, ...], resolver: Resolver) -> float:
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


@dataclass(frozen=True)
class _Round:
    """The end of a round, and what is asked of it."""

    stage: Stage
    state: TrialState
    resolver: Resolver
    figures: frozenset[str]

    @property
    def context(self) -> WorkerContext:
        return self.resolver.context

    @property
    def splits(self) -> tuple[str, ...]:
        return ("val", "test") if "test" in self.figures else ("val",)


def _measure(end: _Round) -> Measured:
    state, context = end.state, end.context
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
    metrics = {**counted}
    for split in end.splits:
        metrics |= _accuracy(state, context, split)
    if end.figures & DEPLOYED:
        from autoprune.trial.deploy import deployed_figures

        metrics |= deployed_figures(shape, context)
    for name, figure in _FIGURES.items():
        if name in end.figures:
            metrics |= figure(end)
    return Measured(metrics | _logged(state), layers, sha)


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


def _top(state: TrialState, end: _Round) -> dict[str, float]:
    model, data = load_model(state, end.context), end.context.task.data
    return {f"{s}_top{TOP}": top_accuracy(model, getattr(data, s), TOP) for s in end.splits}


def _top_after(end: _Round) -> dict[str, float]:
    return _top(end.state, end)


def _before(end: _Round) -> dict[str, float]:
    """Look at the masked net before its last training; nothing where only the dense net trained."""
    trained = [s for s in closure(end.stage) if isinstance(s, Train) and s.label != "dense"]
    if not trained:
        return {}
    state = end.resolver.look_at(trained[-1].parents[0])
    found = _top(state, end)
    for split in end.splits:
        name = f"{split}_accuracy"
        found[name] = _accuracy(state, end.context, split)[name]
    return {f"before_{name}": value for name, value in found.items()}


def _train(end: _Round) -> dict[str, float]:
    return _accuracy(end.state, end.context, "train")


def _distance(end: _Round) -> dict[str, float]:
    """Measure from the dense net's start; nothing where it has none, or weights are not finite."""
    starts = [s for s in closure(end.stage) if isinstance(s, Init) and s.label == "init"]
    if not starts or end.state.diverged:
        return {}
    weights = end.resolver.look_at(starts[0]).weights
    initial = {layer.name: weights[layer.name] for layer in end.context.task.info.layers}
    found = learning_distance(initial, end.state.weights, end.state.masks)
    return {
        "distance": found.total,
        "distance_alive": found.alive,
        "distance_pruned": found.pruned,
    }


_FIGURES: dict[str, Callable[[_Round], dict[str, float]]] = {
    "top5": _top_after,
    "before": _before,
    "train": _train,
    "distance": _distance,
}
