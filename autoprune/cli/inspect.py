"""`autoprune replay` and `doctor`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show, show_line


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("replay", rich_help_panel="Use")(replay)
    app.command("doctor", rich_help_panel="Look")(doctor)


def replay(
    trial: Annotated[str, typer.Argument(help="Name of a trial, or how it starts.")],
    study: Annotated[str | None, typer.Option("--study", help="Where to look for it.")] = None,
    home: options.Home = options.HOME,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Train one point again from nothing, and state how far it is from what was recorded."""
    from autoprune.search.replay import replay_trial

    found = replay_trial(home, trial, study=study, data_dir=data_dir)
    recorded, rebuilt = found["recorded"], found["rebuilt"]
    same = {True: "identical", False: "different", None: "not recorded for a round"}
    for line in (
        f"trial {found['trial']} of study {found['study']}, seed {found['seed']}, "
        f"{found['epochs']} epochs",
        f"  validation accuracy: recorded {recorded['val_accuracy']:.4f}, "
        f"rebuilt {rebuilt['val_accuracy']:.4f}, deviation {found['deviation']:+.4f}",
        f"  masks: {same[found['same_masks']]}",
        f"  {found['explanation']}",
    ):
        show_line(line)
    emit(found, as_json=json)


def doctor(
    task: options.TaskFile = None,
    data: Annotated[str, typer.Option("--data", help="Data set to look for.")] = "digits",
    model: Annotated[str, typer.Option("--model", help="Model to look at.")] = "mlp",
    checkpoint: options.Checkpoint = None,
    device: options.Device = "auto",
    home: options.Home = options.HOME,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Check machine, versions, data and model before any compute is spent."""
    from autoprune.cli import parse
    from autoprune.core.config import TaskConfig
    from autoprune.data.taskfile import identify
    from autoprune.report.tables import doctor_tables
    from autoprune.training.doctor import examine

    config = TaskConfig(
        data=data,
        model=model,
        task_file=None if task is None else str(task),
        checkpoint=None if checkpoint is None else str(checkpoint),
        data_dir=None if data_dir is None else str(data_dir),
    )
    found: dict[str, Any] = examine(identify(config), home, parse.device(device), latency=True)
    show(*doctor_tables(found))
    emit(found, as_json=json)
