"""What a run leaves behind: a log of lines while it lasts, one parquet file when it is complete."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autoprune.core.canonical import canonical_json, plain
from autoprune.core.config import TrialConfig
from autoprune.core.errors import StudyError
from autoprune.core.records import TaskInfo
from benchmarks.rivals.evaluate import Ask, Evaluation

Row = dict[str, Any]
PACKAGES = ("autoprune", "torch", "optuna", "ray", "smac", "scikit-learn", "moocore")
_POINT = pa.struct(
    [
        ("stop_round", pa.int64()),
        *((n, pa.float64()) for n in ("epochs", "val_accuracy", "test_accuracy", "sparsity")),
    ]
)
SCHEMA = pa.schema(
    [
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("decision", pa.int64()),
        ("method", pa.string()),
        ("trial", pa.string()),
        ("config", pa.string()),
        ("target", pa.float64()),
        ("epochs", pa.int64()),
        ("cut", pa.bool_()),
        ("asked", pa.float64()),
        ("charged", pa.float64()),
        ("spent", pa.float64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("points", pa.list_(_POINT)),
        ("note", pa.string()),
    ]
)


def row_of(ask: Ask, evaluation: Evaluation, spent: float) -> Row:
    """Return one decision and what came of it; whose it is and its number are added by the log.

    Parameters
    ----------
    spent : float
        Epochs charged so far, this decision's included.
    """
    config = ask.config
    return {
        "method": "" if config is None else config.method,
        "trial": "" if config is None else config.trial_id,
        "config": "" if config is None else canonical_json(portable(config)),
        "target": ask.target,
        "epochs": evaluation.epochs,
        "cut": ask.cut,
        "asked": evaluation.asked,
        "charged": evaluation.charged,
        "spent": spent,
        "status": evaluation.status,
        "error": evaluation.error,
        "points": evaluation.points(),
        "note": canonical_json(dict(ask.note)),
    }


def portable(config: TrialConfig) -> dict[str, Any]:
    """Return a trial as JSON's own types, without where its data lies."""
    content: dict[str, Any] = plain(config)
    return {**content, "task": {k: v for k, v in content["task"].items() if k != "data_dir"}}


class Log:
    """The decisions of a run, each on disk before the next one is taken.

    A run that was cut starts again from its first decision, every evaluation being on file; what
    it does then has to be what the log says, line by line, and where that ends it goes on.

    Parameters
    ----------
    path : Path
        A file of JSON lines. Bytes after the last newline are dropped.

    Raises
    ------
    StudyError
        From `add`, where a run does not repeat its log.
    """

    def __init__(self, path: Path, arm: str, seed: int) -> None:
        self.path, self.arm, self.seed = path, arm, seed
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(path, len(whole))
        self.known: list[Row] = [json.loads(line) for line in whole.splitlines()]
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        """Keep a decision, or check that it is the one on file."""
        number = len(self.rows)
        full = {"arm": self.arm, "seed": self.seed, "decision": number, **row}
        if number < len(self.known):
            if json.loads(json.dumps(full)) != self.known[number]:
                raise StudyError(
                    f"{self.path}, line {number + 1}",
                    "must be what the run decides again",
                    remedy="code, versions or budget have changed: remove the file to start anew",
                )
        else:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(full) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self.rows.append(full)


@dataclass(frozen=True)
class Finished:
    """A complete run.

    Parameters
    ----------
    rows : list of dict
        Its decisions, as in `SCHEMA`.
    about : dict
        ``arm, seed, epochs, space, info, dense, ended, versions, rungs``.
    """

    rows: list[Row]
    about: dict[str, Any]

    @property
    def info(self) -> TaskInfo:
        """The task."""
        return TaskInfo.from_json(self.about["info"])


def write(path: Path, finished: Finished) -> None:
    """Write a complete run as one file, which holds all that its hypervolumes are made of."""
    table = pa.Table.from_pylist(finished.rows, SCHEMA)
    about = {b"rivals": canonical_json(finished.about).encode()}
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".partial")
    pq.write_table(table.replace_schema_metadata(about), beside, compression="zstd")
    beside.replace(path)


def read(path: Path) -> Finished:
    """Read what `write` wrote."""
    table = pq.read_table(path)
    return Finished(table.to_pylist(), json.loads(table.schema.metadata[b"rivals"]))


def is_complete(path: Path, epochs: float) -> bool:
    """Whether a file holds a run of such a budget, or a greater one."""
    return path.exists() and bool(read(path).about["epochs"] >= epochs)


def file_of(folder: Path, arm: str, seed: int) -> Path:
    """Return the file of a complete run."""
    return folder / f"{arm}-{seed}.parquet"


def versions() -> Mapping[str, str]:
    """Return the versions of what searches and trains; what is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
