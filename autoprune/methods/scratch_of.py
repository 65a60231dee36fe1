"""Another trial's mask or architecture, trained from a fresh initialisation: a control.

The last state of any trial, weights or units, is given new weights and trained under its masks;
what is removed stays removed. The control is asked for by ready-made studies, not by a search.

Notes
-----
# Deviation: the paper re-scales the fresh weights of a masked convolution by its density, which
reportedly does not help; here they are drawn as the dense net's are. A control of units is trained
in the dense net's shape with whole groups masked, its weights drawn as large as the slim net's.

References
----------
Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning",
ICLR 2019, arXiv 1810.05270 (Scratch-E, Scratch-B). Z. He, Z. Xie, Q. Zhu, Z. Qin, "Sparse Double
Descent: Where Network Pruning Aggravates Overfitting", ICML 2022, arXiv 2206.08684 (its control
by re-initialisation).
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from autoprune.core.canonical import canonical_json, plain
from autoprune.core.config import STRICT, Positive, Scalar, TrialConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.core.records import TaskInfo
from autoprune.methods.base import METHODS, Method, PlanRequest
from autoprune.methods.plans import cycle_of, init, retrain, task_identity
from autoprune.methods.reach import kind_of
from autoprune.stages.base import Stage, closure
from autoprune.stages.fresh import FreshWeights
from autoprune.stages.train import Train


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ScratchOfParams:
    """Whose mask is trained.

    Parameters
    ----------
    trial : str
        The other trial's configuration, completed, as JSON.
    trial_epochs : float
        Its retraining epochs.
    trial_top : float
        The top rung of its study.
    """

    trial: Annotated[str, Field(min_length=2)] = "{}"
    trial_epochs: Positive = 1.0
    trial_top: Positive = 1.0


def other(params: ScratchOfParams) -> TrialConfig:
    """Return the other trial's configuration."""
    return parse(TrialConfig, json.loads(params.trial), "trial.scratch_of.trial")


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Take the other trial's last state, draw new weights, train them under its masks."""
    params: ScratchOfParams = request.params
    config = other(params)
    method = METHODS.get(config.method)
    rounds = method.plan(
        PlanRequest(
            config=config,
            params=parse(method.params, config.params, config.method),
            epochs=params.trial_epochs,
            top_epochs=params.trial_top,
            seed=request.seed,
            pretrained=request.pretrained,
        )
    )
    stop = config.stop_round or len(rounds)
    last = rounds[stop - 1]
    fresh = FreshWeights(parents=(last, init(request, f"reinit/{stop}")))
    # The cycle of the other trial's own last training: a schedule that knows of cycles is the same.
    trained = [s for s in closure(last) if isinstance(s, Train) and s.label != "dense"]
    cycle = trained[-1].cycle if trained else cycle_of(request, 1, 1, config.sparsity)
    return (retrain(request, fresh, length=request.epochs, cycle=cycle, label=f"scratch/{stop}"),)


def check(config: TrialConfig, params: ScratchOfParams) -> None:
    """Refuse a trial whose architecture is no mask."""
    METHODS.check(other(params).method, "trial.scratch_of.trial")
    if kind_of(other(params)) == "low_rank":
        raise ConfigError(
            "--trial",
            "must have a mask or units that can be trained from scratch, which a low-rank trial "
            "has not",
            remedy="choose a trial that removes weights or units",
        )


def fits(info: TaskInfo, config: TrialConfig, params: ScratchOfParams) -> None:
    """Refuse what the other trial's method refuses."""
    base = other(params)
    method = METHODS.get(base.method)
    method.fits(info, base, parse(method.params, base.params, base.method))


def control_of(config: TrialConfig, epochs: float, top: float, **changes: Any) -> TrialConfig:
    """Return the trial that trains another one's mask from scratch, not completed yet.

    Parameters
    ----------
    config : TrialConfig
        The other trial, completed.
    epochs, top : float
        Its retraining epochs, and the top rung they are a part of.
    changes
        Further fields, such as `lr` and `recipe`.
    """
    params: dict[str, Scalar] = {
        "trial": canonical_json(plain(replace(config, task=task_identity(config.task)))),
        "trial_epochs": float(epochs),
        "trial_top": float(top),
    }
    return replace(config, method="scratch_of", params=params, stop_round=None, **changes)


SCRATCH_OF = Method(
    name="scratch_of",
    kind="weights",
    start="scratch",
    reference="Liu et al., ICLR 2019, arXiv 1810.05270",
    params=ScratchOfParams,
    plan=plan,
    check=check,
    fits=fits,
    min_steps=lambda params: 1,
    listed=False,
)
