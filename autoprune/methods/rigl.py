"""RigL: train sparse from the start, and move connections to where gradients ask for them.

Every so often each layer drops its smallest weights and grows the same number where the dense
gradient is largest. Grown weights start at zero with zero optimiser state; the number of weights
of a layer never changes. Updates replace the optimiser step of their iteration (Algorithm 1).

Notes
-----
A weight dropped and regrown in the same update keeps its value and state, as in the authors'
code. Card rigl (g) lists where other ports differ; `methods.regrowth` lists our deviations.

References
----------
U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All Tickets
Winners", ICML 2020, arXiv 1911.11134.
"""

from __future__ import annotations

from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.regrowth import Allocated, RegrowParams, min_steps, regrow_train
from autoprune.stages.base import Stage


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a random mask, train it with updates."""
    return regrow_train(request, "gradient")


RIGL = Method(
    name="rigl",
    kind="weights",
    start="scratch",
    reference="Evci et al., ICML 2020, arXiv 1911.11134",
    params=RegrowParams,
    plan=plan,
    min_steps=min_steps,
    regrows=True,
    space={"allocation": Allocated, "drop_fraction": {"low": 0.1, "high": 0.5}},
)
