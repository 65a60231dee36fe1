"""Snapshots of one training run, taken while it goes on and read one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from autoprune.stages.base import RunContext, Stage

if TYPE_CHECKING:
    from autoprune.stages.state import TrialState
    from autoprune.training.events import Event, LoopState


def shares_of(every: float, count: int) -> tuple[float, ...]:
    """Return the first `count` multiples of a share of a run."""
    return tuple(round(every * k, 6) for k in range(1, count + 1))


class KeepSnapshots:
    """Keeps a dense run's whole state at a grid of shares of it (a hook); it changes nothing.

    Parameters
    ----------
    every : float
        Share of the run between two snapshots.
    count : int
        Snapshots, the first after `every`.
    """

    def __init__(self, every: float, count: int) -> None:
        self.shares = shares_of(every, count)
        self.images = 0

    def on(self, event: Event, loop: LoopState) -> None:
        """Copy the model's tensors after the last step of each share."""
        import torch

        from autoprune.training.events import Event

        if event is not Event.AFTER_STEP:
            return
        self.images += len(loop.targets)
        for number, share in enumerate(self.shares, start=1):
            if loop.step == max(1, round(loop.num_steps * share)):
                state = loop.model.state_dict()
                loop.extra |= {f"{number}/{n}": v.detach().clone() for n, v in state.items()}
                loop.extra[f"{number}:images"] = torch.tensor(self.images)


@dataclass(frozen=True)
class Snapshot(Stage):
    """Take one snapshot out of the dense run that kept it.

    Parameters
    ----------
    parents : tuple of Stage
        The run, with `KeepSnapshots` among its hooks.
    number : int
        Which one, from 1.
    """

    kind: ClassVar[str] = "snapshot"

    number: int

    @property
    def cheap(self) -> bool:
        """They lie in the run's own file."""
        return True

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Return the state that training had reached, with what it had cost."""
        run, start = inputs[0], f"{self.number}/"
        tensors = run.tensors
        images = int(tensors[f"{self.number}:images"])
        macs = float(sum(layer.macs for layer in context.task.info.layers))
        return replace(
            run,
            weights={n.removeprefix(start): v for n, v in tensors.items() if n.startswith(start)},
            tensors={},
            log={"train_macs": 3.0 * images * macs, "status": "ok"},
        )
