"""`autoprune front`, `studies` and `rm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show

Name = Annotated[str, typer.Argument(help="Name of a study.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("front", rich_help_panel="Look")(front)
    app.command("studies", rich_help_panel="Look")(studies)
    app.command("rm", rich_help_panel="Work")(remove)


def front(
    study: Name,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="Write the front to a .html or .png file.")
    ] = None,
    home: options.Home = options.HOME,
    json: options.Json = False,
) -> None:
    """Show a study's front: confirmed, or as it stands."""
    from autoprune.report.tables import front_table, profile_table
    from autoprune.search.session import load_summary

    if plot is not None:
        from autoprune.report.files import check_plot, write_plot

        check_plot(plot)
    summary = load_summary(home, study)
    show(front_table(summary), profile_table(summary))
    if plot is not None:
        show(f"written: {write_plot(summary, plot)}")
    content = {key: summary[key] for key in ("study", "front", "profile")}
    emit(content, as_json=json)


def studies(home: options.Home = options.HOME, json: options.Json = False) -> None:
    """List the studies of a home, with their state and disk use."""
    from autoprune.experiments.session import list_experiments
    from autoprune.report.tables import studies_table
    from autoprune.search.study import list_studies

    rows = [*list_studies(home), *list_experiments(home)]
    show(studies_table(rows))
    emit(rows, as_json=json)


def remove(
    study: Name,
    home: options.Home = options.HOME,
    json: options.Json = False,
) -> None:
    """Delete a study; stages that other studies may share stay in the store until it is full."""
    from autoprune.experiments.session import experiment_folder
    from autoprune.search.study import remove_folder, remove_study, study_folder

    ready_made = experiment_folder(home, study)
    if ready_made is None or study_folder(home, study).is_dir():
        freed = remove_study(home, study)
    else:
        freed = remove_folder(ready_made)
    show(f"deleted study {study!r} ({freed / 1e6:.1f} MB)")
    emit({"study": study, "freed_bytes": freed}, as_json=json)
