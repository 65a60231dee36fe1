"""`autoprune list`: what there is, read from the registries."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show

KINDS = (
    "methods",
    "scores",
    "allocations",
    "schedules",
    "lr",
    "recipes",
    "models",
    "data",
    "spaces",
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list", rich_help_panel="Look")(list_)


def list_(
    what: Annotated[str, typer.Argument(help=" | ".join(KINDS))],
    json: options.Json = False,
) -> None:
    """List what can be named in a space or on the command line, with its source."""
    from autoprune.core.errors import unknown_name

    if what not in KINDS:
        raise unknown_name("list", "kind of thing", what, KINDS)
    rows = _rows(what)
    from autoprune.report.tables import list_table

    show(list_table(rows))
    emit(rows, as_json=json)


def _rows(what: str) -> list[dict[str, Any]]:
    if what == "methods":
        return _methods()
    if what == "spaces":
        from autoprune.space.files import list_spaces
        from autoprune.space.grammar import load_space

        names = list_spaces()
        tasks = {name: load_space(name).task for name in names}
        return [
            {"name": n, "reference": f"{tasks[n].data} / {tasks[n].model}", "kind": "space"}
            for n in names
        ]
    return [_row(name, thing, what) for name, thing in _registry(what)]


def _registry(what: str) -> list[tuple[str, Any]]:
    from autoprune.data.registry import DATA
    from autoprune.models.registry import MODELS
    from autoprune.pruning.registry import ALLOCATIONS, SCORES, SPARSITY_SCHEDULES
    from autoprune.training.registry import LR_SCHEDULES, RECIPES

    registry: Any = {
        "scores": SCORES,
        "allocations": ALLOCATIONS,
        "schedules": SPARSITY_SCHEDULES,
        "lr": LR_SCHEDULES,
        "recipes": RECIPES,
        "models": MODELS,
        "data": DATA,
    }[what]
    return [(name, registry.get(name)) for name in registry]


def _methods() -> list[dict[str, Any]]:
    from autoprune.methods.base import METHODS

    methods = [METHODS.get(name) for name in METHODS]
    return [
        {
            "name": m.name,
            "reference": m.reference + (" (a reconstruction)" if m.reconstruction else ""),
            "kind": m.kind,
            "start": m.start,
        }
        for m in methods
        if m.listed
    ]


def _row(name: str, thing: Any, kind: str) -> dict[str, Any]:
    """Take the reference an entry declares, else the first line of its module's docstring."""
    import sys

    module = sys.modules.get(getattr(thing, "__module__", ""), None)
    lines = ((module.__doc__ if module else None) or "").strip().splitlines()
    reference = getattr(thing, "reference", None) or (lines[0] if lines else "")
    return {"name": name, "reference": str(reference), "kind": str(getattr(thing, "kind", kind))}
