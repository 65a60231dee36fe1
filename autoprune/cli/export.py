"""`autoprune export`, `verify` and `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autoprune.cli import options
from autoprune.cli.output import emit, show, show_line

Folder = Annotated[Path, typer.Argument(help="A folder written by autoprune export.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("export", rich_help_panel="Use")(export)
    app.command("verify", rich_help_panel="Use")(verify)
    app.command("predict", rich_help_panel="Use")(predict)


def export(
    study: Annotated[str, typer.Argument(help="Name of a study.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist yet.")],
    trial: Annotated[str | None, typer.Option("--trial", help="A trial of the front.")] = None,
    max_drop: options.MaxDrop = None,
    min_accuracy: Annotated[
        str | None, typer.Option("--min-accuracy", help="Least confirmed validation accuracy.")
    ] = None,
    min_sparsity: Annotated[str | None, typer.Option("--min-sparsity")] = None,
    max_macs: options.MaxMacs = None,
    max_latency_ms: options.MaxLatency = None,
    formats: Annotated[
        str, typer.Option("--format", help="Comma-separated: safetensors, onnx, pt2.")
    ] = "safetensors,onnx,pt2",
    device: options.Device = "auto",
    home: options.Home = options.HOME,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Write the chosen point of a front to a folder, and prove it in a fresh process."""
    from autoprune.cli import parse
    from autoprune.export.study import export_from_study
    from autoprune.search.pick import Limits

    limits = Limits(
        max_drop=parse.share(max_drop, "--max-drop"),
        min_accuracy=parse.share(min_accuracy, "--min-accuracy"),
        min_sparsity=parse.share(min_sparsity, "--min-sparsity"),
        max_macs=parse.share(max_macs, "--max-macs"),
        max_latency_ms=max_latency_ms,
    )
    report = export_from_study(
        home,
        study,
        out,
        trial=trial,
        limits=limits,
        formats=tuple(formats.split(",")),
        device=parse.device(device),
        data_dir=data_dir,
    )
    from autoprune.report.tables import export_table

    show(export_table({key: value for key, value in report.items() if key != "checks"}))
    _proven(out, report["checks"])
    emit(report, as_json=json)


def verify(
    folder: Folder,
    data_dir: options.DataDir = None,
    json: options.Json = False,
) -> None:
    """Repeat the proof: hashes, equal outputs and accuracy, sparsity, from the files alone."""
    from autoprune.export.verify import verify_folder

    report = verify_folder(folder, data_dir=data_dir)
    _proven(folder, report["checks"])
    if report["latency"]:
        from autoprune.report.tables import latency_table

        show(latency_table(report["latency"]))
    emit(report, as_json=json)


def _proven(folder: Path, checks: list[str]) -> None:
    show_line(f"{folder}: verified")
    for check in checks:
        show_line(f"  {check}")


def predict(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Images, or .npy batches.")],
    json: options.Json = False,
) -> None:
    """Classify images or .npy batches with an exported model."""
    from autoprune.export.predict import predict_files

    rows = predict_files(folder, files)
    for row in rows:
        place = f"[{row['index']}]" if row["file"].endswith(".npy") else ""
        show_line(f"{row['file']}{place}: {row['class']} ({row['probability']:.1%})")
    emit(rows, as_json=json)
