"""Ready-made studies in MLflow: a run for the question, a child run per curve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autoprune.tracking.content import MAX_CHILDREN, Child, Value, finite
from autoprune.tracking.keys import key_in
from autoprune.tracking.mlflow import Copy
from autoprune.tracking.store import find_target

Answer = Mapping[str, Any]


def mirror_answer(
    answer: Answer, files: Mapping[str, Path], home: Path, tracking_uri: str | None = None
) -> dict[str, str | None]:
    """Copy a ready-made study's answer to MLflow; doing it again changes nothing.

    Parameters
    ----------
    answer : mapping
        What `Experiment.summary` returns.
    files : mapping
        Artifact name to file; the first one lies in the study's own folder.

    Returns
    -------
    dict
        ``tracking_uri, experiment_id, run_id``.
    """
    name = answer["study"]
    target = find_target(home, name, tracking_uri)
    key = key_in(next(iter(files.values())).parent, name)
    copy = Copy(target, key, name, source=f"autoprune {answer['kind']}")
    copy.write_children(children(answer, key))
    copy.write_run(
        values=parent_values(answer),
        params={k: str(v) for k, v in params(answer).items()},
        note="\n".join(answer.get("words", ())),
        files=files,
        texts={"answer.json": json.dumps(answer, indent=1)},
        end_s=float(answer["wall_s"]),
    )
    return {
        "tracking_uri": target.uri,
        "experiment_id": copy.experiment_id,
        "run_id": copy.run_id,
    }


def params(answer: Answer) -> dict[str, Any]:
    """Return what was asked: every value of the answer that is no result."""
    names = (
        *("data", "model", "method", "seeds", "epochs", "tolerance", "label_noise"),
        *("of_study", "trial", "cap", "verdict"),
    )
    return {name: answer[name] for name in names if name in answer}


def parent_values(answer: Answer) -> list[Value]:
    """Return the question's own metrics: figures, and what goes by cycle."""
    end = float(answer["wall_s"])
    figures = finite({k: answer.get(k) for k in ("cost_ratio", "epochs_trained", "epochs_reused")})
    values = [Value(key, value, 0, end) for key, value in figures.items()]
    for row in answer.get("cycles", ()):
        low, high = row["interval"]
        numbers = {key: value for key, value in row.items() if key not in ("cycle", "inside")}
        numbers |= {"interval_low": low, "interval_high": high, "inside": float(row["inside"])}
        found = finite(numbers)
        values += [Value(key, value, row["cycle"], end) for key, value in found.items()]
    return values


def children(answer: Answer, key: str) -> Iterable[Child]:
    """Return a child run per schedule or arm (steps are cycles), or per run of a sweep.

    A sweep of more runs than MLflow compares gets one child per curve (steps are its points).
    """
    end = float(answer["wall_s"])
    for row in answer.get("schedules", ()):
        if row["val"]:
            yield _schedule(row, answer, key, end)
    for arm in answer.get("arms", ()):
        yield _arm(arm, key, end)
    rows = answer.get("rows", ())
    if len(rows) <= MAX_CHILDREN:
        yield from (_row(row, key, end) for row in rows)
    else:
        yield from (_curve(curve, key, end) for curve in answer["curves"])


def _arm(arm: Answer, key: str, end: float) -> Child:
    """Return one arm of a trial against scratch; its steps are the seeds."""
    values = [
        Value("test_accuracy", accuracy, step, end)
        for step, accuracy in enumerate(arm["test_accuracies"])
    ]
    numbers = finite({"mean_test_accuracy": arm["test_accuracy"], "epochs": arm["epochs"]})
    values += [Value(name, number, 0, end) for name, number in numbers.items()]
    return Child(f"{key}/{arm['name']}", arm["label"], 0.0, end, False, tuple(values))


def _curve(curve: Answer, key: str, end: float) -> Child:
    values = []
    for step, point in enumerate(curve["points"]):
        numbers = finite({k: v for k, v in point.items() if k not in ("ci95", "status_counts")})
        values += [Value(name, number, step, end) for name, number in numbers.items()]
    name = curve["method"]
    return Child(f"{key}/{name}", name, 0.0, end, False, tuple(values))


def _schedule(row: Mapping[str, Any], answer: Answer, key: str, end: float) -> Child:
    values = []
    for place, cycle in enumerate(answer["cycles"]):
        numbers = finite(
            {
                "val_accuracy": row["val_accuracy"][place],
                "test_accuracy": row["test_accuracy"][place],
                "peak": row["peaks"][place],
                "sparsity": cycle["sparsity"],
                "log10_density": math.log10(1.0 - cycle["sparsity"]),
            }
        )
        values += [Value(name, number, cycle["cycle"], end) for name, number in numbers.items()]
    return Child(
        key=f"{key}/{row['name']}",
        name=row["label"],
        start_s=0.0,
        end_s=end,
        failed=False,
        values=tuple(values),
        tags={"autoprune.schedule": row["name"]},
        params={f"lr.{name}": str(value) for name, value in row["config"].items()},
    )


def _row(row: Mapping[str, Any], key: str, end: float) -> Child:
    """Return one run of a sweep: method, ratio, seed (card shrinkbench, checklist)."""
    described = ("method", "seed", "optim", "lr", "lr_schedule", "batch_size", "epochs")
    numbers = finite({name: value for name, value in row.items() if name not in described})
    place = f"{row['method']} {row['target_sparsity']:.6f} seed {row['seed']}"
    return Child(
        key=f"{key}/{place}",
        name=f"{row['method']} {row['target_compression']:.3g}x seed {row['seed']}",
        start_s=0.0,
        end_s=end,
        failed=row["status"] == "failed",
        values=tuple(Value(name, number, 0, end) for name, number in numbers.items()),
        tags={"autoprune.status": str(row["status"])},
        params={name: str(row[name]) for name in described if name in row},
    )
