from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.mlflow

ROOT = Path(__file__).parents[2]


def words(**parameters: str) -> list[str]:
    """Return the arguments the shell would give `autoprune`."""
    from mlflow.projects.utils import load_project

    command = load_project(str(ROOT)).get_entry_point("search").compute_command(parameters, None)
    script = f"MLFLOW_RUN_ID=0123456789ab; autoprune() {{ printf '%q ' \"$@\"; }}; {command}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return shlex.split(done.stdout)


def test_the_defaults_are_those_of_the_command_line() -> None:
    assert words() == shlex.split("search digits --budget 100 --seed 0 --name run-01234567")


def test_parameters_reach_the_command_line() -> None:
    given = words(budget="10", space="my space.yaml", seed="3", workers="2", home="/data/home")
    assert given[:2] == ["search", "my space.yaml"]
    options = dict(zip(given[2::2], given[3::2], strict=True))
    assert options == {
        "--budget": "10",
        "--seed": "3",
        "--workers": "2",
        "--name": "run-01234567",
        "--home": "/data/home",
    }
