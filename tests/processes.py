"""Run Python in a process of its own, as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CLI = ("-c", "from autoprune.cli.main import main; main()")


def python(
    *arguments: str, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with threads that sleep while they wait: tests run side by side."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "AUTOPRUNE"))}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=cwd,
        env={**kept, "OMP_WAIT_POLICY": "PASSIVE", **environment},
    )
