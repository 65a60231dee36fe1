"""`mlflow run` on the project: the search becomes the run that MLflow made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.support import write_space

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.mlflow
def test_mlflow_runs_a_search(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"budget": "3", "space": write_space(tmp_path), "home": tmp_path / "home"}
    given |= {"executor": "inline", "confirm-seeds": "1"}
    parameters = [part for key, value in given.items() for part in ("-P", f"{key}={value}")]
    command = [sys.executable, "-m", "mlflow", "run", str(ROOT), "-e", "search", *parameters]
    done = subprocess.run(
        [*command, "--env-manager", "local", "--experiment-name", "mine"],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_TRACKING_URI": uri, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"MLflow: {uri}" in done.stderr + done.stdout

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mine")
    runs = client.search_runs([experiment.experiment_id])
    (run,) = [run for run in runs if "mlflow.project.entryPoint" in run.data.tags]
    assert run.info.status == "FINISHED"
    assert run.data.tags["autoprune.study"] == f"run-{run.info.run_id[:8]}"
    assert run.data.metrics["hypervolume"] > 0
    assert (tmp_path / "home" / "studies").is_dir()
