"""Lottery tickets: find a mask by training, then train it from where the training began.

The dense net is trained; the smallest surviving weights are removed; the survivors, and with them
biases, norms and their statistics, go back to the values of the dense run's start (``init``) or
of an early step of it (``step:F``), and are trained again with fresh optimiser state. A round
removes the share ``1 - (1 - S) ** (1 / n)`` of what remains; one round is the one-shot form. The
controls keep the last round's mask and draw new weights (``reinit``), or keep the weights of the
rewind point and permute each layer's mask (``shuffle``): a ticket wins when it beats both.

Notes
-----
# Deviation: the paper trains each level for as long as the dense net, with the schedule advanced
to the rewind point. Here the retraining epochs are divided over the rounds, and the trial's own
learning-rate schedule starts anew in each; the controls train exactly as long as the ticket.

# Deviation: per-layer rates of the paper (convolutions slower than linear layers) are one rate,
which follows from the target; ``layerwise`` halves it in the last layer, ``global`` ranks the
weights of all layers together, convolutions and shortcuts included.

# Deviation: each round keeps an exact number of weights; both reference codes remove one more,
and everything that ties with it.

References
----------
J. Frankle, M. Carbin, "The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks",
ICLR 2019, arXiv 1803.03635. J. Frankle, G. K. Dziugaite, D. Roy, M. Carbin, "Linear Mode
Connectivity and the Lottery Ticket Hypothesis", ICML 2020, arXiv 1912.05671 (rewinding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as stage
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import (
    check_rewind,
    cycle_of,
    dense_run,
    prune_retrain,
    prune_step,
    retrain,
    snapshot,
)
from autoprune.stages.base import RunContext, Stage
from autoprune.stages.prune import Rewind

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo
    from autoprune.stages.state import TrialState


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TicketParams:
    """Parameters of lottery tickets.

    Parameters
    ----------
    rounds : int
        Levels below the dense one (n); 1 is one-shot.
    rewind : str
        ``init`` or ``step:<fraction of the dense run>``: where the survivors go back to.
    allocation : str
        ``layerwise`` or ``global`` in the paper; any other works.
    granularity : str
        ``weight``, ``kernel``, or a pattern such as ``2:4`` or ``n:8``.
    control : str
        ``none`` trains the ticket; ``reinit`` and ``shuffle`` train its control at the last level.
    """

    rounds: Rounds = 3
    rewind: str = "step:0.02"
    allocation: str = "global"
    granularity: str = "weight"
    control: Literal["none", "reinit", "shuffle"] = "none"


PARTS = Parts(score="magnitude")


@stage(frozen=True)
class Shuffle(Stage):
    """Permute each layer's mask; its number of weights stays.

    Parameters
    ----------
    parents : tuple of Stage
        The masked state.
    """

    kind: ClassVar[str] = "shuffle"

    seed: int

    @property
    def cheap(self) -> bool:
        """One permutation."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Draw one permutation per layer."""
        import torch

        from autoprune.core.seeds import torch_stream
        from autoprune.stages.support import apply_masks

        (state,) = inputs
        masks = {}
        for name, mask in state.masks.items():
            order = torch.randperm(mask.numel(), generator=torch_stream(self.seed, "shuffle", name))
            masks[name] = mask.reshape(-1)[order].reshape(mask.shape)
        return replace(state, weights=apply_masks(state.weights, masks), masks=masks, tensors={})


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Train, prune and rewind, round by round; or the last round's control in place of all."""
    if request.pretrained:
        raise _no_start()
    tickets = prune_retrain(request, PARTS)
    if request.params.control == "none":
        return tickets
    before = tickets[-2] if len(tickets) > 1 else dense_run(request)
    return (_control(request, before),)


def _control(request: PlanRequest, before: Stage) -> Stage:
    """Plan the last level anew, with other weights or another mask."""
    params: TicketParams = request.params
    count, sparsity = params.rounds, request.config.sparsity
    masked = prune_step(request, PARTS, before, sparsity, count)
    saved = snapshot(request, "reinit" if params.control == "reinit" else params.rewind)
    assert saved is not None, "check() allows no policy that keeps the weights"
    if params.control == "shuffle":
        masked = Shuffle(parents=(masked,), seed=request.seed)
    return retrain(
        request,
        Rewind(parents=(masked, saved)),
        length=request.epochs / count,
        cycle=cycle_of(request, count, count, sparsity),
        label=f"retrain/{count}",
    )


def _no_start() -> ConfigError:
    return ConfigError(
        "trial.method",
        "must not be 'lottery_ticket' when the task brings pretrained weights: there is no start "
        "of their training to rewind to",
        remedy="use imp with rewind none, or leave the checkpoint out",
    )


def fits(info: TaskInfo, config: TrialConfig, params: TicketParams) -> None:
    """Refuse weights whose beginning is not known."""
    if info.pretrained:
        raise _no_start()


def check(config: TrialConfig, params: TicketParams) -> None:
    """Refuse a rewind policy that does not go back, and a shuffle that breaks a pattern."""
    place = "trial.lottery_ticket.rewind"
    check_rewind(params.rewind, place)
    if params.rewind in {"none", "reinit"}:
        raise ConfigError(
            place,
            "must be init or step:<fraction in (0, 1)>",
            params.rewind,
            "use imp to keep the weights, or control: reinit to draw new ones",
        )
    if params.control == "shuffle" and params.granularity != "weight":
        raise ConfigError(
            "trial.lottery_ticket.control",
            f"must not be 'shuffle' with granularity {params.granularity!r}, which it breaks",
            remedy="use control: reinit, or granularity: weight",
        )


LOTTERY_TICKET = Method(
    name="lottery_ticket",
    kind="weights",
    start="dense",
    reference="Frankle and Carbin, ICLR 2019, arXiv 1803.03635; Frankle et al., ICML 2020, "
    "arXiv 1912.05671",
    params=TicketParams,
    plan=plan,
    parts=PARTS,
    check=check,
    fits=fits,
    space={
        "rounds": [3, 5, 10],
        "rewind": ["step:0.02", "init", "step:0.1"],
        "allocation": ["global", "layerwise"],
    },
)
