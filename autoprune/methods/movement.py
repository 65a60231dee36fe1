"""Movement pruning: keep the weights that training moves away from zero.

Each prunable weight has a score, ``S -= eta * dL/dw * w``, that grows while the weight moves away
from zero; the forward pass sees only the top share of each layer, dormant weights keep their
values (latent masks), and the plan ends frozen to hard masks. This is the hard form: top-k per
layer (or over all layers), with the sparsity rising on a cubic schedule.

Notes
-----
# Deviation: masks are recomputed at `updates` evenly spaced steps of the ramp rather than at
every step, and then stay; the authors recompute them in every forward pass.

# Tie-break: scores start at zero; equal scores are ranked by magnitude, so that the first masks
are those of magnitude pruning and not the order of storage.

References
----------
V. Sanh, T. Wolf, A. Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", NeurIPS 2020,
arXiv 2005.07683; the cubic ramp is M. Zhu, S. Gupta, arXiv 1710.01878.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import cycle_of, dense_run, retrain
from autoprune.stages.base import Stage
from autoprune.stages.train import HookSpec

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.training.events import Event, LoopState

UPDATES = 20


@dataclass(frozen=True, config=STRICT, kw_only=True)
class MovementParams:
    """Parameters of movement pruning.

    Parameters
    ----------
    allocation : str
        ``uniform`` is the paper's top-k per matrix.
    score_lr : float
        Learning rate of the scores (eta_S).
    begin, end : float
        Shares of training between which the sparsity rises.
    schedule : str
        Sparsity schedule of the ramp.
    """

    allocation: str = "uniform"
    score_lr: Annotated[float, Field(gt=0.0)] = 0.01
    begin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    end: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.7
    schedule: str = "cubic"


class MovementHook:
    """Accumulates movement, raises the sparsity, and keeps dormant weights alive."""

    def __init__(
        self,
        sparsity: float,
        allocation: str,
        score_lr: float,
        begin: float,
        end: float,
        schedule: str,
    ) -> None:
        from autoprune.training.hooks.masks import LatentMasks

        self.sparsity, self.allocation, self.score_lr = sparsity, allocation, score_lr
        self.begin, self.end, self.schedule = begin, end, schedule
        self.latent = LatentMasks()
        self.scores: dict[str, Tensor] = {}
        self.done = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Follow the loop; the latent masks follow this hook."""
        import torch

        from autoprune.training.events import Event

        if event is Event.FIT_START:
            self.scores = {n: torch.zeros_like(loop.parameters[n]) for n in loop.masks}
        elif event is Event.AFTER_BACKWARD:
            self.accumulate(loop)
        self.latent.on(event, loop)
        if event is Event.AFTER_STEP and self.ramp_position(loop) > self.done:
            self.done = self.ramp_position(loop)
            self.update(loop)

    def accumulate(self, loop: LoopState) -> None:
        """``S -= eta * dL/dw~ * w`` with the latent weight, masked entries included (STE)."""
        for name, score in self.scores.items():
            gradient = loop.parameters[name].grad
            if gradient is not None:
                score.addcmul_(gradient, self.latent.values[name], value=-self.score_lr)

    def ramp_position(self, loop: LoopState) -> int:
        """How many of the ramp's updates are due after this step."""
        share = (loop.progress - self.begin) / (self.end - self.begin)
        return int(min(1.0, max(0.0, share)) * UPDATES)

    def update(self, loop: LoopState) -> None:
        """Recompute the masks from the scores at the ramp's present sparsity.

        Scores that are not finite rank nothing: the run is diverging, and its end will say so.
        """
        from autoprune.pruning.granularities.weight import WeightGranularity
        from autoprune.pruning.keep import keep_masks
        from autoprune.pruning.masks import dense_masks
        from autoprune.pruning.registry import ALLOCATIONS, SPARSITY_SCHEDULES
        from autoprune.pruning.view import ModelView

        if not all(bool(score.isfinite().all()) for score in self.scores.values()):
            return
        values = self.latent.values
        view = ModelView(weights=values, masks=dense_masks(values))
        scores = {n: _ranked(score, values[n]) for n, score in self.scores.items()}
        schedule = SPARSITY_SCHEDULES.get(self.schedule)
        chosen = keep_masks(
            scores,
            WeightGranularity(),
            ALLOCATIONS.get(self.allocation),
            schedule(self.done / UPDATES, self.sparsity),
            view,
        )
        for name, mask in chosen.masks.items():
            loop.masks[name].copy_(mask)
        loop.masks_changed()
        self.latent.hide(loop)


def _ranked(score: Tensor, weight: Tensor) -> Tensor:
    """Break ties of scores by magnitude, with a term too small to reorder distinct scores."""
    scale = score.abs().max()
    if scale == 0:
        return weight.abs()
    return score.double() + 1e-12 * scale.double() * weight.abs() / weight.abs().max().clamp_min(
        1e-12
    )


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Retrain the dense net while its masks are learned."""
    from dataclasses import asdict

    from autoprune.stages.prune import Mask, Score

    config = request.config
    dense = dense_run(request)
    scored = Score(parents=(dense,), score="magnitude", seed=request.seed)
    whole = Mask(parents=(dense, scored), allocation="global", sparsity=0.0)
    hook = HookSpec(
        "autoprune.methods.movement:MovementHook",
        {"sparsity": config.sparsity, **asdict(request.params)},
    )
    return (
        retrain(
            request,
            whole,
            length=request.epochs,
            cycle=cycle_of(request, 1, 1, config.sparsity),
            label="movement",
            hooks=(hook,),
            mask_mode="latent",
        ),
    )


def check(config: TrialConfig, params: MovementParams) -> None:
    """Refuse a ramp that ends before it begins, and targets in MACs."""
    if params.end <= params.begin:
        raise ConfigError(
            "trial.movement.end", f"must be above begin ({params.begin:g})", params.end
        )


MOVEMENT = Method(
    name="movement",
    measures=frozenset({"weights"}),
    kind="weights",
    start="dense",
    reference="Sanh et al., NeurIPS 2020, arXiv 2005.07683",
    params=MovementParams,
    plan=plan,
    check=check,
    min_steps=lambda params: 2 * UPDATES,
    regrows=True,
    space={
        "allocation": ["uniform", "erk", "lamp"],
        "score_lr": {"low": 0.001, "high": 0.1, "log": True},
    },
)
