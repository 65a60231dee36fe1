"""SET: train sparse from the start, and let connections grow at random.

Every so often each layer drops its smallest weights and grows the same number anywhere among its
free places, with equal chance. No step needs a dense gradient, so training costs what the sparse
net costs.

Notes
-----
An update follows the optimiser step of its iteration.

# Deviation: this is SET as RigL's authors compare with it: the smallest magnitudes go, ERK and the
cosine are the defaults. The original removes the smallest positive and the largest negative
weights apart, a constant share once an epoch, from an ER mask.

References
----------
D. C. Mocanu, E. Mocanu, P. Stone, P. H. Nguyen, M. Gibescu, A. Liotta, "Scalable Training of
Artificial Neural Networks with Adaptive Sparse Connectivity inspired by Network Science", Nature
Communications 9:2383, 2018, arXiv 1707.04780. U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen,
"Rigging the Lottery: Making All Tickets Winners", ICML 2020, arXiv 1911.11134.
"""

from __future__ import annotations

from autoprune.methods.base import Method, PlanRequest
from autoprune.methods.regrowth import Allocated, RegrowParams, min_steps, regrow_train
from autoprune.stages.base import Stage


def plan(request: PlanRequest) -> tuple[Stage, ...]:
    """Draw a random mask, train it with updates."""
    return regrow_train(request, "random")


SET = Method(
    name="set",
    kind="weights",
    start="scratch",
    reference="Mocanu et al., Nature Communications 9:2383 (2018), arXiv 1707.04780",
    params=RegrowParams,
    plan=plan,
    min_steps=min_steps,
    regrows=True,
    space={"allocation": Allocated, "drop_fraction": {"low": 0.1, "high": 0.5}},
)
