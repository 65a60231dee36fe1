"""Mean activation: units that hardly speak can go."""

from __future__ import annotations

from typing import ClassVar, Literal

from autoprune.pruning.scores.units import drawn
from autoprune.pruning.view import ModelView, Scores, Signal

SIGNALS = {
    "minimum": Signal.ACTIVATION,
    "maximum": Signal.ACTIVATION,
    "apoz": Signal.ZERO_SHARE,
    "oracle": Signal.REMOVAL_ORDER,
}


class MeanActivation:
    """Scores a unit by its mean absolute post-activation over training images, or a comparator.

    Parameters
    ----------
    metric : str
        ``minimum``: the quietest units score lowest; ``maximum``: the loudest; ``random``: any;
        ``apoz``: those that are zero most often; ``oracle``: those whose removal, unit by unit and
        without training, raises the training loss least.

    Notes
    -----
    Mean over images, positions and consumers; see `autoprune.pruning.signals.activation` for where
    it is measured, which deviates from the paper (card dropnet, c).

    References
    ----------
    .. [1] J. Tan Chong Min, M. Motani, "DropNet: Reducing Neural Network Complexity via Iterative
       Pruning", ICML 2020, PMLR 119.
    """

    reference: ClassVar[str] = "Tan & Motani, ICML 2020"
    of_units: ClassVar[bool] = True

    def __init__(
        self, metric: Literal["minimum", "maximum", "random", "apoz", "oracle"] = "minimum"
    ) -> None:
        self.metric = metric

    @property
    def needs(self) -> frozenset[Signal]:
        """What the metric is read from."""
        return frozenset({SIGNALS[self.metric]} if self.metric in SIGNALS else ())

    @property
    def cheap(self) -> bool:
        """Only draws are."""
        return not self.needs

    @property
    def passes(self) -> int:
        """One; those of the oracle, one for every unit tried, are not counted."""
        return len(self.needs)

    def __call__(self, view: ModelView) -> Scores:
        """Return one vector per unit group."""
        if self.metric == "random":
            return drawn(view)
        found = view.signals[SIGNALS[self.metric]]
        sign = -1.0 if self.metric in ("maximum", "apoz") else 1.0
        return {group.name: sign * found[group.name] for group in view.groups}
