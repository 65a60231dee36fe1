"""What a command may import: the help nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

HEAVY = ("torch", "ray", "mlflow", "optuna", "sklearn", "matplotlib", "plotly", "onnx", "timm")
SCRIPT = f"""\
import json, sys
from autoprune.cli.main import main
try:
    main()
finally:
    sys.stdout.write(json.dumps([name for name in {HEAVY!r} if name in sys.modules]) + "\\n")
"""


def _loaded(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=True
    )
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("arguments", [["--help"], ["search", "--help"], ["run", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert _loaded(*arguments) == []


def test_studies_are_listed_without_torch(tmp_path: object) -> None:
    assert not {"torch", "ray", "mlflow"} & set(_loaded("studies", "--home", str(tmp_path)))


def test_the_module_is_the_command_and_says_its_version() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autoprune", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"autoprune {version('autoprune')}\n"
