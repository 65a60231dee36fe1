"""Network slimming: let a penalty shrink batch-norm scales, and remove the units that it shrank.

A round is a share of its epochs with ``penalty * |gamma|`` on every batch norm's scale added to
the loss, then the removal of the units with the smallest scales, then the rest of the epochs
without the penalty.

Notes
-----
# Deviation: the authors train from the start under the penalty, and as long again after the
removal. Here the shared dense net goes on under it for a share of the retraining epochs, so the
method costs what others cost; a short phase needs a greater penalty to part the scales.

# Deviation: the authors rank the units of all layers together (``allocation: global``) and give
every scale the initial value 0.5; here ``uniform`` is the default, and the model starts as it does.

References
----------
Z. Liu, J. Li, Z. Shen, G. Huang, S. Yan, C. Zhang, "Learning Efficient Convolutional Networks
through Network Slimming", ICCV 2017, arXiv 1708.06519.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import TaskError
from autoprune.methods.base import Method, Parts, PlanRequest
from autoprune.methods.plans import (
    cycle_of,
    dense_run,
    prune_step,
    retrain,
    snapshot,
    sparsity_after,
)
from autoprune.methods.units import SPACE, UnitParams, check, grain, limit
from autoprune.stages.base import Stage
from autoprune.stages.prune import Rewind
from autoprune.stages.train import HookSpec

if TYPE_CHECKING:
    from torch import nn

    from autoprune.core.records import TaskInfo
    from autoprune.training.events import Event, LoopState

LEAST_STEPS = 10
"""Of each training run, under the penalty or after it."""


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SlimmingParams(UnitParams):
    """Parameters of network slimming.

    Parameters
    ----------
    penalty : float
        Weight of the scales' absolute values in the loss (the paper's lambda).
    sparse_share : float
        Share of a round's epochs that are trained under the penalty, before units go.
    """

    penalty: Annotated[float, Field(ge=0.0, le=1.0)] = 1e-4
    sparse_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5


PARTS = Parts(score="slimming", granularity=lambda params: "channel", grain=grain)


class ScalePenalty:
    """Adds ``penalty * sign(gamma)``, a subgradient, to the gradient of every batch norm's scale.

    Parameters
    ----------
    penalty : float
        See `SlimmingParams`.
    """

    def __init__(self, penalty: float) -> None:
        self.penalty = penalty
        self.scales: list[nn.Parameter] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Find the scales at the start, push them towards 0 in every step."""
        from torch import nn

        from autoprune.training.events import Event

        if event is Event.FIT_START:
            norms = [
                m for m in loop.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
            ]
            self.scales = [norm.weight for norm in norms if norm.affine]
        elif event is Event.AFTER_BACKWARD:
            for scale in self.scales:
                if scale.grad is not None:
                    scale.grad.add_(scale.detach().sign(), alpha=self.penalty)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Train under the penalty, prune and retrain, round by round."""
    params: SlimmingParams = request.params
    count, share = params.rounds, params.sparse_share
    hook = HookSpec("autoprune.methods.slimming:ScalePenalty", {"penalty": params.penalty})
    saved = snapshot(request, params.rewind)
    state, rounds = dense_run(request), []
    for k in range(1, count + 1):
        before, sparsity = (sparsity_after(request, PARTS, done, count) for done in (k - 1, k))
        shrunk = retrain(
            request,
            state,
            length=request.epochs / count * share,
            cycle=cycle_of(request, k, count, before),
            label=f"sparse/{k}",
            hooks=(hook,),
        )
        masked = prune_step(request, PARTS, shrunk, sparsity, k)
        if saved is not None:
            masked = Rewind(parents=(masked, saved))
        state = retrain(
            request,
            masked,
            length=request.epochs / count * (1.0 - share),
            cycle=cycle_of(request, k, count, sparsity),
            label=f"retrain/{k}",
        )
        rounds.append(state)
    return tuple(rounds)


def fits(info: TaskInfo, config: TrialConfig, params: SlimmingParams) -> None:
    """Refuse a model without scales to shrink."""
    if not info.has_batchnorm:
        raise TaskError(
            "the model",
            f"must have batch norms for method {config.method!r}, which shrinks their scales",
            remedy="use another method that removes units, such as filter_l1",
        )


def min_steps(params: SlimmingParams) -> int:
    """Return the steps that give both trainings of a round a few."""
    shorter = min(params.sparse_share, 1.0 - params.sparse_share)
    return math.ceil(LEAST_STEPS * params.rounds / shorter)


SLIMMING = Method(
    name="slimming",
    kind="units",
    start="dense",
    reference="Liu et al., ICCV 2017, arXiv 1708.06519",
    params=SlimmingParams,
    plan=plan,
    parts=PARTS,
    check=check,
    fits=fits,
    min_steps=min_steps,
    reaches=lambda params: (0.0, 0.995),
    limit=limit,
    space={
        **SPACE,
        "penalty": {"low": 1e-5, "high": 1e-2, "log": True},
        "sparse_share": [0.3, 0.5, 0.7],
    },
)
