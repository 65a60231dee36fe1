"""`autoprune search`: the product."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import console, emit, show, show_line
from autoprune.search.signals import terminable

if TYPE_CHECKING:
    from autoprune.search.pick import Limits
    from autoprune.search.session import Session
    from autoprune.tracking.mlflow import Mirror

_KEYS = (
    *("study", "status", "trials", "jobs", "failed", "epochs_trained", "epochs_reused", "wall_s"),
    *("hypervolume", "dense", "front", "profile", "home"),
    *("baselines", "hypervolume_curve", "confirmed_hypervolume", "costs", "latency"),
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search", rich_help_panel="Work")(search)


def search(
    space: Annotated[str, typer.Argument(help="A space file, or a shipped name.")] = "digits",
    budget: Annotated[
        str, typer.Option("--budget", help="100 (search jobs), 500ep, 30m or 2h.")
    ] = "100",
    seed: options.Seed = 0,
    workers: options.Workers = None,
    device: options.Device = "auto",
    gpus_per_job: options.GpusPerJob = 1.0,
    executor: options.Executor = None,
    ray_address: options.RayAddress = None,
    strategy: Annotated[
        str, typer.Option("--strategy", help="contextual, moasha or full.")
    ] = "contextual",
    sampler: Annotated[
        str, typer.Option("--sampler", help="forest, tpe, random or grid.")
    ] = "forest",
    objectives: Annotated[
        str | None,
        typer.Option("--objectives", help="accuracy,sparsity[,macs,latency_ms,params,size_bytes]"),
    ] = None,
    confirm_seeds: Annotated[int, typer.Option("--confirm-seeds")] = 3,
    home: options.Home = options.HOME,
    name: options.Name = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the study stopped.")
    ] = False,
    tracking_uri: options.TrackingUri = None,
    data_dir: options.DataDir = None,
    task: options.TaskFile = None,
    checkpoint: options.Checkpoint = None,
    max_drop: options.MaxDrop = None,
    max_macs: options.MaxMacs = None,
    max_latency_ms: options.MaxLatency = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Forecast, show five sample trials, and stop.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Search, confirm the front on fresh seeds, and say what to type next."""
    from autoprune.cli import parse
    from autoprune.search.engine import SearchOptions
    from autoprune.search.forecast import least_macs
    from autoprune.search.pick import Limits
    from autoprune.search.session import SearchRequest, Session

    limits = Limits(
        max_drop=parse.share(max_drop, "--max-drop"),
        max_macs=parse.share(max_macs, "--max-macs"),
        max_latency_ms=max_latency_ms,
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
        executor=parse.executor(executor),
        ray_address=ray_address,
        workers=workers,
        gpus_per_job=gpus_per_job,
    )
    with Session(request) as session:
        least = 0.0 if session.finished else least_macs(session.space, session.info)
        limits.check(session.space.objectives, least)
        if dry_run:
            emit(_dry_run(session), as_json=json)
            return
        try:
            mirrored = _found_in_mlflow if session.finished else _run
            with terminable():
                ids = mirrored(session, limits, tracking_uri)
        except KeyboardInterrupt:
            show("stopped; the same command with --resume goes on from here")
            raise
        summary = session.summary()
    show(*_results(summary))
    emit({**{key: summary[key] for key in _KEYS}, "mlflow": ids}, as_json=json)
    _suggest(summary, limits, ids)


def _forecast(session: Session) -> dict[str, Any]:
    from dataclasses import asdict

    from autoprune.search.forecast import axes, describe, forecast

    request = session.request
    phases = forecast(
        session.space, session.info, request.options, workers=request.num_workers, seed=request.seed
    )
    return {
        "study": session.name,
        "task": session.space.task.task_file
        or f"{session.space.task.data} / {session.space.task.model}",
        "budget": describe(request.options.budget),
        "workers": f"{request.num_workers} on {request.options.device}, "
        f"threads of each: {session.settings.threads}",
        "epochs_expected": sum(phase.epochs for phase in phases),
        "phases": [
            {key: value for key, value in asdict(phase).items() if value is not None}
            for phase in phases
        ],
        "objectives": list(session.space.objectives),
        **axes(session.space, session.info),
    }


