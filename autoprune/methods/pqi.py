"""SAP: sparsity-informed adaptive pruning by the PQ index, round by round with rewinding.

After every training the index says for each neuron (or layer, or the whole net) how few of its
alive weights a bound on the loss of magnitude allows; the rule removes that share of them, scaled
by ``gamma`` and at most ``beta``, the smallest first. The survivors go back to their initial
values and are trained again.

Notes
-----
# Deviation: SAP has no target. Here a round removes what the rule says but never goes beyond the
target, and the last round lands on it: where the rule would remove less, ``gamma`` is raised,
by one top-k over the net, until the count is met. ``log/beyond_rule`` counts what that added.
Where the target is reached before the last round, the rounds that are left only train again.

# Deviation: the dense run stands for the first training. Learning-rate schedules that ask for a
round's sparsity are told the geometric one, since the rule decides when the round runs.

# Deviation: the last epoch of a round is scored, not the one with the best test accuracy;
gradients are not clipped; batch norm's running statistics are rewound with the weights.

# Deviation: ties are removed as counted, by index; the authors' strict threshold keeps them.

``rewind: none`` is an extension: the paper always rewinds.

References
----------
E. Diao, G. Wang, J. Zhang, Y. Yang, J. Ding, V. Tarokh, "Pruning Deep Neural Networks from a
Sparsity Perspective", ICLR 2023, arXiv 2302.05601.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass as stage
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.base import Method, PlanRequest, Rounds
from autoprune.methods.plans import check_rewind, cycle_of, dense_run, retrain, snapshot
from autoprune.stages.base import RunContext, Stage
from autoprune.stages.prune import Mask, Rewind

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState


@dataclass(frozen=True, config=STRICT, kw_only=True)
class PqiParams:
    """Parameters of SAP with the PQ index.

    Parameters
    ----------
    scope : str
        What is measured and pruned as one vector: ``neuron``, ``layer`` or ``global``.
    norms : str
        ``p,q`` with 0 < p < q: ``0.5,1`` and, more aggressive, ``1,2`` are the paper's.
    eta_r : float
        Tolerated loss; larger prunes more.
    gamma : float
        Scales the share that the rule removes.
    beta : float
        Largest share of a scope that the rule removes in a round.
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``init`` (the paper), ``none`` (an extension), ``reinit`` or ``step:<fraction of the dense
        run>``.
    """

    scope: Literal["neuron", "layer", "global"] = "neuron"
    norms: str = "0.5,1"
    eta_r: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    gamma: Annotated[float, Field(ge=0.0, le=10.0)] = 1.0
    beta: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    rounds: Rounds = 3
    rewind: str = "init"


def parse_norms(norms: str, place: str = "trial.pqi.norms") -> tuple[float, float]:
    """Read ``p,q``.

    Raises
    ------
    ConfigError
        Unless they are two numbers with 0 < p < q.

    Examples
    --------
    >>> parse_norms("0.5,1")
    (0.5, 1.0)
    """
    try:
        p, q = (float(piece) for piece in norms.split(","))
    except ValueError:
        p = q = 0.0
    if not 0.0 < p < q <= 10.0:
        raise ConfigError(place, "must be p,q with 0 < p < q <= 10, such as 0.5,1 or 1,2", norms)
    return p, q


@stage(frozen=True)
class PqiMask(Stage):
    """One round's removals.

    Parameters
    ----------
    parents : tuple of Stage
        The trained state.
    scope, p, q, eta, gamma, beta
        See `PqiParams`.
    sparsity : float
        The target: not to be passed.
    index : int
        The round, from 1; names its mean index in the log.
    last : bool
        Whether the target has to be met.
    """

    kind: ClassVar[str] = "pqi_mask"

    scope: Literal["neuron", "layer", "global"]
    p: float
    q: float
    eta: float
    gamma: float
    beta: float
    sparsity: float
    index: int
    last: bool

    @property
    def cheap(self) -> bool:
        """A sort of the weights costs less than a file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Remove what the rule says, up to the target; in the last round to the target."""
        from autoprune.pruning.scores.pq_index import PqIndex
        from autoprune.stages.support import make_view

        state = inputs[0]
        view = make_view(state, context, seed=0)
        rule = PqIndex(self.scope, self.p, self.q, self.eta, self.beta)
        total = sum(mask.numel() for mask in view.masks.values())
        alive = sum(int(mask.sum()) for mask in view.masks.values())
        goal = total - round(self.sparsity * total)
        planned = rule.planned(view, self.gamma)
        kept = goal if self.last else max(goal, alive - planned)
        scored = replace(state, tensors={f"score/{n}": s for n, s in rule(view).items()})
        mask = Mask(allocation="global", sparsity=1.0 - kept / total)
        done = mask.run([state, scored], context)
        numbers = {
            f"pq_index_{self.index}": rule.mean_index(view),
            "beyond_rule": float(max(0, alive - kept - planned)),
        }
        return replace(done, log={**done.log, **numbers})


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Measure, prune, rewind and retrain, round by round."""
    params: PqiParams = request.params
    p, q = parse_norms(params.norms)
    saved = snapshot(request, params.rewind)
    state, rounds, target = dense_run(request), [], request.config.sparsity
    for k in range(1, params.rounds + 1):
        masked: Stage = PqiMask(
            parents=(state,),
            scope=params.scope,
            p=p,
            q=q,
            eta=params.eta_r,
            gamma=params.gamma,
            beta=params.beta,
            sparsity=target,
            index=k,
            last=k == params.rounds,
        )
        if saved is not None:
            masked = Rewind(parents=(masked, saved))
        state = retrain(
            request,
            masked,
            length=request.epochs / params.rounds,
            cycle=cycle_of(request, k, params.rounds, 1 - (1 - target) ** (k / params.rounds)),
            label=f"retrain/{k}",
        )
        rounds.append(state)
    return tuple(rounds)


def check(config: TrialConfig, params: PqiParams) -> None:
    """Refuse norms and a rewind policy that do not parse."""
    parse_norms(params.norms)
    check_rewind(params.rewind, "trial.pqi.rewind")


PQI = Method(
    name="pqi",
    measures=frozenset({"weights"}),
    kind="weights",
    start="dense",
    reference="Diao et al., ICLR 2023, arXiv 2302.05601",
    params=PqiParams,
    plan=plan,
    check=check,
    space={
        "scope": ["neuron", "layer"],
        "norms": ["0.5,1", "1,2"],
        "rounds": [3, 5],
        "rewind": ["init", "none"],
    },
)
