"""Early-Bird tickets: remove units as soon as it is clear which, early in dense training.

Every so often the dense run is asked which units it would lose, by the scales of their batch
norms. Once the last few answers agree, that snapshot loses them and is trained on; a run whose
answers never agree loses them at its end.

Notes
-----
# Deviation: masks are drawn on a grid of shares of the dense run (`every`, up to `until`), not at
every epoch: a twentieth is an epoch of the usual twenty. Snapshots are trained from the start,
each by itself, since a trained state does not know its optimiser's. With ``n`` snapshots that is
``until * (n + 1) / 2`` dense runs, once for all trials of a seed, whatever their sparsity,
threshold and window; the first mask is that of the first snapshot, not of the fresh net.

# Deviation: the shared dense run has no penalty on scales unless `penalty` is set, which then has
a dense run of its own, and which stays on while retraining, as in the authors' code.

# Deviation: the small net is retrained for the trial's epochs with the trial's schedule, not for
what is left of the dense one.

# Deviation: a sparsity is a share of the dense weights, and so is met by the nearest whole number
of units; the authors remove a share of the scales, and one more. Every group of units keeps one.

# Deviation: where batch norms are missing, units are told apart by the norms of their filters (see
`autoprune.pruning.scores.slimming.Slimming`); the authors need batch norms.

# Deviation: masks of tied scores are not compared: as drawn by index they would always agree.

References
----------
H. You, C. Li, P. Xu, Y. Fu, Y. Wang, X. Chen, R. Baraniuk, Z. Wang, Y. Lin, "Drawing Early-Bird
Tickets: Toward More Efficient Training of Deep Networks", ICLR 2020, arXiv 1909.11957.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, cast

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import check_rewind, cycle_of, dense_run, retrain, snapshot
from autoprune.stages.base import Stage
from autoprune.stages.early import EarlyTicket
from autoprune.stages.prune import Rewind
from autoprune.stages.train import HookSpec, Train

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo

Grid = Annotated[float, Field(gt=0.0, lt=1.0)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EarlyBirdParams:
    """Parameters of Early-Bird tickets.

    Parameters
    ----------
    every : float
        Share of the dense run between two masks.
    until : float
        Share of the dense run that is searched.
    window : int
        Masks that must agree (K).
    threshold : float
        Share of units in which agreeing masks may differ (epsilon).
    rule : str
        ``newest_vs_queue`` compares the newest mask with each before it (the authors' code),
        ``consecutive`` each with the next (their paper).
    penalty : float
        Weight of the scales' absolute values in the loss (s); 0 shares the dense run of all.
    rewind : str
        ``none`` inherits the snapshot's weights; ``reinit`` draws new ones, ``init`` and
        ``step:<fraction of the dense run>`` go back.
    allocation : str
        How many units each group keeps.
    """

    every: Grid = 0.05
    until: Grid = 0.4
    window: Annotated[int, Field(ge=2, le=20)] = 5
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    rule: Literal["newest_vs_queue", "consecutive"] = "newest_vs_queue"
    penalty: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    rewind: str = "none"
    allocation: str = "global"

    @property
    def shares(self) -> tuple[float, ...]:
        """Where in the dense run masks are drawn, the run's end apart."""
        count = math.floor(self.until / self.every + 1e-9)
        return tuple(round(self.every * k, 6) for k in range(1, count + 1))


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a ticket from snapshots of the dense run, retrain it."""
    if request.pretrained:
        raise _no_run()
    config = request.config
    params: EarlyBirdParams = request.params
    hooks = _hooks(params)

    def dense(stop: float) -> Stage:
        run = dense_run(request, stop)
        return replace(cast("Train", run), hooks=hooks) if hooks else run

    start: Stage = EarlyTicket(
        parents=tuple(dense(stop) for stop in (*params.shares, 1.0)),
        shares=params.shares,
        score="slimming",
        allocation=params.allocation,
        sparsity=config.sparsity,
        seed=request.seed,
        of=config.of,
        window=params.window,
        threshold=params.threshold,
        rule=params.rule,
    )
    saved = snapshot(request, params.rewind)
    if saved is not None:
        start = Rewind(parents=(start, saved))
    return (
        retrain(
            request,
            start,
            length=request.epochs,
            cycle=cycle_of(request, 1, 1, config.sparsity),
            label="retrain/1",
            hooks=hooks,
        ),
    )


def _hooks(params: EarlyBirdParams) -> tuple[HookSpec, ...]:
    """Return what pushes scales towards 0, in the dense run and after it."""
    if not params.penalty:
        return ()
    return (HookSpec("autoprune.methods.slimming:ScalePenalty", {"penalty": params.penalty}),)


def _no_run() -> ConfigError:
    return ConfigError(
        "trial.method",
        "must not be 'early_bird' when the task brings pretrained weights: there is no dense run "
        "to draw a ticket from",
        remedy="use slimming, or leave the checkpoint out",
    )


def fits(info: TaskInfo, config: TrialConfig, params: EarlyBirdParams) -> None:
    """Refuse a dense run that is not there or too short, and a penalty without scales."""
    if info.pretrained:
        raise _no_run()
    if params.penalty and not info.has_batchnorm:
        raise TaskError(
            "the model",
            "must have batch norms for method 'early_bird' with a penalty on their scales",
            remedy="set penalty to 0",
        )
    steps = config.train.epochs * info.steps_per_epoch(config.train.batch_size)
    if steps * params.every < 1.0:
        raise ConfigError(
            "trial.early_bird.every",
            f"must be at least {1 / steps:.2g}, a step of the dense run",
            params.every,
            "train for longer, or in smaller batches",
        )


def check(config: TrialConfig, params: EarlyBirdParams) -> None:
    """Refuse a grid with too few masks, and a rewind policy that does not parse."""
    check_rewind(params.rewind, "trial.early_bird.rewind")
    if len(params.shares) < params.window:
        raise ConfigError(
            "trial.early_bird.until",
            f"must be at least window * every ({params.window * params.every:g}), so that masks "
            "can agree",
            params.until,
        )


EARLY_BIRD = Method(
    name="early_bird",
    kind="units",
    start="dense",
    reference="You et al., ICLR 2020, arXiv 1909.11957",
    params=EarlyBirdParams,
    plan=plan,
    check=check,
    fits=fits,
    reaches=lambda params: (0.0, 0.995),
    space={
        "threshold": [0.02, 0.05, 0.1, 0.15],
        "rewind": ["none", "reinit"],
        "allocation": ["global", "uniform"],
    },
)
