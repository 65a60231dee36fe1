"""A synthetic study: a journal as a search writes it, with results worked out, not trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoprune.core.config import LRConfig, TrialConfig
from autoprune.core.records import Job, JobResult, LayerInfo, TaskInfo

INFO = TaskInfo(
    num_train=1000,
    num_val=360,
    num_test=360,
    num_classes=10,
    input_shape=(1, 8, 8),
    layers=(LayerInfo("fc1.weight", (100, 64), "linear", 6400),),
    params=6500,
    macs=6400,
    fingerprint="f" * 64,
)
METHODS = ("magnitude", "random", "imp")


def make_events(num_jobs: int, *, end: str | None = None) -> list[dict[str, Any]]:
    """Job k prunes to k / num_jobs of [0.5, 0.99]; accuracy falls with it, and with odd k."""
    header = {
        "event": "study",
        "version": 1,
        "name": "digits",
        "space": {"task": {"data": "digits"}, "method": {"magnitude": {}}},
        "space_sha256": "0" * 64,
        "options": {"budget": str(num_jobs), "strategy": "contextual", "sampler": "forest"},
        "task": INFO.to_json(),
        "seed": 7,
        "time": 0.0,
    }
    events: list[dict[str, Any]] = [header]
    for number in range(num_jobs):
        events += job_events(number, 0.5 + 0.49 * number / num_jobs, number % 2)
    if end is not None:
        events.append({"event": "end", "status": end, "time": num_jobs + 1.0})
    return events


def job_events(number: int, sparsity: float, odd: int) -> list[dict[str, Any]]:
    config = TrialConfig(
        method=METHODS[number % 3],
        params={"allocation": "global"},
        sparsity=round(sparsity, 4),
        lr=LRConfig(name="linear", params={"peak": 0.1}),
    )
    job = Job(number, config, 9 if number % 4 == 0 else 1, 7, "explore")
    metrics = {
        "val_accuracy": round(0.97 - 0.2 * sparsity**4 - 0.05 * odd, 4),
        "val_loss": 0.1,
        "sparsity": config.sparsity,
        "sparsity_total": config.sparsity,
        "params": 6500,
        "params_nonzero": round(6500 * (1 - config.sparsity)),
        "macs": 6400,
        "macs_effective": round(6400 * (1 - config.sparsity)),
        "dense_val_accuracy": 0.97,
    }
    result = JobResult(
        number,
        job.trial,
        "ok",
        metrics,
        {"fc1.weight": 1 - sparsity},
        epochs_trained=1.5,
        wall_s=0.5,
    )
    return [
        {"event": "job", "job": job.to_json(), "time": number + 0.25},
        {"event": "result", "result": result.to_json(), "time": number + 1.0},
    ]


def write_events(home: Path, events: list[dict[str, Any]]) -> None:
    folder = home / "studies" / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(event) + "\n" for event in events]
    (folder / "journal.jsonl").write_text("".join(lines))
