"""The home's own MLflow database, made whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil

_PREFIX = "sqlite:///"


def make_whole(uri: str) -> None:
    """Make a SQLite store that is not there yet: beside its place, and put there when it is done.

    MLflow makes its tables one by one. A process that is killed in between would leave a file
    that MLflow can neither use nor finish.

    Parameters
    ----------
    uri : str
        MLflow's tracking URI; any but one of a SQLite file is left to MLflow.
    """
    path = Path(uri.removeprefix(_PREFIX))
    if not uri.startswith(_PREFIX) or "?" in uri or path.name == ":memory:" or path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f"{path.name}.new-*"):
        if not psutil.pid_exists(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    # A folder, since SQLite keeps files of its own beside the database.
    folder = path.with_name(f"{path.name}.new-{os.getpid()}")
    folder.mkdir(exist_ok=True)
    from mlflow import MlflowClient

    try:
        new = folder / path.name
        MlflowClient(tracking_uri=f"{_PREFIX}{new}").search_experiments(max_results=1)
        os.link(new, path)
    except FileExistsError:
        pass  # another process was faster, and its store is whole, too
    finally:
        shutil.rmtree(folder)
