"""The command `autoprune`: what is typed, and how failures are told.

Exit codes: 0 done, 1 failed, 2 bad input. An error is one message on standard error, no traceback.
Commands live one or a few to a module and import what is heavy when they run.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from autoprune.cli import export, inspect, listing, oracle, run, search, serve, studies, sweep
from autoprune.core.errors import AutoPruneError, BadInput

app = typer.Typer(
    name="autoprune",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(given: bool) -> None:
    if given:
        print(f"autoprune {version('autoprune')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """Search over ways to prune a network, confirm the best, export what provably works."""


for module in (search, run, oracle, sweep, studies, export, listing, inspect, serve):
    module.register(app)


def main() -> None:
    """Run the command line, and turn errors into messages and exit codes."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        app(prog_name="autoprune")
    except BadInput as error:
        sys.exit(_tell(error, 2))
    except AutoPruneError as error:
        sys.exit(_tell(error, 1))


def _tell(error: Exception, code: int) -> int:
    print(f"autoprune: {error}", file=sys.stderr)
    return code
