"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HOME = Path("autoprune-home")

Home = Annotated[
    Path, typer.Option("--home", envvar="AUTOPRUNE_HOME", help="Folder of studies, store, MLflow.")
]
Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON value as the last line of standard output.")
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="The only folder to look for data in.")
]
TaskFile = Annotated[
    Path | None, typer.Option("--task", help="Python file with your own model and data.")
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Pretrained weights: safetensors, or a plain state dict."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option("--seed", help="Root of every random stream.")]
MaxDrop = Annotated[
    str | None,
    typer.Option("--max-drop", help="Greatest loss of accuracy against dense: 1% or 0.01."),
]
MaxMacs = Annotated[
    str | None, typer.Option("--max-macs", help="Greatest share of the dense MACs: 50% or 0.5.")
]
MaxLatency = Annotated[
    float | None,
    typer.Option(
        "--max-latency-ms",
        help="Greatest median latency of one input; needs latency_ms among the objectives.",
    ),
]
Data = Annotated[str | None, typer.Option("--data", help="Data set (default digits).")]
Model = Annotated[str | None, typer.Option("--model", help="Model (default mlp).")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Further settings: lr.peak=0.1, recipe.mixup=0.2, train.epochs=30."),
]
Workers = Annotated[int | None, typer.Option("--workers", help="Jobs that run at once.")]
Executor = Annotated[str | None, typer.Option("--executor", help="ray or inline.")]
RayAddress = Annotated[str | None, typer.Option("--ray-address")]
GpusPerJob = Annotated[float, typer.Option("--gpus-per-job")]
Name = Annotated[str | None, typer.Option("--name", help="The study's name.")]
TrackingUri = Annotated[str | None, typer.Option("--tracking-uri")]
Again = Annotated[
    bool,
    typer.Option("--resume", help="Go on where it stopped, which the same command does anyway."),
]
