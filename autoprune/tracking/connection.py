"""Reaching MLflow: its client, set up to be quick to give up and to say little."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from autoprune.tracking.database import make_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def first_line(error: Exception) -> str:
    """Return what an error says first: a database's adds its statement, lines of it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def connect(uri: str) -> MlflowClient:
    """Return a client of a store, made where there is none; MLflow says what fails, no more."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # It prints a stack for each failure of a database, which we tell in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    make_whole(uri)
    return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
