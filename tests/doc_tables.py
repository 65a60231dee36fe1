"""The tables of README and docs that are made from the registries: python -m tests.doc_tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any

from autoprune.core.config import RecipeConfig, TaskConfig, TrainConfig
from autoprune.methods.base import METHODS, Method
from autoprune.space.space import Fidelity, Targets
from autoprune.training.registry import LR_SCHEDULES

REMOVES = {"weights": "single weights", "units": "whole units", "low_rank": "rank"}
STARTS = {"dense": "the dense net", "scratch": "fresh weights"}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _defaults(kind: type) -> str:
    shown = [f"`{f.name}: {_word(f.default)}`" for f in fields(kind) if f.default is not MISSING]
    return ", ".join(shown) or "none"


def _word(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def methods() -> str:
    """Name, kind, start and paper of every method."""
    found = [METHODS.get(name) for name in METHODS]
    rows = [
        (f"`{m.name}`", REMOVES[m.kind], STARTS[m.start], _source(m)) for m in found if m.listed
    ]
    return _table(("method", "removes", "starts from", "paper"), rows)


def _source(method: Method) -> str:
    return f"{method.reference}{' (a reconstruction)' if method.reconstruction else ''}"


def method_parameters() -> str:
    """Parameters and defaults of every method."""
    found = [METHODS.get(name) for name in METHODS]
    rows = [(f"`{m.name}`", _defaults(m.params)) for m in found if m.listed]
    return _table(("method", "parameters and defaults"), rows)


def schedules() -> str:
    """Parameters and defaults of every learning-rate schedule."""
    rows = [(f"`{name}`", _defaults(LR_SCHEDULES.get(name))) for name in LR_SCHEDULES]
    return _table(("schedule", "parameters and defaults"), rows)


def sections() -> str:
    """Keys and defaults of the fixed sections of a space."""
    kinds = {
        "task": TaskConfig,
        "train": TrainConfig,
        "targets": Targets,
        "fidelity": Fidelity,
        "recipe": RecipeConfig,
    }
    return _table(
        ("section", "keys and defaults"), ((f"`{k}`", _defaults(v)) for k, v in kinds.items())
    )


if __name__ == "__main__":
    for table in (methods, method_parameters, schedules, sections):
        print(table(), end="\n\n")  # noqa: T201
