"""Early-Bird tickets: remove units as soon as it is clear which, early in dense training.

Every so often the dense run is asked which units it would lose, by the scales of their batch
norms. Once the last few answers agree, that snapshot loses them and is trained on; a run whose
answers never agree loses them at its end.

Notes
-----
`rule` says what has to stand still: the masks, or, with ``rule: partition``, the partition of the
input space (Spline-EB): the signs of all batch norms' outputs on a grid of mixtures of two images.
The authors' values for it are ``window: 4`` (three distances) and ``threshold: 0.16``. With
``score: spline`` the units are then those of method ``spline``, whose score is a reconstruction.

A seed costs one run of the share `until` of the dense epochs that keeps the snapshots, whatever
the sparsity, the threshold and the window, beside the dense run that all methods share: it is
the reference, and what is pruned where nothing settles. With a penalty a single run gives both.

# Deviation: masks are drawn on a grid of shares of the dense run (`every`, up to `until`), not at
every epoch: a twentieth is an epoch of the usual twenty. The first mask is that of the first
snapshot, not of the fresh net. The searched share is trained whole, so that trials share it, and
a ticket drawn early spares no epochs of it.

# Deviation: the two images are training images, the grid has 32 steps a side (100), and a net
without batch norms shows the signs of its layers' outputs.

# Deviation: the shared dense run has no penalty on scales unless `penalty` is set, which then has
a dense run of its own, and which stays on while retraining, as in the authors' code.

# Deviation: the small net is retrained for the trial's epochs with the trial's schedule, not for
what is left of the dense one.

# Deviation: a sparsity is a share of the dense weights, and so is met by the nearest whole number
of units; the authors remove a share of the scales, and one more. Every group keeps some units.

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
from autoprune.methods.units import GrainParams, grain, limit
from autoprune.stages.base import Stage
from autoprune.stages.early import EarlyTicket
from autoprune.stages.prune import Rewind
from autoprune.stages.snapshots import Snapshot, shares_of
from autoprune.stages.train import HookSpec, Train

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo

Grid = Annotated[float, Field(gt=0.0, lt=1.0)]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class EarlyBirdParams(GrainParams):
    """Parameters of Early-Bird tickets.

    Parameters
    ----------
    every : float
        Share of the dense run between two masks.
    until : float
        Share of the dense run that is searched.
    window : int
        Snapshots that must agree (K).
    threshold : float
        Share of units in which agreeing masks may differ (epsilon), or of signs in which
        partitions may.
    rule : str
        ``newest_vs_queue`` compares the newest mask with each before it (the authors' code),
        ``consecutive`` each with the next (their paper), ``partition`` the newest partition of
        the input space with each before it.
    canvas : int
        Side of the grid of inputs that shows the partition.
    score : str
        ``slimming`` removes units with small scales, ``spline`` one of two that are alike.
    penalty : float
        Weight of the scales' absolute values in the loss (s); 0 shares the dense run of all.
    rewind : str
        ``none`` inherits the snapshot's weights; ``reinit`` draws new ones, ``init`` and
        ``step:<fraction of the dense run>`` go back.
    """

    every: Grid = 0.05
    until: Grid = 0.4
    window: Annotated[int, Field(ge=2, le=20)] = 5
    threshold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.1
    rule: Literal["newest_vs_queue", "consecutive", "partition"] = "newest_vs_queue"
    canvas: Annotated[int, Field(ge=2, le=200)] = 32
    score: Literal["slimming", "spline"] = "slimming"
    penalty: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    rewind: str = "none"
    allocation: str = "global"

    @property
    def shares(self) -> tuple[float, ...]:
        """Where in the dense run masks are drawn, the run's end apart."""
        return shares_of(self.every, math.floor(self.until / self.every + 1e-9))


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a ticket from snapshots of the dense run, retrain it."""
    if request.pretrained:
        raise _no_run()
    config = request.config
    params: EarlyBirdParams = request.params
    hooks = _hooks(params)
    keep = HookSpec(
        "autoprune.stages.snapshots:KeepSnapshots",
        {"every": params.every, "count": len(params.shares)},
    )
    run = dense_run(request, 1.0 if hooks else params.shares[-1])
    searched = replace(cast("Train", run), hooks=(*hooks, keep))
    snapshots = (Snapshot(parents=(searched,), number=k + 1) for k in range(len(params.shares)))
    start: Stage = EarlyTicket(
        parents=(*snapshots, searched if hooks else dense_run(request)),
        shares=params.shares,
        score=params.score,
        allocation=params.allocation,
        sparsity=config.sparsity,
        seed=request.seed,
        of=config.of,
        window=params.window,
        threshold=params.threshold,
        rule=params.rule,
        canvas=params.canvas,
        grain=grain(params),
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
    limit=limit,
    space={
        "threshold": [0.02, 0.05, 0.1, 0.15],
        "rewind": ["none", "reinit"],
        "allocation": ["global", "uniform"],
    },
)
