"""SCL: a trainable mask variable beside every weight, and a price on every connection.

The forward pass sees ``W * h(m)`` with ``h(m) = 1`` where ``m > 0``. The gradient of the mask
variable ``m`` goes straight through the step, ``G * W`` with the dense gradient G of the effective
weight, so that a connection that would help comes back; it is brought to the same scale in every
feature (output channel) and then joined by the penalty, a constant push towards pruning. The
penalty is raised and lowered by the distance of the density from a falling target. At `freeze`
the count is made exact and the net is trained on, hard-masked.

Notes
-----
A reconstruction: of the paper only the principle could be confirmed (binary mask, straight-through
gradient with a positive proxy, of which the identity is chosen, gradients normalised by feature,
a penalty on the number of connections). There is no official code. The scale of the
normalisation, start, bound, rates, the freeze and everything about a target are ours.

# Deviation: the paper has no target. Here it is approached on a cubic ramp by dual ascent on the
penalty for the constraint ``log(density / target) <= 0``, the same at every sparsity; the distance
itself is added to the multiplier (an augmented Lagrangian, which damps the swing of plain dual
ascent). The density reached at the freeze is logged as ``scl_density``, then the count is made
exact.

# Deviation: the mask rate is given as its sum over the steps before the freeze and falls to zero
there, so a short schedule moves the variables as far as a long one.

# Deviation: a masked weight keeps its value, whatever weight decay and momentum would do to it: a
weight that fades is a connection that cannot come back.

# Deviation: every layer keeps its best 0.5 %; ``scl_guard`` logs in how many steps that was needed.

# Tie-break: equal mask variables are ranked by magnitude, then by position.

References
----------
Z. Tang, L. Luo, B. Xie, Y. Zhu, R. Zhao, L. Bi, C. Lu, "Automatic Sparse Connectivity Learning for
Neural Networks", arXiv 2201.05020.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import train_with_masks
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.training.events import Event, LoopState

LEAST = 0.005  # of every layer
EPSILON = 1e-12
RAMP = 0.5  # of the steps before the freeze
DAMPING = 0.1  # of a run: the weight of the distance itself against its sum

STE = Literal["identity", "leaky", "softplus", "clip"]
Norm = Literal["rms", "l2", "std", "max", "none"]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SclParams:
    """Parameters of SCL.

    Parameters
    ----------
    ste : str
        What stands for the derivative of the step: ``identity``, ``leaky`` (0.1 below zero),
        ``softplus``, or ``clip``, a control that never lets a connection come back.
    norm : str
        What a feature's mask gradients are divided by.
    penalty : float
        First value of the penalty per connection (lambda), in units of the normalised gradient.
    penalty_lr : float
        How fast the penalty follows: what ``log(density / target)`` of 1, held from the start to
        the freeze, adds to it. At 0 the penalty stays what it is.
    mask_lr : float
        Learning rate of the mask variables, summed over the steps before the freeze.
    start, bound : float
        First value of the mask variables, and the greatest they may reach, either way.
    freeze : float
        Share of training after which the masks are final.
    """

    ste: STE = "identity"
    norm: Norm = "rms"
    penalty: Annotated[float, Field(ge=0.0, le=1e6)] = 0.1
    penalty_lr: Annotated[float, Field(ge=0.0, le=1e6)] = 3.0
    mask_lr: Annotated[float, Field(ge=0.0, le=1e6)] = 10.0
    start: Annotated[float, Field(gt=0.0)] = 0.5
    bound: Annotated[float, Field(gt=0.0)] = 1.0
    freeze: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.75


def proxy(variable: Tensor, ste: STE) -> Tensor:
    """Return what stands for the derivative of the step; where it is one number, just that."""
    import torch

    if ste == "identity":
        return torch.ones((), device=variable.device)
    if ste == "leaky":
        return torch.where(variable > 0, 1.0, 0.1)
    if ste == "softplus":
        return torch.sigmoid(variable)
    return ((variable > 0) & (variable <= 1)).to(variable.dtype)


def normalised(gradient: Tensor, norm: Norm) -> Tensor:
    """Bring the mask gradients of each feature, a row of the first dimension, to one scale.

    A feature without any gradient stays at zero: the penalty alone prunes it.
    """
    import torch

    rows = gradient.flatten(1)
    if norm == "rms":
        scale = rows.square().mean(1, keepdim=True).sqrt()
    elif norm == "l2":
        scale = rows.square().sum(1, keepdim=True).sqrt()
    elif norm == "std":
        scale = rows.std(1, correction=0, keepdim=True)
        # A row of equal entries has no deviation to speak of, only rounding.
        scale = torch.where(scale > 1e-6 * rows.abs().amax(1, keepdim=True), scale, torch.inf)
    elif norm == "max":
        scale = rows.abs().amax(1, keepdim=True)
    else:
        return gradient
    return (rows / (scale + EPSILON)).view_as(gradient)


class SclHook:
    """Trains the mask variables beside the weights, then freezes the masks."""

    def __init__(
        self,
        sparsity: float,
        ste: STE,
        norm: Norm,
        penalty: float,
        penalty_lr: float,
        mask_lr: float,
        start: float,
        bound: float,
        freeze: float,
    ) -> None:
        from autoprune.training.hooks.masks import HardMasks, LatentMasks

        self.sparsity, self.ste, self.norm = sparsity, ste, norm
        self.multiplier = self.penalty = penalty
        self.penalty_lr, self.mask_lr = penalty_lr, mask_lr
        self.start, self.bound, self.freeze = start, bound, freeze
        self.latent, self.hard = LatentMasks(hold=True), HardMasks()
        self.variables: dict[str, Tensor] = {}
        self.frozen = False
        self.density = 1.0
        self.total = self.guarded = self.recovered = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Train the masks up to the freeze, and hold them after it."""
        from autoprune.training.events import Event

        if event is Event.FIT_END:
            self.report(loop)
        elif self.frozen:
            self.hard.on(event, loop)
        else:
            if event is Event.FIT_START:
                self.begin(loop)
            elif event is Event.AFTER_BACKWARD:
                self.move(loop)
            if event is Event.AFTER_STEP:
                self.latent.remember(loop)
                self.refresh(loop)
                self.latent.hide(loop)
            else:
                self.latent.on(event, loop)

    def begin(self, loop: LoopState) -> None:
        """Start with every connection in place."""
        import torch

        self.total = sum(mask.numel() for mask in loop.masks.values())
        self.variables = {
            name: torch.full_like(loop.parameters[name].detach(), self.start, dtype=torch.float32)
            for name in loop.masks
        }

    def rate(self, loop: LoopState) -> float:
        """Return the mask rate of this step: a straight line to zero at the freeze."""
        steps = math.ceil(self.freeze * loop.num_steps)
        left = 1 - (loop.step + 0.5) / steps  # the middle of the step: the sum is exact
        return 2 * self.mask_lr * max(0.0, left) / steps

    def move(self, loop: LoopState) -> None:
        """``m -= rate * (normalised(G * W * proxy) + penalty * proxy)``."""
        from autoprune.training.hooks.masks import prunable_gradients

        rate = self.rate(loop)
        for name, gradient in prunable_gradients(loop).items():
            variable = self.variables[name]
            slope = proxy(variable, self.ste)
            step = normalised(gradient * self.latent.values[name] * slope, self.norm)
            variable.sub_(step, alpha=rate).sub_(slope, alpha=rate * self.penalty)
            variable.clamp_(-self.bound, self.bound)

    def refresh(self, loop: LoopState) -> None:
        """Read the masks off the variables, and move the penalty towards the target.

        Variables that are not finite decide nothing: the run is diverging, and its end says so.
        """
        import torch

        if not all(bool(v.sum().isfinite()) for v in self.variables.values()):
            return
        kept = {name: variable > 0 for name, variable in self.variables.items()}
        counts = {name: int(torch.count_nonzero(mask)) for name, mask in kept.items()}
        self.density = sum(counts.values()) / self.total
        back = [torch.count_nonzero(mask & ~loop.masks[name]) for name, mask in kept.items()]
        self.recovered += int(torch.stack(back).sum())
        self.frozen = loop.progress >= self.freeze
        if self.frozen:
            kept = self.exact()
        else:
            kept = self.guard(kept, counts)
            self.control(loop)
        for name, mask in kept.items():
            loop.masks[name].copy_(mask)
        loop.masks_changed()

    def control(self, loop: LoopState) -> None:
        """Dual ascent: the penalty grows while the net is denser than it should be by now."""
        from autoprune.pruning.schedules.cubic import sparsity_at

        done = min(1.0, loop.progress / (RAMP * self.freeze))
        goal = 1 - sparsity_at(done, self.sparsity)
        excess = math.log(max(self.density, LEAST * goal) / goal)
        steps = self.freeze * loop.num_steps
        self.multiplier = max(0.0, self.multiplier + self.penalty_lr * excess / steps)
        self.penalty = max(0.0, self.multiplier + DAMPING * self.penalty_lr * excess)

    def guard(self, masks: dict[str, Tensor], counts: dict[str, int]) -> dict[str, Tensor]:
        """Give layers that are nearly gone their best 0.5 % back."""
        from autoprune.pruning.selection import best_of_layer

        short = [n for n, m in masks.items() if counts[n] < math.ceil(LEAST * m.numel())]
        self.guarded += bool(short)
        ranks = self.ranks(short)
        return masks | {name: best_of_layer(ranks[name], LEAST) for name in short}

    def exact(self) -> dict[str, Tensor]:
        """Return the masks of the highest variables, as many as the target leaves."""
        from autoprune.pruning.selection import lift_best, select_weights

        scores = lift_best(self.ranks(list(self.variables)), LEAST)
        return select_weights(scores, self.latent.values, "global", self.sparsity)

    def ranks(self, names: list[str]) -> dict[str, Tensor]:
        """Rank the weights of some layers by variable, then magnitude."""
        from autoprune.pruning.selection import rank

        if not names:
            return {}
        values = self.latent.values
        return rank({n: self.variables[n] for n in names}, {n: values[n].abs() for n in names})

    def report(self, loop: LoopState) -> None:
        """Log how the target was reached, and how much came back on the way."""
        loop.log["scl_density"] = self.density
        loop.log["scl_penalty"] = self.penalty
        loop.log["scl_guard"] = float(self.guarded)
        loop.log["scl_recovered"] = self.recovered / self.total


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Retrain the dense net while its masks are trained."""
    return train_with_masks(request, "autoprune.methods.scl:SclHook")


def check(config: TrialConfig, params: SclParams) -> None:
    """Refuse a start that is out of bounds, or where the control's gradient is zero for ever."""
    bound = min(params.bound, 1.0) if params.ste == "clip" else params.bound
    if params.start > bound:
        raise ConfigError(
            "trial.scl.start",
            f"must be at most {bound:g} for bound {params.bound:g} and ste {params.ste!r}",
            params.start,
        )


SCL = Method(
    name="scl",
    measures=frozenset({"weights"}),
    kind="weights",
    start="dense",
    reference="Tang et al., arXiv 2201.05020",
    params=SclParams,
    plan=plan,
    check=check,
    min_steps=lambda params: 40,
    regrows=True,
    reconstruction=True,
    space={
        "ste": ["identity", "softplus"],
        "norm": ["rms", "l2"],
        "mask_lr": {"low": 3.0, "high": 30.0, "log": True},
    },
)
