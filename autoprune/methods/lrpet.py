"""LRPET: train from scratch with periodic low-rank projection and energy transfer.

Ranks are fixed before training; the dense weight trains freely between projections, each of
which truncates the (BatchNorm-rectified) singular values and spreads the lost energy over those
kept. At the end weights are projected once more and exported as two thin layers.

Notes
-----
# Deviation: projections are counted in events (`projections`, evenly spaced, the last one at the
end) rather than one per epoch of 400. Layers are only factorised where the factors are smaller;
linear layers are factorised too, which the reference does only in transformers' MLPs; the
classifier, whose rank bounds the number of classes that can be told apart, is not.

References
----------
K. Guo, Z. Lin, C. Chen, X. Xing, F. Liu, X. Xu, "Compact Model Training by Low-Rank Projection
with Energy Transfer", IEEE TNNLS 2024, arXiv 2204.05566.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass as stage
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.plans import cycle_of, init, retrain
from autoprune.stages.base import RunContext, Stage
from autoprune.stages.prune import Recalibrate
from autoprune.stages.train import HookSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autoprune.stages.state import TrialState
    from autoprune.training.events import Event, LoopState


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LrpetParams:
    """Parameters of LRPET.

    Parameters
    ----------
    projections : int
        Projections during training.
    energy_transfer, rectify : bool
        Spread the lost energy over what is kept; fold BatchNorm's scale in before truncating.
    """

    projections: Annotated[int, Field(ge=1)] = 20
    energy_transfer: bool = True
    rectify: bool = True


@stage(frozen=True)
class ChooseRanks(Stage):
    """Choose the ranks that meet a sparsity: one share of singular values for all layers.

    With ``of="macs"`` the sparsity is the share of the dense multiply-adds that goes.
    """

    kind: ClassVar[str] = "ranks"

    sparsity: float
    of: Literal["weights", "macs"] = "weights"

    @property
    def cheap(self) -> bool:
        """A bisection over shapes."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Write the ranks into the state's structure."""
        from autoprune.pruning.low_rank import ranks_for_sparsity, splittable

        info = context.task.info
        names = splittable(context.model, info.layers)
        ranks = ranks_for_sparsity(info.layers, self.sparsity, names, self.of, info.macs_elsewhere)
        return replace(inputs[0], structure=replace(inputs[0].structure, ranks=ranks))


@stage(frozen=True)
class Project(Stage):
    """Project every factorised weight to its rank, for good."""

    kind: ClassVar[str] = "project"

    energy_transfer: bool
    rectify: bool

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Project, and take the weights."""
        import torch

        from autoprune.stages.support import export_weights, load_model

        state = inputs[0]
        model = load_model(state, context)
        example = torch.zeros(2, *context.task.info.input_shape, device=context.numerics.device)
        norms = norm_scales(model, example) if self.rectify else {}
        project_model(model, state.structure.ranks, norms, energy_transfer=self.energy_transfer)
        return replace(state, weights=export_weights(model))


def norm_scales(model: nn.Module, example: Tensor) -> dict[str, Tensor]:
    """Return ``gamma / sqrt(running_var + eps)`` of the BatchNorm behind each weight."""
    from autoprune.pruning.low_rank import bn_of

    modules = dict(model.named_modules())
    scales = {}
    for weight, name in bn_of(model, example).items():
        norm = modules[name]
        scales[weight] = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    return scales


def project_model(
    model: nn.Module,
    ranks: Mapping[str, int],
    scales: Mapping[str, Tensor],
    *,
    energy_transfer: bool,
) -> None:
    """Project a model's weights in place."""
    import torch

    from autoprune.pruning.low_rank import project

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, rank in ranks.items():
            weight = parameters[name]
            weight.copy_(project(weight.cpu(), rank, _cpu(scales.get(name)), energy_transfer))


def _cpu(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.cpu()


class LrpetHook:
    """Projects at evenly spaced steps; momentum is left as it is, as in the reference."""

    def __init__(self, projections: int, energy_transfer: bool, rectify: bool) -> None:
        self.projections, self.energy_transfer, self.rectify = projections, energy_transfer, rectify

    def on(self, event: Event, loop: LoopState) -> None:
        """Project after the steps that end one of the `projections` equal parts."""
        import torch

        from autoprune.training.events import Event

        if event is not Event.AFTER_STEP or not self.due(loop.step, loop.num_steps):
            return
        if not torch.isfinite(loop.loss):
            return
        scales = norm_scales(loop.model, loop.inputs[:2]) if self.rectify else {}
        project_model(loop.model, loop.ranks, scales, energy_transfer=self.energy_transfer)

    def due(self, step: int, num_steps: int) -> bool:
        """Whether `step` steps complete another part (the last part is the final stage's)."""
        now, before = (s * self.projections // num_steps for s in (step, step - 1))
        return now > before and step < num_steps


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Choose ranks, train with projections, project for good, re-estimate statistics."""
    params: LrpetParams = request.params
    sparsity = request.config.sparsity
    options = {"energy_transfer": params.energy_transfer, "rectify": params.rectify}
    hook = HookSpec(
        "autoprune.methods.lrpet:LrpetHook", {"projections": params.projections, **options}
    )
    trained = retrain(
        request,
        ChooseRanks(parents=(init(request),), sparsity=sparsity, of=request.config.of),
        length=request.scratch_epochs,
        cycle=cycle_of(request, 1, 1, sparsity),
        label="scratch",
        hooks=(hook,),
    )
    return (Recalibrate(parents=(Project(parents=(trained,), **options),)),)


def check(config: TrialConfig, params: LrpetParams) -> None:
    """Refuse what conflicts with projections: averaged weights, and targets in MACs."""
    if config.recipe.ema:
        raise ConfigError(
            "trial.recipe.ema",
            "must be 0 for method 'lrpet'",
            config.recipe.ema,
            "an average of projected weights has full rank",
        )


LRPET = Method(
    name="lrpet",
    kind="low_rank",
    start="scratch",
    reference="Guo et al., IEEE TNNLS 2024, arXiv 2204.05566",
    params=LrpetParams,
    plan=plan,
    check=check,
    min_steps=lambda params: 2 * int(params.projections),
    space={"energy_transfer": [True, False]},
)
