"""PLATON: keep the weights that matter, and those that might.

Each step's sensitivity ``|w * g|`` is averaged over a window; at a window's end a running mean of
it (I) and a running mean of its distance to that mean (U) are brought up to date, and the score
is their product: a weight of small but uncertain sensitivity is given time. Meanwhile the
sparsity rises on a cubic ramp between two plateaus. On the ramp the worst weights are set to zero
at the windows' ends and are then free to grow back; where the ramp ends the masks become final.

Notes
-----
# Deviation: a window is ``steps // windows`` steps long, so that a short schedule has its updates;
the authors count ten steps, which gives 200 windows in 2,000 steps. In windows of a single step a
weight that was set to zero has no sensitivity before the next choice, and stays out.

# Deviation: the authors choose anew in every step after the ramp; here the first choice at the
target stays, and the net is trained hard-masked from there: weights that are zero have no
sensitivity, so later choices would differ by little, and cost a ranking each.

# Deviation: ``|w * g|`` takes both from the same step, before the update; the authors' code has
the weight after it, counts a sample of zeros into the first window, and lets a strict threshold
miss the count. The kept count here is exact, ``total - round(sparsity * total)``.

# Deviation: biases are not pruned; the authors' name filter matches them.

# Tie-break: scores of exactly zero are ranked by magnitude, so weights that are zero go first.

References
----------
Q. Zhang, S. Zuo, C. Liang, A. Bukharin, P. He, W. Chen, T. Zhao, "PLATON: Pruning Large
Transformer Models with Upper Confidence Bound of Weight Importance", ICML 2022, arXiv 2206.12562.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import train_with_masks
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from autoprune.training.events import Event, LoopState


@dataclass(frozen=True, config=STRICT, kw_only=True)
class PlatonParams:
    """Parameters of PLATON.

    Parameters
    ----------
    allocation : str
        ``global`` is the paper's one threshold.
    beta1, beta2 : float
        Decay of the running means of the sensitivity and of its uncertainty, per window. With
        ``beta2`` 1 the score is the mean sensitivity alone, with 0 the uncertainty is that of the
        last window.
    windows : int
        Windows over the whole training; at most one a step.
    schedule : str
        Sparsity schedule over the whole training.
    """

    allocation: str = "global"
    beta1: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.85
    beta2: Annotated[float, Field(ge=0.0, le=1.0)] = 0.95
    windows: Annotated[int, Field(ge=1)] = 200
    schedule: str = "plateau_cubic"


class UpperConfidence:
    """Running statistics of the sensitivity, and the score they give.

    Parameters
    ----------
    weights : sequence of Tensor
        The weights; only their shapes are read here.
    beta1, beta2 : float
        See `PlatonParams`.

    Attributes
    ----------
    mean, uncertainty : list of Tensor
        I and U, one tensor per weight, from zero and without bias correction.
    """

    def __init__(self, weights: Sequence[Tensor], beta1: float, beta2: float) -> None:
        import torch

        self.beta1, self.beta2 = beta1, beta2
        self.mean = [torch.zeros_like(weight) for weight in weights]
        self.uncertainty = [torch.zeros_like(weight) for weight in weights]
        self.window: list[Tensor] = []
        self.samples = 0

    def add(self, weights: list[Tensor], gradients: list[Tensor]) -> None:
        """Add ``|w * g|`` of one step to the window."""
        import torch

        sensitivity = torch._foreach_mul(weights, gradients)
        torch._foreach_abs_(sensitivity)
        if self.samples:
            torch._foreach_add_(self.window, sensitivity)
        else:
            self.window = list(sensitivity)
        self.samples += 1

    def close(self) -> None:
        """End the window: ``I += (1 - b1)(J - I)``, then ``U += (1 - b2)(|J - I| - U)``."""
        import torch

        torch._foreach_div_(self.window, float(self.samples))
        torch._foreach_lerp_(self.mean, self.window, 1.0 - self.beta1)
        torch._foreach_sub_(self.window, self.mean)
        torch._foreach_abs_(self.window)
        torch._foreach_lerp_(self.uncertainty, self.window, 1.0 - self.beta2)
        self.window, self.samples = [], 0

    def scores(self) -> list[Tensor]:
        """Return ``I * U`` in float64, where the product of two small numbers is not zero."""
        if self.beta2 == 1.0:
            return [mean.double() for mean in self.mean]
        pairs = zip(self.mean, self.uncertainty, strict=True)
        return [mean.double() * uncertainty for mean, uncertainty in pairs]


class PlatonHook:
    """Scores during training, sets the worst weights to zero, and ends with hard masks.

    Parameters
    ----------
    sparsity : float
        The target.
    allocation, beta1, beta2, windows, schedule
        See `PlatonParams`.
    """

    def __init__(
        self,
        sparsity: float,
        allocation: str,
        beta1: float,
        beta2: float,
        windows: int,
        schedule: str,
    ) -> None:
        from autoprune.training.hooks.masks import HardMasks

        self.sparsity, self.allocation, self.schedule = sparsity, allocation, schedule
        self.beta1, self.beta2, self.windows = beta1, beta2, windows
        self.hard = HardMasks()
        self.frozen = self.zeroed = False
        self.updates = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Score and prune until the target is reached, then hold the masks."""
        from autoprune.training.events import Event
        from autoprune.training.hooks.masks import prunable_gradients

        if event is Event.FIT_START:
            self.weights = [loop.parameters[name].detach() for name in loop.masks]
            self.statistics = UpperConfidence(self.weights, self.beta1, self.beta2)
        elif event is Event.FIT_END:
            loop.log["mask_updates"] = float(self.updates)
        elif self.frozen:
            self.hard.on(event, loop)
        elif event is Event.AFTER_BACKWARD:
            loop.dense_gradient = True
            self.statistics.add(self.weights, list(prunable_gradients(loop).values()))
        elif event is Event.AFTER_STEP:
            self.release(loop)
            if self.due(loop.step, loop.num_steps):
                self.statistics.close()
                self.update(loop)

    def due(self, step: int, num_steps: int) -> bool:
        """Whether a window ends after `step` steps; the last step always ends one."""
        return step % max(1, num_steps // self.windows) == 0 or step == num_steps

    def release(self, loop: LoopState) -> None:
        """Unmask: what the last update set to zero has moved with the step since."""
        if self.zeroed:
            for mask in loop.masks.values():
                mask.fill_(True)
            loop.masks_changed()
            self.zeroed = False

    def update(self, loop: LoopState) -> None:
        """Set the worst weights to zero; for good once the schedule has reached the target.

        Scores that are not finite rank nothing: the run is diverging, and its end will say so.
        """
        from autoprune.pruning.registry import SPARSITY_SCHEDULES
        from autoprune.pruning.selection import select_weights
        from autoprune.training.events import Event

        sparsity = SPARSITY_SCHEDULES.get(self.schedule)(loop.progress, self.sparsity)
        scores = self.statistics.scores()
        finite = all(bool(score.isfinite().all()) for score in scores)
        if not finite or sparsity == 0.0 < self.sparsity:
            return
        weights = dict(zip(loop.masks, self.weights, strict=True))
        ranked = {
            name: _zeros_last(score, weight)
            for (name, weight), score in zip(weights.items(), scores, strict=True)
        }
        for name, mask in select_weights(ranked, weights, self.allocation, sparsity).items():
            loop.masks[name].copy_(mask)
            weights[name].mul_(mask)
        loop.masks_changed()
        self.zeroed = True
        self.updates += 1
        if sparsity == self.sparsity:
            self.frozen = True
            self.hard.on(Event.AFTER_STEP, loop)


def _zeros_last(score: Tensor, weight: Tensor) -> Tensor:
    """Rank scores of exactly zero below all others, by magnitude; the other scores stay."""
    import torch

    return torch.where(score > 0, score, -1.0 / (1.0 + weight.abs().double()))


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Retrain the dense net while it is pruned."""
    return train_with_masks(request, "autoprune.methods.platon:PlatonHook")


def check(config: TrialConfig, params: PlatonParams) -> None:
    """Refuse a mean that forgets everything: no window would differ from it."""
    if params.beta1 == 0.0 and params.beta2 < 1.0:
        raise ConfigError(
            "trial.platon.beta1",
            "must be above 0 unless beta2 is 1: the uncertainty, and with it every score, is 0",
            params.beta1,
            "set beta2=1 to score by the last window's sensitivity alone",
        )


PLATON = Method(
    name="platon",
    measures=frozenset({"weights"}),
    kind="weights",
    start="dense",
    reference="Zhang et al., ICML 2022, arXiv 2206.12562",
    params=PlatonParams,
    plan=plan,
    check=check,
    min_steps=lambda params: 40,
    regrows=True,
    space={
        "beta1": {"low": 0.5, "high": 0.95},
        "beta2": [0.65, 0.75, 0.85, 0.9, 0.95, 0.975],
    },
)
