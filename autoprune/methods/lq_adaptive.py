"""Adaptive pruning by soft sparsity: every neuron keeps what its own weights ask for.

The few large weights of a compressible neuron carry nearly all of its norm, so it loses more than
a neuron whose weights are alike. One tolerance holds for all neurons and is bisected to the
target; the net is then retrained, in one round or several.

Notes
-----
A reconstruction: that a neuron is pruned by the lq (quasi-)norm of its own weights is the paper's
idea; its algorithm and constants are unconfirmed. The rules here follow from norms of the sorted
weights, see `autoprune.pruning.scores.lq.Lq`. Worst-case counts of the theory would ask for more
weights than there are; ``effective_count`` and exact tails do not.

References
----------
W. Yang, G. Wang, J. Ding, Y. Yang, "A Theoretical Understanding of Neural Network Compression
from Sparse Linear Approximation", arXiv 2206.05604.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Scalar, TrialConfig
from autoprune.core.errors import TaskError
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import check_rewind, prune_retrain
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LqAdaptiveParams:
    """Parameters of adaptive pruning by soft sparsity.

    Parameters
    ----------
    rule : str
        ``effective_count``: a multiple of the neuron's effective number of weights.
        ``tail_tolerance``: what is removed has at most a share of the neuron's norm.
        ``output_weighted``: the same, weights times the size of their inputs.
    q : float
        Quasi-norm of ``effective_count``.
    norm : int
        Norm of the other two, 1 or 2.
    allocation : str
        ``global`` is one tolerance for all neurons; others give each layer its own.
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``none``, ``init``, ``reinit`` or ``step:<fraction of the dense run>``.
    schedule : str
        Sparsity schedule over the rounds.
    """

    rule: Literal["effective_count", "tail_tolerance", "output_weighted"] = "tail_tolerance"
    q: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    norm: Literal[1, 2] = 2
    allocation: str = "global"
    rounds: Rounds = 1
    rewind: str = "none"
    schedule: str = "geometric"


def score_params(params: Any) -> dict[str, Scalar]:
    """Return the rule; its defaults where another method wraps this one."""
    names = ("rule", "q", "norm")
    return {name: getattr(params, name) for name in names if hasattr(params, name)}


PARTS = Parts(score="lq", score_params=score_params)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune every neuron by its own weights and retrain."""
    return prune_retrain(request, PARTS)


def check(config: TrialConfig, params: LqAdaptiveParams) -> None:
    """Refuse a rewind policy that does not parse."""
    check_rewind(params.rewind, "trial.lq_adaptive.rewind")


def fits(info: TaskInfo, config: TrialConfig, params: LqAdaptiveParams) -> None:
    """Refuse to weigh weights by inputs that cannot be watched."""
    for layer in info.layers:
        if params.rule == "output_weighted" and (layer.kind == "attention" or not layer.macs):
            raise TaskError(
                f"the model's {layer.name}",
                "must belong to a linear layer or a convolution that is called as a module for "
                "method 'lq_adaptive' with rule output_weighted",
                remedy="use another rule, such as tail_tolerance",
            )


LQ_ADAPTIVE = Method(
    name="lq_adaptive",
    kind="weights",
    start="dense",
    reference="Yang et al., arXiv 2206.05604",
    params=LqAdaptiveParams,
    plan=plan,
    parts=PARTS,
    check=check,
    fits=fits,
    reconstruction=True,
    space={
        "rule": ["tail_tolerance", "output_weighted", "effective_count"],
        "norm": [1, 2],
        "q": [0.3, 0.5, 0.8],
        "rounds": [1, 3],
    },
)
