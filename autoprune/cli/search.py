"""`autoprune search`: the product."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import console, emit, show

if TYPE_CHECKING:
    from autoprune.search.session import Session


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search", rich_help_panel="Work")(search)


def search(
    space: Annotated[str, typer.Argument(help="A space file, or a shipped name.")] = "digits",
    budget: Annotated[
        str, typer.Option("--budget", help="100 (search jobs), 500ep, 30m or 2h.")
    ] = "100",
    seed: options.Seed = 0,
    workers: Annotated[int | None, typer.Option("--workers", help="Jobs that run at once.")] = None,
    device: options.Device = "auto",
    gpus_per_job: Annotated[float, typer.Option("--gpus-per-job")] = 1.0,
    executor: Annotated[str | None, typer.Option("--executor", help="ray or inline.")] = None,
    ray_address: Annotated[str | None, typer.Option("--ray-address")] = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="contextual, moasha or full.")
    ] = "contextual",
    sampler: Annotated[
        str, typer.Option("--sampler", help="forest, tpe, random or grid.")
    ] = "forest",
    objectives: Annotated[
        str | None,
        typer.Option("--objectives", help="accuracy,sparsity[,macs,latency_ms,size_bytes]"),
    ] = None,
    confirm_seeds: Annotated[int, typer.Option("--confirm-seeds")] = 3,
    home: options.Home = options.HOME,
    name: Annotated[str | None, typer.Option("--name", help="The study's name.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the study stopped.")
    ] = False,
    tracking_uri: Annotated[str | None, typer.Option("--tracking-uri")] = None,
    data_dir: options.DataDir = None,
    task: options.TaskFile = None,
    checkpoint: options.Checkpoint = None,
    max_drop: options.MaxDrop = None,
    max_macs: options.MaxMacs = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Forecast, show five sample trials, and stop.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Search, confirm the front on fresh seeds, and say what to type next."""
    from autoprune.cli import parse
    from autoprune.core.errors import ConfigError
    from autoprune.search.engine import SearchOptions
    from autoprune.search.pick import Limits
    from autoprune.search.session import SearchRequest, Session

    if executor not in {None, "ray", "inline"}:
        raise ConfigError("--executor", "must be ray or inline", executor)
    limits = Limits(
        max_drop=parse.share(max_drop, "--max-drop"), max_macs=parse.share(max_macs, "--max-macs")
    )
    request = SearchRequest(
        space=space,
        options=SearchOptions(
            budget=budget,
            strategy=strategy,
            sampler=sampler,
            confirm_seeds=confirm_seeds,
            device=parse.device(device),
        ),
        seed=seed,
        home=home,
        name=name,
        resume=resume,
        task_file=task,
        checkpoint=checkpoint,
        data_dir=data_dir,
        objectives=None if objectives is None else tuple(objectives.split(",")),
        executor=executor,  # type: ignore[arg-type] # checked above
        ray_address=ray_address,
        workers=workers,
        gpus_per_job=gpus_per_job,
    )
    with Session(request) as session:
        if dry_run:
            emit(_dry_run(session), as_json=json)
            return
        if not session.finished:
            _run(session, tracking_uri)
        summary = session.summary()
    summary["mlflow"] = _mirror_ids(session, tracking_uri)
    _conclude(summary, limits)
    emit(summary, as_json=json)


def _forecast(session: Session) -> dict[str, Any]:
    from dataclasses import asdict

    from autoprune.search.forecast import describe, forecast

    request = session.request
    phases = forecast(
        session.space, session.info, request.options, workers=request.num_workers, seed=request.seed
    )
    return {
        "study": session.name,
        "task": session.space.task.task_file
        or f"{session.space.task.data} / {session.space.task.model}",
        "budget": describe(request.options.budget),
        "workers": f"{request.num_workers} on {request.options.device}, {session.settings.threads} thread(s) each",
        "epochs_expected": sum(phase.epochs for phase in phases),
        "phases": [
            {key: value for key, value in asdict(phase).items() if value is not None}
            for phase in phases
        ],
    }


def _dry_run(session: Session) -> dict[str, Any]:
    from autoprune.report.tables import forecast_table
    from autoprune.search.forecast import samples

    if session.finished:
        show(f"study {session.name!r} is complete; nothing is left to run")
        return {"study": session.name, "status": "complete"}
    found = _forecast(session)
    drawn = samples(session.space, session.request.seed)
    show(forecast_table(found), "five of the trials it might run:")
    for config in drawn:
        params = ", ".join(f"{k} {v}" for k, v in config["params"].items())
        show(
            f"  {config['method']} ({params}) at {config['sparsity']:.1%}, lr {config['lr']['name']}"
        )
    return {**found, "samples": drawn}


def _run(session: Session, tracking_uri: str | None) -> None:
    from autoprune.cli.mirror import mirrored
    from autoprune.cli.watch import Watcher
    from autoprune.report.live import LiveProgress
    from autoprune.report.tables import forecast_table

    for warning in session.info.warnings:
        show(f"note: {warning}")
    show(forecast_table(_forecast(session)))
    engine = session.open()
    unit = {"jobs": "jobs", "epochs": "ep", "seconds": "s"}[engine.budget.unit]
    printer = console()
    with ExitStack() as stack:
        mirror = stack.enter_context(mirrored(session.request.home, session.name, tracking_uri))
        live = stack.enter_context(
            LiveProgress(printer, engine.budget.amount, unit, say=lambda text: printer.print(text))
        )
        engine.journal.listeners += [mirror, Watcher(engine, live.update)]
        session.run()


def _mirror_ids(session: Session, tracking_uri: str | None) -> dict[str, Any]:
    from autoprune.cli.mirror import sync_studies

    rows = sync_studies(session.request.home, session.name, tracking_uri)
    return {key: value for key, value in rows[0].items() if key != "study"} if rows else {}


def _conclude(summary: dict[str, Any], limits: Any) -> None:
    from autoprune.report.tables import front_table, profile_table
    from autoprune.report.verdict import comparisons, conclusion
    from autoprune.search.pick import pick

    show(front_table(summary), profile_table(summary))
    for comparison in comparisons(summary):
        show(comparison.text)
    show(conclusion(summary))
    study, home = summary["study"], summary["home"]
    at = "" if Path(home) == options.HOME else f" --home {home}"
    if summary["front"]:
        chosen = pick(summary["front"], summary["dense"], limits)
        show(
            f"pick: {chosen['trial']} ({chosen['method']}, sparsity {chosen['sparsity']:.1%}); next:",
            f"  autoprune export {study} --trial {chosen['trial']} --out {study}-{chosen['trial']}{at}",
            f"  autoprune front {study} --plot {study}.html{at}",
            f"  autoprune ui{at}",
        )
