"""What methods share that train a random mask from the start and move it on the way; torch-free.

Notes
-----
# Deviation: intervals are capped by events as well as steps, so that a short schedule keeps its
updates: at most `interval` steps lie between two of them, fewer where that gives less than 20 in
all, but never less than two (so a run below about 56 steps has fewer). The first comes after one
interval: Algorithm 1 as written also moves the weights at step 0, before they learnt anything.

# Deviation: a share of a layer's weights is rounded down to whole weights, as in RigL's code; SET's
and sparse momentum's round up.

# Deviation: ``uniform`` spares no layer and meets the total exactly. RigL's keeps the first layer
dense without compensation, which makes the net denser than asked.

A layer that the allocation left dense stays dense.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT
from autoprune.methods.base import Parts, PlanRequest
from autoprune.methods.plans import prune_train
from autoprune.stages.base import Stage
from autoprune.stages.train import HookSpec

LEAST_UPDATES = 20
MIN_STEPS = 2 * LEAST_UPDATES


RANDOM_MASK = Parts(score="random")

Allocated = ["erk", "uniform"]
"""Allocations worth exploring for a mask that is drawn at random."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class RegrowParams:
    """Parameters of a method that drops and grows weights while it trains.

    Parameters
    ----------
    allocation : str
        How many weights each layer starts with.
    drop_fraction : float
        Share of a layer's weights that an update would move at step 0 (alpha).
    end : float
        Share of training after which the topology is frozen (T_end / T).
    interval : int
        Greatest number of steps between updates (dT).
    decay : str
        How the share falls to `end`: ``cosine``, ``constant``, ``linear`` or ``cubic`` (the
        inverse powers 1 and 3).
    """

    allocation: str = "erk"
    drop_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    end: Annotated[float, Field(gt=0.0, le=1.0)] = 0.75
    interval: Annotated[int, Field(ge=2)] = 100
    decay: Literal["cosine", "constant", "linear", "cubic"] = "cosine"


def min_steps(params: RegrowParams) -> int:
    """Return the steps that leave room for updates, however early the topology is frozen."""
    return max(MIN_STEPS, math.ceil(0.75 * MIN_STEPS / params.end))


def regrow_train(request: PlanRequest, growth: str, **settings: float) -> tuple[Stage, ...]:
    """Draw a random mask at initialisation, train it from scratch and let it move.

    Parameters
    ----------
    growth : str
        Where weights grow: ``gradient``, ``random`` or ``momentum`` (training.hooks.regrow).
    settings
        The growth's own parameters.
    """
    params: RegrowParams = request.params
    hook = HookSpec(
        "autoprune.training.hooks.regrow:Regrow",
        {
            "growth": growth,
            "drop_fraction": params.drop_fraction,
            "end": params.end,
            "interval": params.interval,
            "least_updates": LEAST_UPDATES,
            "decay": params.decay,
            **settings,
        },
    )
    return prune_train(request, RANDOM_MASK, (hook,))
