"""Which MLflow store a home mirrors to."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """Where a study is mirrored to.

    Parameters
    ----------
    uri : str
        MLflow's tracking URI.
    experiment : str
        The experiment's name; ignored when `experiment_id` is given.
    experiment_id : str or None
        An experiment that exists.
    run_id : str or None
        A run that exists and becomes the study's (`mlflow run` makes one).
    artifacts : str or None
        Where a new experiment keeps its artifacts; None leaves it to the server.
    """

    uri: str
    experiment: str
    experiment_id: str | None = None
    run_id: str | None = None
    artifacts: str | None = None


def default_uri(home: Path) -> str:
    """Return the URI of the home's own store."""
    return f"sqlite:///{home.resolve() / 'mlflow.db'}"


def find_target(home: Path, study: str, tracking_uri: str | None = None) -> Target:
    """Return where a study goes: the argument, MLflow's environment variables, or the home.

    Notes
    -----
    ``MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_EXPERIMENT_ID`` and ``MLFLOW_RUN_ID`` are
    honoured; the ids only when the store is the one the variables mean, so not with `tracking_uri`.
    """
    given = {} if tracking_uri else os.environ
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(home)
    # Artifacts of a database without a server would land in the working directory.
    local = uri.startswith("sqlite:")
    return Target(
        uri,
        os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"autoprune/{study}",
        given.get("MLFLOW_EXPERIMENT_ID") or None,
        given.get("MLFLOW_RUN_ID") or None,
        (home.resolve() / "artifacts" / study).as_uri() if local else None,
    )
