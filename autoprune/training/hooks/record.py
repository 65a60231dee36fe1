"""Record the learning rate of every step."""

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
