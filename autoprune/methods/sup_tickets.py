"""Sup-tickets: average several cheap tickets of one sparse training run into one net.

Most of the epochs train sparsely as the base method does; its end is the first ticket. The rest is
cut into cycles. Each goes on from the weights before it, moves a share of the connections once,
and trains them with a learning rate that rises and falls; its end is the next ticket. Tickets are
averaged over the union of their connections and the average is pruned back to the budget by
magnitude over all layers. Training never goes on from the average, and takes no more epochs than
the base method does.

Notes
-----
The average shrinks a connection that one of n tickets has to an n-th. ``caa`` gives every ticket
the same say (1/2, 1/3, 1/4, ...), ``cima`` gives each new one `beta`. With `prune_each_cycle` the
average is pruned before the next ticket is taken in, so connections of early tickets are lost
before later ones can vote for them; without, all tickets are averaged and pruned once.

# Deviation: cycles are counted and share a fraction of training, instead of having a number of
whole epochs each.

# Deviation: a Train stage starts with a fresh optimiser, so momentum does not live on from one
cycle to the next.

# Deviation: connections are moved in place of the first step of a cycle, by the dense gradient of
its batch; the authors take the gradient of the last batch before. Both grow by the gradient
whatever the base method grows by, as the authors' CIFAR code does (their ImageNet code does not
move any).

# Deviation: the rates of a cycle (0.01 to 0.05) are ten times the authors', and 0.3 instead of 0.5
of the connections are moved: 24 epochs of 250 are enough for theirs to matter, our cycles are an
epoch or two.

# Deviation: BatchNorm is re-estimated once, for the result; the averages before it are not used as
nets, and their weights do not depend on it.

References
----------
L. Yin, V. Menkovski, M. Fang, T. Huang, Y. Pei, M. Pechenizkiy, D. C. Mocanu, S. Liu,
"Superposing Many Tickets into One: A Performance Booster for Sparse Neural Network Training", UAI
2022, arXiv 2205.15322.
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, LRConfig, NonNegative, Positive, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, Method, PlanRequest
from autoprune.methods.plans import cycle_of, retrain
from autoprune.methods.regrowth import MIN_STEPS, Allocated
from autoprune.stages.base import Stage
from autoprune.stages.prune import Recalibrate
from autoprune.stages.superpose import Superpose
from autoprune.stages.train import HookSpec

STEPS_A_CYCLE = 3  # one that moves connections, one up, one down


@dataclass(frozen=True, config=STRICT, kw_only=True)
class SupTicketsParams:
    """Parameters of Sup-tickets.

    Parameters
    ----------
    base : str
        The method that trains sparsely.
    allocation : str
        Its allocation.
    drop_fraction : float
        Its share of weights that the first update moves.
    share : float
        Share of training that the cycles take (rho).
    cycles : int
        Cycles, and so further tickets (K); 0 is the base method.
    explore : float
        Share of each layer's connections moved at the start of a cycle (z).
    low, high : float
        Learning rates at the ends and in the middle of a cycle.
    average : str
        ``caa`` or ``cima``.
    beta : float
        Share of a new ticket under ``cima``.
    prune_each_cycle : bool
        Whether the average is pruned after every cycle, or once at the end.
    """

    base: Literal["rigl", "set"] = "rigl"
    allocation: str = "erk"
    drop_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.3
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    cycles: Annotated[int, Field(ge=0, le=20)] = 3
    explore: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    low: NonNegative = 0.01
    high: Positive = 0.05
    average: Literal["caa", "cima"] = "caa"
    beta: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    prune_each_cycle: bool = True


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Train the base method, then the cycles; average their ends."""
    params: SupTicketsParams = request.params
    share = params.share if params.cycles else 0.0
    ticket = base_run(request, 1.0 - share)
    tickets = [ticket]
    for c in range(1, params.cycles + 1):
        ticket = cycle_run(request, ticket, c)
        tickets.append(ticket)
    return (superposed(params, tickets),)


def base_run(request: PlanRequest, share: float) -> Stage:
    """Plan the base method for a share of the epochs."""
    params: SupTicketsParams = request.params
    base = METHODS.get(params.base)
    own = base.params(allocation=params.allocation, drop_fraction=params.drop_fraction)
    config = replace(request.config, method=params.base, params=asdict(own))
    given = replace(request, config=config, params=own, epochs=request.epochs * share)
    return base.plan(given)[-1]


def cycle_run(request: PlanRequest, start: Stage, c: int) -> Stage:
    """Go on from the last ticket: move connections, then train them through a triangle."""
    params: SupTicketsParams = request.params
    triangle = LRConfig(
        name="cyclical", params={"peak": params.high, "low": params.low, "periods": 1}
    )
    move = HookSpec(
        "autoprune.training.hooks.regrow:RegrowOnce",
        {"growth": "gradient", "share": params.explore},
    )
    return retrain(
        replace(request, config=replace(request.config, lr=triangle)),
        start,
        length=request.scratch_epochs * params.share / params.cycles,
        cycle=cycle_of(request, 1, 1, request.config.sparsity),
        label=f"ticket/{c}",
        hooks=(move,) if params.explore else (),
    )


def superposed(params: SupTicketsParams, tickets: list[Stage]) -> Stage:
    """Average the tickets in their order; BatchNorm's statistics come last."""
    if len(tickets) == 1:
        return tickets[0]
    shares = tuple(
        1 / (c + 1) if params.average == "caa" else params.beta for c in range(1, len(tickets))
    )
    if not params.prune_each_cycle:
        return Recalibrate(parents=(Superpose(parents=tuple(tickets), shares=shares),))
    average = tickets[0]
    for ticket, share in zip(tickets[1:], shares, strict=True):
        average = Superpose(parents=(average, ticket), shares=(share,))
    return Recalibrate(parents=(average,))


def check(config: TrialConfig, params: SupTicketsParams) -> None:
    """Refuse rates in the wrong order: tickets are taken where the rate is low."""
    if params.low >= params.high:
        raise ConfigError(
            "trial.sup_tickets.low", f"must be below high ({params.high:g})", params.low
        )


def min_steps(params: SupTicketsParams) -> int:
    """Let the base method have its updates, and every cycle a few steps."""
    if not params.cycles:
        return MIN_STEPS
    base = math.ceil(MIN_STEPS / (1.0 - params.share))
    return max(base, math.ceil(STEPS_A_CYCLE * params.cycles / params.share))


SUP_TICKETS = Method(
    name="sup_tickets",
    # The last pruning moves weights between layers whose MACs differ.
    measures=frozenset({"weights"}),
    kind="weights",
    start="scratch",
    reference="Yin et al., UAI 2022, arXiv 2205.15322",
    params=SupTicketsParams,
    plan=plan,
    check=check,
    min_steps=min_steps,
    regrows=True,
    space={
        "base": ["rigl", "set"],
        "allocation": Allocated,
        "cycles": [2, 3, 4],
        "share": {"low": 0.1, "high": 0.3},
    },
)
