"""`autoprune run`: one trial, no search."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show

if TYPE_CHECKING:
    from autoprune.core.config import TrialConfig
    from autoprune.core.records import JobResult

_NEAR = 0.005
"""From this distance to the sparsity asked for on, the difference is told."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run", rich_help_panel="Work")(run)


def run(
    method: Annotated[
        str, typer.Option("--method", help="Pruning method (autoprune list methods).")
    ],
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", help="Share of prunable weights to remove.")
    ] = None,
    macs: Annotated[
        str | None, typer.Option("--macs", help="Share of the dense MACs to keep, instead.")
    ] = None,
    data: options.Data = None,
    model: options.Model = None,
    task: options.TaskFile = None,
    checkpoint: options.Checkpoint = None,
    lr: Annotated[str | None, typer.Option("--lr", help="Learning-rate schedule.")] = None,
    allocation: Annotated[str | None, typer.Option("--allocation", help="Layerwise rule.")] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Retraining epochs over all rounds.")
    ] = None,
    seed: options.Seed = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Further settings: rounds=5, lr.peak=0.1, recipe.mixup=0.2."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Export the result here.")] = None,
    device: options.Device = "auto",
    home: options.Home = options.HOME,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Train, prune and retrain once; every stage is kept in the store and reused."""
    from autoprune.cli import parse
    from autoprune.core.errors import ConfigError
    from autoprune.search.single import SingleRun, build_config

    removed = parse.share(sparsity, "--sparsity", below_one=True)
    kept = parse.share(macs, "--macs")
    if (removed is None) == (kept is None):
        raise ConfigError("run", "needs either --sparsity or --macs", remedy="give one of them")
    if kept == 0.0:
        raise ConfigError("--macs", "must be a share in (0, 1], such as 50% or 0.5", macs)
    if task is not None and (data, model) != (None, None):
        raise ConfigError("run", "takes --task or --data and --model, not both", remedy="drop one")
    given = {
        "method": method,
        "data": data,
        "model": model,
        "task_file": task,
        "checkpoint": checkpoint,
        "data_dir": data_dir,
        "lr": lr,
        "allocation": allocation,
        "sparsity": removed if removed is not None else 1.0 - (kept or 0.0),
        "of": "weights" if removed is not None else "macs",
    }
    config, top = build_config(given, parse.settings(set_ or []))
    single = SingleRun(config, epochs or top, home=home, device=parse.device(device), seed=seed)
    if out is not None:
        from autoprune.export.folder import FORMATS, check_request

        check_request(out, FORMATS, single.job(epochs or 1))  # before anything is trained
    single.check(epochs)
    show(_opening(config, epochs or single.epochs, single.context.task.info.pretrained))
    result = single.run(epochs)
    entry = single.entry(result)
    _tell(entry, result, config)
    if out is not None:
        from autoprune.export.folder import export_job

        report = export_job(single.job(epochs, test=True), single.context, out)
        show(f"exported to {report.path}")
    emit(entry, as_json=json)


def _opening(config: TrialConfig, epochs: int, pretrained: bool) -> str:
    """Say what is trained; a method that starts from scratch trains the dense epochs, too."""
    from autoprune.methods.base import METHODS

    task = config.task.task_file or f"{config.task.data} / {config.task.model}"
    what = "weights" if config.of == "weights" else "MACs"
    length = f"{epochs} epochs"
    if METHODS.get(config.method).start == "scratch":
        length = f"{epochs + config.train.epochs} epochs from fresh weights"
        length += ", the given ones are not used" if pretrained else ""
    return f"{config.method} removes {config.sparsity:.1%} of the {what} on {task}, {length}"


def _tell(entry: dict[str, Any], result: JobResult, config: TrialConfig) -> None:
    from autoprune.report.tables import trial_table

    show(trial_table(entry))
    reached = entry["sparsity"]
    if config.of == "weights" and abs(reached - config.sparsity) > _NEAR:
        grain = str(config.params.get("granularity", "weight"))
        within = "" if grain == "weight" else f" with granularity {grain}"
        show(
            f"note: {config.sparsity:.1%} was asked for; {reached:.1%} is as near as "
            f"{config.method}{within} comes on this model"
        )
    if result.status != "ok":
        show(f"status: {result.status}")
