"""Record what a run did: the learning rate of every step, and the multiply-adds it took."""

from __future__ import annotations

from autoprune.training.events import Event, LoopState


class RecordLR:
    """Collect the learning rates that were used, one per optimiser step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on(self, event: Event, loop: LoopState) -> None:
        """Append the step's learning rate."""
        if event is Event.AFTER_STEP:
            self.values.append(loop.lr)


class RecordCost:
    """Count the multiply-adds that training takes where zeros cost nothing.

    Attributes
    ----------
    macs : float
        Multiply-adds so far, over all images and steps.

    Notes
    -----
    Per image ``3 f_S``: one forward and two backward products through what the masks keep; where
    a step needs the gradient of masked weights, too, ``2 f_S + f_D`` (card rigl, FLOP accounting,
    halved). Layers that exist during training only count in full. Norms, losses and what a score
    pass costs are left out.

    References
    ----------
    .. [1] U. Evci, T. Gale, J. Menick, P. S. Castro, E. Elsen, "Rigging the Lottery: Making All
       Tickets Winners", ICML 2020, arXiv 1911.11134, appendix H.
    """

    def __init__(self) -> None:
        self.macs = 0.0
        self._version = -1
        self._sparse = self._dense = self._ghosts = 0.0

    def on(self, event: Event, loop: LoopState) -> None:
        """Look at the masks before a step, add up after it."""
        if event is Event.BEFORE_LOSS:
            self._look(loop)
        elif event is Event.AFTER_STEP:
            weights = self._dense if loop.dense_gradient else self._sparse
            self.macs += len(loop.targets) * (2 * self._sparse + weights + 3 * self._ghosts)

    def _look(self, loop: LoopState) -> None:
        self._ghosts = loop.ghost_macs
        if self._version == loop.mask_version:
            return
        self._version = loop.mask_version
        self._dense = float(sum(loop.layer_macs.values()))
        self._sparse = sum(
            macs * (float(loop.masks[name].float().mean()) if name in loop.masks else 1.0)
            for name, macs in loop.layer_macs.items()
        )
