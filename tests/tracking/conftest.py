from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_mlflow_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACKING_URI", "RUN_ID", "EXPERIMENT_NAME", "EXPERIMENT_ID"):
        monkeypatch.delenv(f"MLFLOW_{name}", raising=False)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A database with MLflow's schema, which takes seconds to make: tests copy it."""
    from autoprune.tracking.connection import connect
    from autoprune.tracking.store import default_uri

    home = tmp_path_factory.mktemp("store")
    connect(default_uri(home)).search_experiments()
    return home / "mlflow.db"