def _dry_run(session: Session) -> dict[str, Any]:
    from autoprune.report.tables import forecast_table
    from autoprune.search.forecast import samples

    if session.finished:
        show(f"study {session.name!r} is complete; nothing is left to run")
        return {"study": session.name, "status": "complete"}
    found = _forecast(session)
    drawn = samples(session.space, session.request.seed, info=session.info)
    show(forecast_table(found), "five of the trials it might run:")
    for config in drawn:
        params = ", ".join(f"{k} {v}" for k, v in config["params"].items())
        lr = config["lr"]["name"]
        show(f"  {config['method']} ({params}) at {config['sparsity']:.1%}, lr {lr}")
    return {**found, "samples": drawn}


def _run(session: Session, limits: Limits, tracking_uri: str | None) -> dict[str, Any]:
    """Run the search with its live view and its mirror; return where MLflow has it."""
    from autoprune.cli.mirror import make_mirror
    from autoprune.cli.watch import Watcher
    from autoprune.report.live import LiveProgress
    from autoprune.report.tables import forecast_table

    for warning in session.info.warnings:
        show(f"note: {warning}")
    show(forecast_table(_forecast(session)))
    engine = session.open()
    unit = {"jobs": "jobs", "epochs": "ep", "seconds": "s"}[engine.budget.unit]
    printer = console()
    with make_mirror(session.request.home, session.name, tracking_uri) as mirror:
        live = LiveProgress(printer, engine.budget.amount, unit, say=show_line)
        with live:
            engine.journal.listeners += [mirror.apply, Watcher(engine, live.update)]
            session.run()
        _register(mirror, session.summary(), limits)
    return mirror.ids


def _register(mirror: Mirror, summary: dict[str, Any], limits: Limits) -> None:
    """Make the pick the champion, where there is one."""
    from autoprune.cli.mirror import register_champion
    from autoprune.core.errors import ConfigError
    from autoprune.search.pick import pick

    try:
        chosen = pick(summary["front"], summary["dense"], limits)
    except ConfigError:
        return  # told at the end, with the front
    show(f"exporting {chosen['trial']} for MLflow's registry")
    register_champion(mirror, chosen["trial"])


def _found_in_mlflow(session: Session, limits: Limits, tracking_uri: str | None) -> dict[str, Any]:
    """Bring MLflow up to a finished study, where it can be reached; its champion, too."""
    from autoprune.cli.mirror import lacks_champion, make_mirror
    from autoprune.core.errors import AutoPruneError

    mirror = make_mirror(session.request.home, session.name, tracking_uri)
    try:
        mirror.sync()
    except AutoPruneError as error:
        show(f"note: {error}")
    else:
        if lacks_champion(mirror):
            _register(mirror, session.summary(), limits)
    return mirror.ids


def _results(summary: dict[str, Any]) -> list[Any]:
    from autoprune.report.tables import front_table, profile_table
    from autoprune.report.verdict import comparisons, conclusion

    said = [comparison.text for comparison in comparisons(summary)]
    return [front_table(summary), profile_table(summary), *said, conclusion(summary)]


def _suggest(summary: dict[str, Any], limits: Limits, ids: dict[str, Any]) -> None:
    """Name the pick and what to type next.

    Raises
    ------
    ConfigError
        If limits were given and no point keeps to them.
    """
    from autoprune.search.pick import pick
    from autoprune.tracking.store import default_uri

    if not summary["front"]:
        return
    study, home = summary["study"], summary["home"]
    at = "" if Path(home) == options.HOME else f" --home {quote(home)}"
    chosen = pick(summary["front"], summary["dense"], limits)
    trial = chosen["trial"]
    show(f"pick: {trial} ({chosen['method']}, sparsity {chosen['sparsity']:.1%}); next:")
    for command in (
        f"export {study} --trial {trial} --out {study}-{trial}",
        f"front {study} --plot {study}.html",
    ):
        show_line(f"  autoprune {command}{at}")
    own = ids["tracking_uri"] == default_uri(Path(home))
    show_line(f"  autoprune ui{at}" if own else f"MLflow: {ids['tracking_uri']}")
