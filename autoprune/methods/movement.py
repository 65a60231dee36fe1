"""Movement pruning: keep the weights that training moves away from zero.

Each prunable weight has a score, ``S -= eta * dL/dw * w``, that grows while the weight moves away
from zero; the forward pass sees only the top share of each layer, dormant weights keep their
values (latent masks), and the plan ends frozen to hard masks. The sparsity rises on a cubic
schedule. The hard form keeps the top of each layer; the soft form keeps what lies above one
threshold, at least 0.5 % of each layer, while a penalty on ``sigmoid(S)``, which rises with the
threshold, pushes all scores down.

Notes
-----
# Deviation: masks are recomputed at `updates` evenly spaced steps of the ramp rather than at
every step, and then stay; the authors recompute them in every forward pass.

# Deviation: the authors raise the soft form's threshold to a constant and take the sparsity that
comes of it. Here the threshold is the score that leaves the scheduled sparsity, so the target is
met exactly; what the penalty takes from all scores alike then moves the threshold and not the
ranking. The penalty is on the mean over all scores, not on the mean of the layers' means, which
would push the scores of a small layer harder, and scores take plain gradient steps, not Adam's.

# Tie-break: scores start at zero; equal scores are ranked by magnitude, so that the first masks
are those of magnitude pruning and not the order of storage.

References
----------
V. Sanh, T. Wolf, A. Rush, "Movement Pruning: Adaptive Sparsity by Fine-Tuning", NeurIPS 2020,
arXiv 2005.07683; the cubic ramp is M. Zhu, S. Gupta, arXiv 1710.01878.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import ArgsKwargs

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import train_with_masks
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.training.events import Event, LoopState

UPDATES = 20
LEAST = 0.005  # of every layer, in the soft form

Form = Literal["hard", "soft"]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class MovementParams:
    """Parameters of movement pruning.

    Parameters
    ----------
    form : str
        ``hard`` or ``soft``.
    allocation : str
        ``uniform`` is the hard form's top-k per matrix, ``global`` the soft form's one threshold;
        left out, it is the one that belongs to the form.
    granularity : str
        ``weight``, ``kernel``, or a pattern such as ``2:4`` or ``n:8``.
    score_lr : float
        Learning rate of the scores (eta_S). It scales all scores alike, so the hard form's masks
        do not depend on it; in the soft form it says how far sigmoids saturate.
    begin, end : float
        Shares of training between which the sparsity rises.
    schedule : str
        Sparsity schedule of the ramp.
    penalty : float
        The soft form's final weight of the mean ``sigmoid(S)`` in the loss (lambda).
    """

    form: Form = "hard"
    allocation: str = "uniform"
    granularity: str = "weight"
    score_lr: Annotated[float, Field(gt=0.0, le=1e6)] = 0.01
    begin: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    end: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.7
    schedule: str = "cubic"
    penalty: Annotated[float, Field(ge=0.0, le=1e6)] = 400.0

    @model_validator(mode="before")
    @classmethod
    def _allocate_by_form(cls, given: Any) -> Any:
        values = given.kwargs if isinstance(given, ArgsKwargs) else given
        if values and values.get("form") == "soft":
            return {"allocation": "global", **values}
        return given


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
        form: Form = "hard",
        penalty: float = 0.0,
        granularity: str = "weight",
    ) -> None:
        from autoprune.training.hooks.masks import HardMasks, LatentMasks

        self.sparsity, self.allocation, self.score_lr = sparsity, allocation, score_lr
        self.begin, self.end, self.schedule = begin, end, schedule
        self.form, self.penalty, self.granularity = form, penalty, granularity
        self.latent, self.hard = LatentMasks(), HardMasks()
        self.scores: dict[str, Tensor] = {}
        self.done = 0
        self.frozen = False

    def on(self, event: Event, loop: LoopState) -> None:
        """Follow the loop; the latent masks follow this hook until the ramp has ended."""
        import torch

        from autoprune.training.events import Event

        if self.frozen:
            self.hard.on(event, loop)
            return
        if event is Event.FIT_START:
            self.scores = {n: torch.zeros_like(loop.parameters[n]) for n in loop.masks}
        elif event is Event.AFTER_BACKWARD:
            self.accumulate(loop)
        self.latent.on(event, loop)
        if event is Event.AFTER_STEP and self.ramp_position(loop) > self.done:
            self.done = self.ramp_position(loop)
            self.update(loop)
            if self.frozen:
                self.hard.on(event, loop)

    def accumulate(self, loop: LoopState) -> None:
        """``S -= eta * dL/dw~ * w`` with the latent weight, masked entries included (STE)."""
        for name, score in self.scores.items():
            gradient = loop.parameters[name].grad
            if gradient is not None:
                score.addcmul_(gradient, self.latent.values[name], value=-self.score_lr)
        if self.form == "soft":
            self.push_down()

    def push_down(self) -> None:
        """Take the gradient step of the penalty, whose weight rises with the threshold."""
        total = sum(score.numel() for score in self.scores.values())
        rate = self.score_lr * self.penalty * self.share_of_target() / total
        for score in self.scores.values():
            kept = score.sigmoid()
            score.sub_(kept * (1 - kept), alpha=rate)

    def share_of_target(self) -> float:
        """Return the share of the target that the last update reached."""
        from autoprune.pruning.registry import SPARSITY_SCHEDULES

        if not self.done or not self.sparsity:
            return 0.0
        schedule = SPARSITY_SCHEDULES.get(self.schedule)
        return schedule(self.done / UPDATES, self.sparsity) / self.sparsity

    def ramp_position(self, loop: LoopState) -> int:
        """How many of the ramp's updates are due after this step."""
        share = (loop.progress - self.begin) / (self.end - self.begin)
        return int(min(1.0, max(0.0, share)) * UPDATES)

    def update(self, loop: LoopState) -> None:
        """Recompute the masks from the scores at the ramp's present sparsity.

        Scores that are not finite rank nothing: the run is diverging, and its end will say so.
        """
        from autoprune.pruning.registry import SPARSITY_SCHEDULES
        from autoprune.pruning.selection import lift_best, rank, select_weights

        if not all(bool(score.isfinite().all()) for score in self.scores.values()):
            return
        values = self.latent.values
        if self.form == "soft":
            ranks = rank(self.scores, {n: value.abs() for n, value in values.items()})
            scores = lift_best(ranks, LEAST)
        else:
            scale = max(float(score.abs().max()) for score in self.scores.values())
            scores = {n: _ranked(score, values[n], scale) for n, score in self.scores.items()}
        sparsity = SPARSITY_SCHEDULES.get(self.schedule)(self.done / UPDATES, self.sparsity)
        chosen = select_weights(scores, values, self.allocation, sparsity, self.granularity)
        for name, mask in chosen.items():
            loop.masks[name].copy_(mask)
        loop.masks_changed()
        self.latent.hide(loop)
        self.frozen = self.done == UPDATES


def _ranked(score: Tensor, weight: Tensor, scale: float) -> Tensor:
    """Break ties of scores by magnitude, with a term too small to reorder distinct scores.

    `scale` is the net's largest score; while there is none yet, magnitude alone ranks.
    """
    size = weight.abs().double()
    if scale == 0.0:
        return size
    return score.double() + 1e-12 * scale * size / size.max().clamp_min(1e-12)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Retrain the dense net while its masks are learned."""
    return train_with_masks(request, "autoprune.methods.movement:MovementHook")


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
        "form": ["hard", "soft"],
        "end": {"low": 0.5, "high": 0.9},
    },
)
