"""`autoprune sweep` and `sweep scratch`: curves over sparsity, and a trial against scratch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show

if TYPE_CHECKING:
    from autoprune.core.config import TrialConfig
    from autoprune.experiments.points import Arm, SweepOptions

RATIOS = "1,2,4,8,16,32,64"
METHODS = "magnitude,magnitude:uniform,random"
TICKETS = "lottery_ticket:rewind=init,lottery_ticket:rewind=init+reinit"
LEVELS = 20


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
    )
    group.callback()(sweep)
    group.command("scratch")(scratch)
    app.add_typer(group, name="sweep", rich_help_panel="Work")


def sweep(
    context: typer.Context,
    data: options.Data = None,
    model: options.Model = None,
    task: options.TaskFile = None,
    checkpoint: options.Checkpoint = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            help="NAME, NAME:ALLOCATION or NAME:key=value+key=value, separated by commas; "
            "+reinit trains the method's masks from fresh weights.",
        ),
    ] = None,
    sparsities: Annotated[
        str | None, typer.Option("--sparsities", help="Shares of prunable weights removed.")
    ] = None,
    ratios: Annotated[
        str | None, typer.Option("--ratios", help=f"Compression ratios instead ({RATIOS}).")
    ] = None,
    levels: Annotated[
        int | None, typer.Option("--levels", help="Levels that remove 20% each, instead.")
    ] = None,
    label_noise: Annotated[
        str | None, typer.Option("--label-noise", help="Share of training labels drawn anew.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Replicates.")] = 3,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Retraining epochs at each point.")
    ] = None,
    lr: Annotated[str | None, typer.Option("--lr", help="Learning-rate schedule.")] = None,
    set_: options.Settings = None,
    seed: options.Seed = 0,
    plot: Annotated[Path | None, typer.Option("--plot", help="Write the picture (.png).")] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Write ShrinkBench's table (.csv).")
    ] = None,
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
    """Measure accuracy over compression for several methods, seeds and all of the record.

    With --label-noise it is the study of sparse double descent. The same command after an
    interruption goes on where it stopped.
    """
    if context.invoked_subcommand is not None:
        _refuse_lost_options(context)
        return
    from autoprune.cli import parse
    from autoprune.cli.experiments import Files, ask, check_seeds
    from autoprune.experiments.sweep import SweepDesign
    from autoprune.report import sweep as report
    from autoprune.report.sweep_picture import descent_picture, sweep_picture

    noise = parse.share(label_noise, "--label-noise", below_one=True)
    given = {
        "data": data,
        "model": model,
        "task_file": task,
        "checkpoint": checkpoint,
        "data_dir": data_dir,
        "lr": lr,
    }
    settings = _settings(set_ or [])
    if noise is not None:
        settings["task.label_noise"] = noise
    places = _places(sparsities, ratios, levels, noisy=noise is not None)
    studied = "levels" in places
    base, length = _base(given, settings, as_dense=studied)
    asked = _options(
        base,
        methods or (TICKETS if noise is not None else METHODS),
        places,
        check_seeds(seed, seeds),
        length if epochs is None else epochs,
    )
    picture = descent_picture if studied else sweep_picture
    answer = ask(
        SweepDesign(asked),
        parse.workers(executor, ray_address, workers, device, gpus_per_job),
        Files(
            {"picture.png": picture, "results.csv": report.sweep_csv},
            {"picture.png": plot, "results.csv": csv},
            report.sweep_words,
        ),
        home=home,
        name=name,
        tracking_uri=tracking_uri,
    )
    tables = [report.sweep_table(answer), report.checklist_table(answer)]
    show(*tables, *([report.phases_table(answer)] if studied else []))
    show(*answer["words"])
    emit(answer, as_json=json)


def _refuse_lost_options(context: typer.Context) -> None:
    """Refuse options that stand before ``scratch``, where nobody would read them."""
    from autoprune.core.errors import ConfigError

    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = f"--{name.rstrip('_').replace('_', '-')}"
            raise ConfigError(option, "must stand after `sweep scratch`, if scratch takes it")


def _settings(pairs: list[str]) -> dict[str, Any]:
    """Read ``--set`` pairs; a method's own parameters go with the method."""
    from autoprune.cli import parse
    from autoprune.core.errors import ConfigError

    found = parse.settings(pairs)
    for key in found:
        if "." not in key:
            raise ConfigError(
                f"--set {key}",
                "must start with lr., recipe., train. or task.",
                remedy=f"give a method's own as --methods NAME:{key}={found[key]}",
            )
    return found


