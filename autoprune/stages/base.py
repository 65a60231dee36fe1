"""Stages: the nodes of a plan. Done before, then free.

A stage is a frozen value: its parents, and the configuration fields it reads. Its key is a hash
of those, the parents' keys, the seed, the data, the numerics and the package's sources, so equal
work has an equal key wherever it stands, and unequal work never does. This module imports no
torch: a search driver plans, hashes and counts epochs without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

from autoprune.core.canonical import digest, plain

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autoprune.pruning.view import UnitGroup
    from autoprune.stages.state import TrialState
    from autoprune.training.task import Task

StageKey = str


@dataclass(frozen=True)
class Numerics:
    """What decides the bits of a result besides the configuration.

    Same key, same bits holds within one of these.
    """

    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    torch: str = ""


@dataclass(frozen=True)
class KeyContext:
    """What every stage key of a study shares."""

    fingerprint: str
    numerics: Numerics
    sources: str
    task_sha256: str | None = None

    @cached_property
    def salt(self) -> str:
        """Hash of the shared part."""
        return digest([self.fingerprint, plain(self.numerics), self.sources, self.task_sha256])


class RunContext(Protocol):
    """What a running stage may use."""

    @property
    def task(self) -> Task:
        """The loaded task."""
        ...

    @property
    def numerics(self) -> Numerics:
        """Device, precision and threads."""
        ...

    @property
    def model(self) -> nn.Module:
        """The worker's one model instance; a stage loads its weights into it."""
        ...

    @property
    def groups(self) -> tuple[UnitGroup, ...]:
        """The model's removable units."""
        ...

    def second_model(self, weights: Mapping[str, Tensor]) -> nn.Module:
        """Return a frozen second instance in eval mode: a teacher."""
        ...


@dataclass(frozen=True)
class Stage:
    """One node of a plan.

    Subclasses are frozen dataclasses that set `kind` and implement `run`; every field but
    `parents` enters the key, so a field that does not change the result must not be one.

    Attributes
    ----------
    kind : str
        Names the stage in records; part of the key.
    """

    parents: tuple[Stage, ...] = field(default=(), kw_only=True, repr=False)

    kind: ClassVar[str] = ""

    @property
    def cheap(self) -> bool:
        """Whether running it again costs less than storing it (a mask from stored scores)."""
        return False

    @property
    def epochs(self) -> float:
        """Training epochs that running this stage costs."""
        return 0.0

    @property
    def open_ended(self) -> bool:
        """Whether `epochs` is only the most it can cost; `spent` then says what it did."""
        return False

    def spent(self, state: TrialState) -> float:
        """Return the training epochs that running this stage to its state cost."""
        return self.epochs

    def key(self, context: KeyContext) -> StageKey:
        """Return the stage's content key."""
        memo: dict[str, StageKey] = self.__dict__.setdefault("_keys", {})
        if context.salt not in memo:
            content = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parents"}
            parents = [parent.key(context) for parent in self.parents]
            memo[context.salt] = digest([self.kind, content, parents, context.salt])
        return memo[context.salt]

    def run(self, inputs: Sequence[TrialState], context: RunContext) -> TrialState:
        """Compute the stage from its parents' states.

        Parameters
        ----------
        inputs : sequence of TrialState
            The parents' states, in the order of `parents`; they are shared, never edited.
        """
        raise NotImplementedError


def closure(stage: Stage) -> list[Stage]:
    """Return a stage and everything it rests on, parents first, each once (by identity)."""
    seen: dict[int, Stage] = {}

    def visit(node: Stage) -> None:
        if id(node) in seen:
            return
        for parent in node.parents:
            visit(parent)
        seen[id(node)] = node

    visit(stage)
    return list(seen.values())
