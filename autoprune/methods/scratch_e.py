"""Scratch-E and Scratch-B: what another method keeps, trained from a fresh initialisation.

The dense net is trained and pruned once with the base method's score; then the survivors are
drawn anew and trained, `scratch_e` for as many epochs as the trial it is compared with, `scratch_b`
for as many more as its multiply-adds are fewer. By default the base removes whole filters by
their l1-norm, the same share everywhere: the architecture is then all that the dense net gives.
With a base that removes single weights `scratch_e` trains that base's mask, and is of kind
weights.

Notes
-----
Norms' scales and statistics are fresh, too.

# Deviation: the paper trains for the dense run's epochs; here the control gets the dense and the
retraining epochs together, so that it costs what the trial it is compared with costs.

# Deviation: units are trained in the dense net's shape with whole groups masked, their weights
drawn as large as the slim net's.

# Deviation: the ratio of multiply-adds is that of convolutions and linear layers; the paper's
counter has norms, rectifiers and pools beside them. Scratch-B is never shorter than Scratch-E,
and its greatest ratio (`cap`) is 2 on small images, too, as the paper has it for ImageNet.

References
----------
Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning",
ICLR 2019, arXiv 1810.05270.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.methods.base import METHODS, Kind, Method, Parts, PlanRequest
from autoprune.methods.plans import check_wrapped, cycle_of, dense_run, init, prune_step, retrain
from autoprune.methods.units import GrainParams
from autoprune.stages.base import Stage
from autoprune.stages.fresh import FreshWeights

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo

REFERENCE = "Liu et al., ICLR 2019, arXiv 1810.05270"


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScratchParams(GrainParams):
    """Parameters of Scratch-E.

    Parameters
    ----------
    base : str
        The method whose mask is trained.
    rescale : bool
        Whether fresh weights under a mask of single weights are scaled by ``sqrt(1 / density)``.
    """

    base: str = "filter_l1"
    rescale: bool = False


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScratchBParams(ScratchParams):
    """Parameters of Scratch-B.

    Parameters
    ----------
    cap : float
        Trains at most so many times as long as Scratch-E.
    """

    cap: Annotated[float, Field(ge=1.0, le=1000.0)] = 2.0


def _base(params: ScratchParams) -> Method:
    return METHODS.get(params.base, "base")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune the dense net, draw new weights, train them under the mask."""
    params: ScratchParams = request.params
    base: Parts = _base(params).parts  # type: ignore[assignment] # checked
    sparsity = request.config.sparsity
    masked = prune_step(request, base, dense_run(request), sparsity, 1)
    return (
        retrain(
            request,
            FreshWeights(parents=(masked, init(request, "reinit")), rescale=params.rescale),
            length=request.scratch_epochs,
            cycle=cycle_of(request, 1, 1, sparsity),
            label="scratch",
            cap=getattr(params, "cap", 1.0),
        ),
    )


def check(config: TrialConfig, params: ScratchParams) -> None:
    """Refuse a base method that does not score, prune and retrain."""
    check_wrapped(params.base, f"trial.{config.method}.base")


def fits(info: TaskInfo, config: TrialConfig, params: ScratchParams) -> None:
    """Refuse what the base method refuses."""
    base = _base(params)
    base.fits(info, config, base.params())


def reaches(params: ScratchParams) -> tuple[float, float]:
    """Return the limits of the base method; `check` refuses what is no base."""
    base = _base(params)
    return (0.0, 0.999) if base.parts is None else base.reaches(base.params())


def limit(info: TaskInfo, of: str, params: ScratchParams) -> float:
    """Return the base method's limit on a model."""
    base = _base(params)
    return 1.0 if base.limit is None else base.limit(info, of, params)


def kind(params: ScratchParams) -> Kind:
    """Return what the base method removes."""
    return _base(params).kind


SCRATCH_E = Method(
    name="scratch_e",
    kind="units",
    start="scratch",
    reference=REFERENCE,
    params=ScratchParams,
    plan=plan,
    check=check,
    fits=fits,
    reaches=reaches,
    limit=limit,
    kind_of=kind,
    min_steps=lambda params: 20,
    space={"base": ["filter_l1", "magnitude"], "allocation": ["uniform", "global"]},
)

SCRATCH_B = replace(SCRATCH_E, name="scratch_b", params=ScratchBParams)
