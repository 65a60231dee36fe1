"""K-FAC units: remove the units whose loss is small and whose absence flattens the loss.

The Fisher matrix of each layer is approximated by a Kronecker product of two small matrices, one
of the layer's inputs and one of the gradients of its outputs. They say what a unit's removal costs
to second order, and how far it lowers the largest curvature. Both make the unit's score; the net
is pruned and retrained in rounds.

Notes
-----
A reconstruction: that units are chosen with K-FAC curvature for a flat minimum is the paper's
idea, and the factors and the damage are standard mathematics. The paper's own equations, its
pruning rule, its constants and its results are unconfirmed: the flatness term, how it is weighed
against the damage, the global ranking, the least number of units, the rounds and every default
are ours (card kfac_neuron, c' and d). Nothing here replicates the paper.

# Deviation: the paper prunes while it trains from scratch, without a dense net. Here a trained
dense net is pruned in rounds, and the factors are gathered anew in each, on trained weights and
1,000 images, in place of running averages; so none go stale after a pruning.
# Deviation: training takes no steps against the top eigenvector of the curvature.
# Deviation: the damage is that of the weights and biases that make a unit; a batch norm behind
them goes with the unit but is not counted. First-order terms and the compensation of the other
units (OBS) are left out.
# Deviation: a loss that rises after a pruning does not slow the next one down.
# Deviation: each group's least number of units (4, or 2 %) goes last rather than never, so that
every sparsity that units allow is met.

References
----------
A. Ebrahimi, D. Klabjan, "Neuron-based Pruning of Deep Neural Networks with Better Generalization
using Kronecker Factored Curvature Approximation", IJCNN 2023, arXiv 2111.08577.
J. Martens, R. Grosse, "Optimizing Neural Networks with Kronecker-factored Approximate Curvature",
ICML 2015, arXiv 1503.05671.
R. Grosse, J. Martens, "A Kronecker-factored approximate Fisher matrix for convolution layers",
ICML 2016, arXiv 1602.01407.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, Scalar
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import prune_retrain
from autoprune.methods.units import UnitParams, check, grain, limit
from autoprune.stages.base import Stage


@dataclass(frozen=True, config=STRICT, kw_only=True)
class KfacNeuronParams(UnitParams):
    """Parameters of K-FAC units; all defaults are reconstructed.

    Parameters
    ----------
    flatness : float
        Weight of the flatness term, mu; 0 scores by damage alone.
    labels : str
        ``sampled``: gradients for classes drawn from the model's outputs, the Fisher matrix;
        ``empirical``: for the data's labels.
    min_alive : int
        The best so many units of a group, or 2 % of them if that is more, go last.
    """

    rounds: Rounds = 3
    allocation: str = "global"
    flatness: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    labels: Literal["sampled", "empirical"] = "sampled"
    min_alive: Annotated[int, Field(ge=1)] = 4


def score_params(params: Any) -> dict[str, Scalar]:
    """Return what the score is built with; its defaults where another method wraps this one."""
    names = ("flatness", "labels", "min_alive")
    return {name: getattr(params, name) for name in names if hasattr(params, name)}


PARTS = Parts(
    score="kfac_neuron",
    granularity=lambda params: "channel",
    grain=grain,
    score_params=score_params,
)


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Drop units by curvature and retrain, round by round."""
    return prune_retrain(request, PARTS)


KFAC_NEURON = Method(
    name="kfac_neuron",
    kind="units",
    start="dense",
    reference="Ebrahimi and Klabjan, IJCNN 2023, arXiv 2111.08577",
    params=KfacNeuronParams,
    plan=plan,
    parts=PARTS,
    check=check,
    reaches=lambda params: (0.0, 0.995),
    limit=limit,
    reconstruction=True,
    space={
        "rounds": [1, 3, 5],
        "flatness": [0.0, 0.3],
        "allocation": ["global", "uniform"],
    },
)
