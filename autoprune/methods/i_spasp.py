"""i-SpaSP: keep the hidden units from which the next layer's output can be reconstructed.

Two layers ``K relu(W x)`` lose all hidden units but ``s``. Greedily, as in sparse recovery: the
``2 s`` units that correlate most with what is missing of the dense output join those already
chosen, of these the ``s`` with the most activation stay, and again, up to `iterations` times. No
labels are read and no weights change; the net is then fine-tuned.

Notes
-----
How many units a group keeps is the allocation's answer, as for every method; which ones is found
anew for just that number, group by group, because the sets of two numbers are not nested, so no
ranking of units holds them all. The score `autoprune.pruning.scores.i_spasp` only divides the
number among the groups (``uniform`` does not even read it).

Where ``candidates * s`` are all of a group's n units, which is the paper's s >= n / 2, the weights
of the reading layer play no part and the loudest units stay, as in DropNet. The log's
``i_spasp_degenerate`` is the share of groups where it was so. One shot, therefore: each of several
rounds would keep more than half of what the last one left.

Units that several layers read (residual streams) stay whole, and so the greatest sparsity depends
on the model; beyond it a trial is refused. The reading layer's output is measured behind its batch
norm, with running statistics on both sides; the authors' code mixes them with those of the batch.

A reconstruction where one layer belongs to two pairs, as in an mlp, which the paper only outlines.

# Deviation: no fine-tuning between groups (an epoch each in the authors' code).

# Deviation: the authors leave out blocks that sample down and the last of every stage, by hand;
here every group that a single layer reads takes part, first and last included.

# Deviation: 1,280 images as in the authors' code, but without augmentation, and the same for all
groups.

# Deviation: the mass of a unit is the sum of ``|h|``, which after a ReLU is the paper's sum of h.

# Deviation: ``candidates``, ``sign`` and ``prefix: dense`` (the theory's) are options around the
authors' code, whose values are the defaults.

References
----------
C. R. Wolfe, A. Kyrillidis, "i-SpaSP: Structured Neural Pruning via Sparse Signal Recovery",
L4DC 2022, PMLR 168, arXiv 2112.04905.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as stage
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Scalar, TrialConfig
from autoprune.core.errors import TaskError
from autoprune.methods.base import Method, Parts, PlanRequest
from autoprune.methods.plans import cycle_of, dense_run, prune_step, retrain
from autoprune.methods.units import GrainParams, grain, inner_limit
from autoprune.pruning.allocations.spec import check_layers
from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.core.records import TaskInfo
    from autoprune.pruning.view import UnitGroup
    from autoprune.stages.state import TrialState


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ISpaspParams(GrainParams):
    """Parameters of i-SpaSP.

    Parameters
    ----------
    iterations : int
        T; the sets settle after a few.
    candidates : int
        Candidates per kept unit.
    sign : str
        ``signed`` takes in units that correlate with what is missing; ``abs`` also those that
        correlate against it.
    prefix : str
        Inputs of a pair of layers: those of the ``pruned`` net so far, or of the ``dense`` one.
    """

    iterations: Annotated[int, Field(ge=1, le=100)] = 20
    candidates: Literal[2, 3] = 2
    sign: Literal["signed", "abs"] = "signed"
    prefix: Literal["pruned", "dense"] = "pruned"


def selection(params: ISpaspParams) -> dict[str, Scalar]:
    """Return what the selection itself is made with."""
    return {name: getattr(params, name) for name in ("iterations", "candidates", "sign")}


GRANULARITY = "inner_channel"
PARTS = Parts(
    score="i_spasp",
    granularity=lambda params: GRANULARITY,
    score_params=selection,
    grain=grain,
)


@stage(frozen=True)
class Pursue(Stage):
    """Choose anew which units stay, as many in each group as a mask keeps.

    Parameters
    ----------
    parents : tuple of Stage
        A state, and the same state under the mask.
    seed, label
        Name the stream that draws the images, as for a score.
    iterations, candidates, sign, prefix
        See `ISpaspParams`.
    granularity : str
        The mask's.
    """

    kind: ClassVar[str] = "pursue"

    seed: int
    iterations: int
    candidates: int
    sign: Literal["signed", "abs"]
    prefix: Literal["pruned", "dense"]
    granularity: str
    label: str = "score"

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Go through the groups in model order; with a pruned prefix each sees those before it."""
        import torch

        from autoprune.core.seeds import stream_seed
        from autoprune.pruning.scores.i_spasp import pursue
        from autoprune.pruning.view import Signal
        from autoprune.stages.support import damage, make_view

        state, counted = inputs
        keep = {name: sum(flags) for name, flags in counted.structure.units.items()}
        groups = tuple(group for group in context.groups if group.name in keep)
        seed, needs = stream_seed(self.seed, self.label), frozenset({Signal.READOUT})
        view = make_view(state, context, seed=seed, needs=needs, groups=groups)
        done = state
        chosen: dict[str, Tensor] = {}
        for position, group in enumerate(groups):
            if position and self.prefix == "pruned":
                view = make_view(done, context, seed=seed, needs=needs, groups=(group,))
            found = view.signals[Signal.READOUT][group.name]
            (chosen[group.name],) = pursue(
                found[:, 0],
                found[:, 1:],
                torch.tensor([keep[group.name]]),
                iterations=self.iterations,
                candidates=self.candidates,
                sign=self.sign,
            )
            done = self._under(chosen, state, context)
        passes = len(groups) if self.prefix == "pruned" else 1
        log = {
            **counted.log,
            "score_passes": counted.log.get("score_passes", 0) + passes,
            "i_spasp_degenerate": _share_degenerate(groups, keep, self.candidates),
            **damage(state, done),
        }
        return replace(done, log=log)

    def _under(
        self, chosen: dict[str, Tensor], state: TrialState, context: RunContext
    ) -> TrialState:
        """Return a state that holds no other units of the groups chosen so far."""
        from autoprune.pruning.registry import GRANULARITIES
        from autoprune.stages.state import Structure
        from autoprune.stages.support import apply_masks, make_view

        granularity = GRANULARITIES.get(self.granularity)()
        groups = tuple(group for group in context.groups if group.name in chosen)
        view = make_view(state, context, seed=0, groups=groups)
        units = granularity.pool({n: flags.double() for n, flags in chosen.items()}, view)
        found = granularity.select(units, {n: int(f.sum()) for n, f in chosen.items()}, view)
        return replace(
            state,
            weights=apply_masks(state.weights, found.masks),
            masks=found.masks,
            structure=Structure({n: tuple(f.int().tolist()) for n, f in found.units.items()}),
            tensors={},
        )


