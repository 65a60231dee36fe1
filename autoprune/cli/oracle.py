"""`autoprune oracle`: each cycle's best peak learning rate by exhaustive search, against SILO."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show

if TYPE_CHECKING:
    from autoprune.experiments.oracle import OracleDesign


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("oracle", rich_help_panel="Work")(oracle)


def oracle(
    data: options.Data = None,
    model: options.Model = None,
    task: options.TaskFile = None,
    checkpoint: options.Checkpoint = None,
    cycles: Annotated[int, typer.Option("--cycles", help="Prune-retrain cycles.")] = 6,
    share: Annotated[
        str, typer.Option("--share", help="Share of the remaining weights a cycle removes.")
    ] = "20%",
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", help="Sparsity of the last cycle, in place of it.")
    ] = None,
    peaks: Annotated[
        str, typer.Option("--peaks", help="Number of candidates, or the candidates: 0.01,0.1.")
    ] = "12",
    low: Annotated[float, typer.Option("--low", help="Least candidate of a numbered grid.")] = 1e-3,
    high: Annotated[float, typer.Option("--high", help="Greatest candidate of it.")] = 3e-1,
    seeds: Annotated[int, typer.Option("--seeds", help="Replicates.")] = 3,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Epochs of one cycle (a third of the top rung).")
    ] = None,
    tolerance: Annotated[
        str, typer.Option("--tolerance", help="How near the best is as good: 0.5% or 0.005.")
    ] = "0.5%",
    set_: options.Settings = None,
    seed: options.Seed = 0,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write the picture (.png).")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every number (.csv).")] = None,
    workers: options.Workers = None,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    device: options.Device = "auto",
    gpus_per_job: options.GpusPerJob = 1.0,
    home: options.Home = options.HOME,
    name: options.Name = None,
    resume: options.Again = False,
    tracking_uri: options.TrackingUri = None,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Find each cycle's best peak by trying them all, and see how near SILO comes.

    The same command after an interruption goes on where it stopped.
    """
    from autoprune.cli import parse
    from autoprune.cli.experiments import Files, ask, check_seeds
    from autoprune.core.errors import ConfigError
    from autoprune.report import oracle as report
    from autoprune.report.oracle_picture import oracle_picture

    if cycles < 1:
        raise ConfigError("--cycles", "must be at least 1", cycles)
    given = {
        "data": data,
        "model": model,
        "task_file": task,
        "checkpoint": checkpoint,
        "data_dir": data_dir,
        "method": "imp",
        "lr": "silo",
        "allocation": None,
        "sparsity": _last_sparsity(cycles, share, sparsity),
        "of": "weights",
    }
    design = _design(
        given,
        {"rounds": cycles, **parse.settings(set_ or [])},
        _peaks(peaks, low, high),
        check_seeds(seed, seeds),
        epochs,
        parse.share(tolerance, "--tolerance", below_one=True) or 0.0,
    )
    answer = ask(
        design,
        parse.workers(executor, ray_address, workers, device, gpus_per_job),
        Files(
            {"picture.png": oracle_picture, "results.csv": report.oracle_csv},
            {"picture.png": plot, "results.csv": csv},
            report.oracle_words,
        ),
        home=home,
        name=name,
        tracking_uri=tracking_uri,
    )
    show(report.oracle_table(answer), report.schedules_table(answer), *answer["words"])
    emit(answer, as_json=json)


def _last_sparsity(cycles: int, share: str, sparsity: str | None) -> float:
    from autoprune.cli import parse
    from autoprune.core.errors import ConfigError

    if sparsity is not None:
        return parse.share(sparsity, "--sparsity", below_one=True) or 0.0
    each = parse.share(share, "--share", below_one=True) or 0.0
    if each == 0.0:
        raise ConfigError("--share", "must be in (0, 1)", share)
    return 1.0 - (1.0 - each) ** cycles


def _peaks(text: str, low: float, high: float) -> tuple[float, ...]:
    """Read a number of candidates, or the candidates themselves."""
    from autoprune.core.errors import ConfigError
    from autoprune.experiments.grid import log_grid

    if text.lstrip("-").isdigit():
        return log_grid(low, high, int(text))
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        rule = "must be a number of candidates, or learning rates separated by commas"
        raise ConfigError("--peaks", rule, text) from None


def _design(
    given: dict[str, Any],
    settings: dict[str, Any],
    peaks: tuple[float, ...],
    seeds: tuple[int, ...],
    epochs: int | None,
    tolerance: float,
) -> OracleDesign:
    from autoprune.experiments.grid import OracleOptions
    from autoprune.experiments.oracle import OracleDesign
    from autoprune.search.single import build_config

    base, top = build_config(given, settings)
    each = max(1, top // 3) if epochs is None else epochs
    return OracleDesign(OracleOptions(base, peaks, seeds, each, tolerance))
