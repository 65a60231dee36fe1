"""`autoprune ui` and `sync`."""

from __future__ import annotations

from typing import Annotated

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("ui", rich_help_panel="Look")(ui)
    app.command("sync", rich_help_panel="Work")(sync)


def ui(
    home: options.Home = options.HOME,
    port: Annotated[int, typer.Option("--port")] = 5000,
    host: Annotated[str, typer.Option("--host")] = "127.0.0.1",
) -> None:
    """Open MLflow's UI on the home's own store."""
    from autoprune.tracking.ui import serve

    serve(home, host, port)


def sync(
    study: Annotated[str | None, typer.Argument(help="A study; all of them by default.")] = None,
    home: options.Home = options.HOME,
    tracking_uri: Annotated[str | None, typer.Option("--tracking-uri")] = None,
    json: options.Json = False,
) -> None:
    """Copy journals to MLflow again, after an outage or to another server."""
    from autoprune.cli.experiments import answered, sync_answer
    from autoprune.cli.mirror import sync_study
    from autoprune.search.study import list_names

    answers = answered(home) if study is None else [n for n in answered(home) if n == study]
    names = list_names(home) if study is None else [] if answers else [study]
    rows = [{"study": name, **sync_study(home, name, tracking_uri, show)} for name in names]
    rows += [{"study": name, **sync_answer(home, name, tracking_uri)} for name in answers]
    for row in rows:
        show(f"{row['study']}: run {row['run_id']} in {row['tracking_uri']}")
    if not rows:
        show(f"no studies in {home}")
    emit(rows, as_json=json)
