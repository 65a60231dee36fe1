"""Printing: JSON to standard output, everything else to standard error."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Return the console people read: standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def show(*renderables: Any) -> None:
    """Show something to a person."""
    printer = console()
    for renderable in renderables:
        printer.print(renderable)


def show_line(text: str) -> None:
    """Show one line as it is, however long: for logs."""
    console().print(text, soft_wrap=True, markup=False)


def emit(value: Any, *, as_json: bool) -> None:
    """Print a value as one line of JSON, if asked to."""
    if as_json:
        sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
        sys.stdout.flush()
