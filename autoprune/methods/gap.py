"""Scheduled grow-and-prune (GaP): every part of the network is dense for a while, in turns.

The prunable layers are divided by depth into contiguous parts of about equal size. Training
starts from random sparse masks. `gap_cyclic` grows one part to dense (new weights are zero),
trains the whole net, prunes that part back by magnitude and goes on to the next, over and over.
`gap_parallel` trains, from the same state, one branch per part with that part dense, and joins
the branches. Both end with fine-tuning under fixed masks. No dense model is needed.

Each layer's number of weights is decided once, at the start, by the trial's allocation on the
initial weights, and is met exactly at every pruning back. In every step the learning-rate
schedule, the optimiser's state and the data order start anew; the sparsity being the same in each,
a schedule that follows it (``silo``) has the same peak in all.

Notes
-----
`gap_parallel` runs its branches one after the other in one job and claims no wall-clock time.
Its epochs are those of all branches together, and both forms train for as many epochs as any
method from scratch: at equal rounds a branch is as long as a step of the cyclic form.

All branches of a round see the data in the same order, as in the authors' scripts.

# Deviation: the authors' steps have a fixed length (10 or 30 epochs) and their runs are ten times
as long as usual ones; here the epochs are given, and rounds and parts divide them.

# Deviation: each layer keeps exactly its number of weights, ties going to the lower index; the
authors cut at a percentile, which keeps fewer where values tie.

# Deviation: the authors' joining takes what belongs to no part from the branch it is named after,
or leaves it as freshly built; here it is averaged over the branches, and statistics of BatchNorm
are estimated anew.

# Deviation: non-uniform allocations are read off a trained dense model in the authors' code,
which a run from scratch does not have; ``global`` and ``lamp`` here rank the initial weights.

References
----------
X. Ma, M. Qin, F. Sun, Z. Hou, K. Yuan, Y. Xu, Y. Wang, Y.-K. Chen, R. Jin, Y. Xie, "Effective
Model Sparsification by Scheduled Grow-and-Prune Methods", ICLR 2022, arXiv 2106.09857.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import cycle_of, init, prune_step, retrain
from autoprune.stages.base import Stage
from autoprune.stages.partition import Combine, GrowPart, PrunePart, RandomStart, depth_blocks
from autoprune.stages.prune import Recalibrate

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo

REFERENCE = "Ma et al., ICLR 2022, arXiv 2106.09857"
LEAST_STEPS = 5
"""Optimiser steps that a part needs to be worth growing."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class GapParams:
    """Parameters of both forms of GaP.

    Parameters
    ----------
    partitions : int
        Number of parts (kappa), at most the number of prunable layers.
    rounds : int
        How often every part is grown.
    finetune : float
        Share of the epochs left to the final fine-tuning with fixed masks.
    allocation : str
        Decides, once, how many weights each layer keeps.
    """

    partitions: Annotated[int, Field(ge=1, le=20)] = 3
    rounds: Rounds = 2
    finetune: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    allocation: str = "erk"


PARTS = Parts(score="magnitude")


def _targets(request: PlanRequest) -> Stage:
    """Plan the state whose masks say how many weights each layer keeps."""
    return prune_step(request, PARTS, init(request), request.config.sparsity, 1)


def _start(request: PlanRequest, targets: Stage, dense: int | None) -> Stage:
    """Plan the initial weights under random masks."""
    return RandomStart(
        parents=(init(request), targets),
        seed=request.seed,
        parts=request.params.partitions,
        dense=dense,
    )


def _train(request: PlanRequest, state: Stage, k: int, count: int) -> Stage:
    """Plan growth step `k` of `count`, all steps of a round having the same `k` when parallel."""
    params: GapParams = request.params
    epochs = request.scratch_epochs * (1.0 - params.finetune)
    return retrain(
        request,
        state,
        length=epochs / (params.rounds * params.partitions),
        cycle=cycle_of(request, 1, 1, request.config.sparsity),
        label=f"grow/{k}",
    )


def _finetune(request: PlanRequest, state: Stage, count: int) -> tuple[Stage, ...]:
    """Plan the training under fixed masks that ends both forms."""
    return (
        retrain(
            request,
            state,
            length=request.scratch_epochs * request.params.finetune,
            cycle=cycle_of(request, 1, 1, request.config.sparsity),
            label="finetune",
        ),
    )


def plan_cyclic(request: PlanRequest) -> tuple[Stage, ...]:
    """Grow, train and prune back one part after the other, then fine-tune."""
    parts = request.params.partitions
    count = request.params.rounds * parts
    targets = _targets(request)
    state = _start(request, targets, dense=0)
    for step in range(count):
        if step:
            state = GrowPart(parents=(state,), part=step % parts, parts=parts)
        state = _train(request, state, step + 1, count)
        state = PrunePart(parents=(state, targets), part=step % parts, parts=parts)
    return _finetune(request, state, count)


def plan_parallel(request: PlanRequest) -> tuple[Stage, ...]:
    """Train a branch for each part from one state, join them, round by round; then fine-tune."""
    parts, count = request.params.partitions, request.params.rounds
    targets = _targets(request)
    state = _start(request, targets, dense=None)
    for k in range(1, count + 1):
        grown = (GrowPart(parents=(state,), part=p, parts=parts) for p in range(parts))
        branches = tuple(_train(request, branch, k, count) for branch in grown)
        joined = Combine(parents=(*branches, state, targets))
        state = Recalibrate(parents=(joined,))
    return _finetune(request, state, count)


def least_steps(params: GapParams) -> int:
    """Return the retraining steps that give every part, and the fine-tuning, a few each."""
    grow = LEAST_STEPS * params.rounds * params.partitions / (1.0 - params.finetune)
    return math.ceil(max(grow, LEAST_STEPS / params.finetune))


def fits(info: TaskInfo, config: TrialConfig, params: GapParams) -> None:
    """Refuse more parts than the model can be cut into by depth."""
    most = len(depth_blocks(info.layers))
    if params.partitions > most:
        raise ConfigError(
            f"trial.{config.method}.partitions",
            f"must be at most {most} on this model, its prunable layers by depth (a shortcut's "
            "projection counts to its block)",
            params.partitions,
        )


SPACE: dict[str, Any] = {
    "partitions": [2, 3],
    "rounds": [2, 3],
    "finetune": {"low": 0.1, "high": 0.4},
    "allocation": ["erk", "uniform"],
}

_gap = partial(
    Method,
    kind="weights",
    start="scratch",
    reference=REFERENCE,
    params=GapParams,
    min_steps=least_steps,
    regrows=True,
    fits=fits,
    space=SPACE,
)

GAP_CYCLIC = _gap(name="gap_cyclic", plan=plan_cyclic)
GAP_PARALLEL = _gap(name="gap_parallel", plan=plan_parallel)
