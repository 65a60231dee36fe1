"""Where the arms meet: one space, one budget, one set of rungs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from autoprune.space import Space
from autoprune.space.grammar import load_space, parse_space


@dataclass(frozen=True)
class Setting:
    """What is searched, and for how long.

    Parameters
    ----------
    name : str
        A shipped space, of which the methods that remove single weights are kept.
    epochs : float
        An arm goes on until it was charged so many.
    data_dir : str or None
        The only folder to look for data in.
    methods : tuple of str
        Only these, when there are any.
    rungs : tuple of int
        In place of the space's, when there are any.
    dense_epochs : int or None
        In place of the space's.
    """

    name: str = "fashion_mnist"
    epochs: float = 540.0
    data_dir: str | None = None
    methods: tuple[str, ...] = ()
    rungs: tuple[int, ...] = ()
    dense_epochs: int | None = None

    def space(self) -> Space:
        """Return the space."""
        shipped = load_space(self.name)
        raw = dict(shipped.raw)
        raw["method"] = {
            name: content
            for name, content in shipped.raw["method"].items()
            if shipped.kind(shipped.middle(name)) == "weights"
            and (not self.methods or name in self.methods)
        }
        if self.rungs:
            raw["fidelity"] = {"epochs": list(self.rungs)}
        if self.dense_epochs is not None:
            raw["train"] = {**shipped.raw["train"], "epochs": self.dense_epochs}
        space = parse_space(raw, self.name)
        return space.with_task(replace(space.task, data_dir=self.data_dir))


def quick(epochs: float = 24.0) -> Setting:
    """Return what a test can afford; it says nothing about any arm."""
    methods = ("magnitude", "random", "imp", "snip")
    return Setting("digits", epochs, methods=methods, rungs=(1, 3), dense_epochs=3)


DATA = Path("benchmarks/data/rivals")
