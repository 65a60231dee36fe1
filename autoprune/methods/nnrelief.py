"""NNrelief: keep, for every unit, the few inputs that carry most of what it receives.

Training images are passed through the dense net. The contribution of a connection is the mean of
``|w x|``; that of a convolution's kernel the mean size of ``|K| * |x|``, its weights living and
dying together. A unit keeps the fewest inputs that carry the share ``alpha`` of its signal, then
the net is retrained; three rounds lead to the target, ``alpha`` being bisected in each so that
the number of weights is met.

Notes
-----
# Deviation: the paper fixes ``alpha`` and takes the sparsity that comes out; it has one for
linear layers and one for convolutions, here there is one.
# Deviation: biases count in a unit's signal but are not pruned. Inputs of units that nobody reads
any more go first in the next round, rather than at once. The rule that drops whole filters at a
residual sum is left out: it removes units, not connections.
# Deviation: every round draws its own 1,000 images.

On a net with convolutions the sparsity is the nearest that whole kernels allow.

References
----------
A. Dekhovich, D. Tax, M. Sluiter, M. Bessa, "Neural network relief: a pruning algorithm based on
neural activity", Machine Learning 113, 2024, arXiv 2109.10795.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic.dataclasses import dataclass

from autoprune.core.config import STRICT, TrialConfig
from autoprune.core.errors import TaskError
from autoprune.methods.base import Method, Parts, PlanRequest, Rounds
from autoprune.methods.plans import prune_retrain
from autoprune.stages.base import Stage

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo


@dataclass(frozen=True, config=STRICT, kw_only=True)
class NNReliefParams:
    """Parameters of NNrelief.

    Parameters
    ----------
    rounds : int
        Prune-retrain rounds; the retraining epochs are divided among them.
    rewind : str
        ``none`` keeps the weights (the authors' VGG and ResNet), ``init`` takes survivors back to
        their initial values (their LeNets).
    conv_reduce : str
        How the map of a kernel becomes a number: ``mean_fro``, the mean over images of its
        Frobenius norm (the paper); ``fro_mean``, the norm of the mean map (the authors' VGG and
        ResNet code); ``l1``, the sum of the mean map (their LeNet code).
    schedule : str
        Sparsity schedule over the rounds.
    allocation : str
        The layerwise rule; ``global`` is one ``alpha`` for all units.
    """

    rounds: Rounds = 3
    rewind: Literal["none", "init"] = "none"
    conv_reduce: Literal["mean_fro", "fro_mean", "l1"] = "mean_fro"
    schedule: str = "geometric"
    allocation: str = "global"


PARTS = Parts(score="nnrelief", granularity=lambda params: "kernel")
SCORES = {"mean_fro": "nnrelief", "fro_mean": "nnrelief_fro_mean", "l1": "nnrelief_l1"}


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Prune by signal and retrain, round by round."""
    parts = replace(PARTS, score=SCORES[request.params.conv_reduce])
    return prune_retrain(request, parts)


def fits(info: TaskInfo, config: TrialConfig, params: NNReliefParams) -> None:
    """Refuse a model with prunable weights whose inputs cannot be watched."""
    for layer in info.layers:
        if layer.kind == "attention" or not layer.macs:
            raise TaskError(
                f"the model's {layer.name}",
                "must belong to a linear layer or a convolution that is called as a module for "
                "method 'nnrelief', which weighs connections by their inputs",
                remedy="use another method, such as imp",
            )


NNRELIEF = Method(
    name="nnrelief",
    kind="weights",
    start="dense",
    reference="Dekhovich et al., Machine Learning 2024, arXiv 2109.10795",
    params=NNReliefParams,
    plan=plan,
    parts=PARTS,
    fits=fits,
    space={"rounds": [2, 3, 5], "rewind": ["none", "init"]},
)