def _share_degenerate(groups: Sequence[UnitGroup], keep: dict[str, int], candidates: int) -> float:
    """Return the share of groups in which all units are candidates from the start."""
    found = sum(candidates * keep[group.name] >= group.num_units for group in groups)
    return found / len(groups)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Count the units to keep, choose them, fine-tune."""
    params: ISpaspParams = request.params
    sparsity, dense = request.config.sparsity, dense_run(request)
    chosen = Pursue(
        parents=(dense, prune_step(request, PARTS, dense, sparsity, 1)),
        seed=request.seed,
        iterations=params.iterations,
        candidates=params.candidates,
        sign=params.sign,
        prefix=params.prefix,
        granularity=GRANULARITY,
    )
    return (
        retrain(
            request,
            chosen,
            length=request.epochs,
            cycle=cycle_of(request, 1, 1, sparsity),
            label="retrain/1",
        ),
    )


def fits(info: TaskInfo, config: TrialConfig, params: ISpaspParams) -> None:
    """Refuse a model without units that a single layer reads, and more knobs than such groups."""
    if config.sparsity and not inner_limit(info, config.of, params):
        raise TaskError(
            "the model",
            "must have channels or neurons that a single layer reads for method 'i_spasp'",
            remedy="use another method",
        )
    if info.units:
        count = sum(group.inner for group in info.units)
        place = "trial.i_spasp.allocation"
        check_layers(params.allocation, count, place, "groups of units that a single layer reads")


I_SPASP = Method(
    name="i_spasp",
    kind="units",
    start="dense",
    reference="Wolfe and Kyrillidis, L4DC 2022, arXiv 2112.04905",
    params=ISpaspParams,
    plan=plan,
    fits=fits,
    reaches=lambda params: (0.0, 0.995),
    limit=inner_limit,
    reconstruction=True,
    space={"prefix": ["pruned", "dense"], "candidates": [2, 3]},
)
