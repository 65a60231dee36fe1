"""A killed process leaves no half-made MLflow database."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.tracking.database import make_whole

pytestmark = pytest.mark.mlflow

KILLED = """\
import os, signal, sys
from mlflow.store.db import utils
utils._upgrade_db = lambda engine: os.kill(os.getpid(), signal.SIGKILL)  # some tables are there
from autoprune.tracking.database import make_whole
make_whole(sys.argv[1])
"""


def test_a_store_is_there_when_it_is_whole(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    path = tmp_path / "home" / "mlflow.db"
    uri = f"sqlite:///{path}"
    path.parent.mkdir()
    done = subprocess.run([sys.executable, "-c", KILLED, uri], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (left,) = path.parent.iterdir()
    assert left.name.startswith("mlflow.db.new-")

    make_whole(uri)
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    assert [e.name for e in client.search_experiments()] == ["Default"]
    client.create_registered_model("mine")
    before = path.stat().st_ino
    make_whole(uri)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("uri", ["http://127.0.0.1:1", "sqlite:///:memory:", "postgresql://x/y"])
def test_other_stores_are_left_to_mlflow(uri: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_whole(uri)
    assert list(tmp_path.iterdir()) == []