def _base(
    given: dict[str, Any], settings: dict[str, Any], *, as_dense: bool
) -> tuple[TrialConfig, int]:
    """Return what every arm shares, and the default length of a point's training.

    Levels that are trained from their start train as the dense net does: as long, by its schedule.
    """
    from autoprune.search.single import build_config

    rest = {"method": "magnitude", "allocation": None, "sparsity": 0.5, "of": "weights"}
    base, top = build_config({**given, **rest}, settings)
    if not as_dense:
        return base, top
    if given["lr"] is None:
        rest["lr"] = base.train.schedule
        settings = {"lr.peak": base.train.lr, **settings}
        base, _ = build_config({**given, **rest}, settings)
    return base, base.train.epochs


def _places(
    sparsities: str | None, ratios: str | None, levels: int | None, *, noisy: bool
) -> dict[str, Any]:
    """Read where the points are; one of the three, or the default."""
    from autoprune.cli import parse
    from autoprune.core.errors import ConfigError

    given = [value for value in (sparsities, ratios, levels) if value is not None]
    if len(given) > 1:
        rule = "needs one of --sparsities, --ratios and --levels"
        raise ConfigError("sweep", rule, remedy="leave the others out")
    if levels is not None and levels < 1:
        raise ConfigError("--levels", "must be at least 1", levels)
    if levels is not None or (noisy and not given):
        return {"levels": LEVELS if levels is None else levels}
    if sparsities is not None:
        parts = sparsities.split(",")
        found = tuple(parse.share(part, "--sparsities", below_one=True) or 0.0 for part in parts)
        return {"sparsities": found}
    try:
        return {"ratios": tuple(float(part) for part in (ratios or RATIOS).split(","))}
    except ValueError:
        rule = "must be numbers separated by commas, such as 1,2,4"
        raise ConfigError("--ratios", rule, ratios) from None


def _options(
    base: TrialConfig,
    methods: str,
    places: dict[str, Any],
    seeds: tuple[int, ...],
    epochs: int,
) -> SweepOptions:
    from autoprune.experiments.points import SweepOptions

    arms = tuple(_arm(text) for text in methods.split(","))
    return SweepOptions(base, arms, seeds, epochs, **places)


def _arm(text: str) -> Arm:
    """Read ``NAME``, ``NAME:ALLOCATION`` or ``NAME:key=value+key=value[+reinit]``."""
    from autoprune.cli import parse
    from autoprune.experiments.points import Arm

    name, _, rest = text.strip().partition(":")
    parts = [part for part in rest.split("+") if part]
    reinit = "reinit" in parts
    parts = [part for part in parts if part != "reinit"]
    if len(parts) == 1 and "=" not in parts[0]:
        parts = [f"allocation={parts[0]}"]
    shown = ", ".join(part.replace("=", " ").removeprefix("allocation ") for part in parts)
    if reinit:
        shown = f"{shown}, re-initialised" if shown else "re-initialised"
    label = f"{name} ({shown})" if shown else name
    return Arm(label, name, parse.settings(parts, "--methods"), reinit)


def scratch(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    trial: Annotated[str, typer.Option("--trial", help="A trial of it, or how its name starts.")],
    seeds: Annotated[int, typer.Option("--seeds", help="Replicates.")] = 3,
    cap: Annotated[
        float, typer.Option("--cap", help="Greatest factor of Scratch-B's epochs over E's.")
    ] = 4.0,
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
    """Train a trial's mask or architecture from scratch, and say what its weights are worth."""
    from autoprune.cli import parse
    from autoprune.cli.experiments import Files, ask, check_seeds
    from autoprune.experiments.scratch import ScratchDesign, ScratchOptions
    from autoprune.report import scratch as report
    from autoprune.search.replay import find_point, settings_of
    from autoprune.search.study import read_events

    events = read_events(home, study)
    point = find_point(home, trial, study, "--trial")
    # Without a wish the study's own device: other bits would share no stage with it.
    wish = None if device == "auto" else parse.device(device)
    settings = settings_of(events, home, data_dir, wish)
    config = point.job.config
    asked = ScratchOptions(
        trial=_moved(config, settings.task.data_dir),
        epochs=point.job.epochs,
        top_epochs=settings.top_epochs,
        # Those after the study's own seed: a confirmed trial ran on them already.
        seeds=check_seeds(events[0]["seed"] + 1, seeds),
        cap=cap,
        study=study,
    )
    answer = ask(
        ScratchDesign(asked),
        parse.workers(executor, ray_address, workers, settings.device, gpus_per_job),
        Files({"results.csv": report.scratch_csv}, {}, report.scratch_words),
        home=home,
        name=name,
        tracking_uri=tracking_uri,
        threads=settings.threads,
    )
    show(report.scratch_table(answer))
    show(*answer["words"])
    emit(answer, as_json=json)


def _moved(config: TrialConfig, data_dir: str | None) -> TrialConfig:
    """Return a recorded trial with its data where it is now."""
    from dataclasses import replace

    return replace(config, task=replace(config.task, data_dir=data_dir))
