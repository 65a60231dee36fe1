"""How long whole searches take, confirmation included (minutes: only with --search)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time

from benchmarks.common import Row

LIMITS_S = {"digits": 120.0, "fashion_mnist": 1200.0}
CODE = "from autoprune.cli.main import main; main()"


def measure(quick: bool = False) -> list[Row]:
    """Run `autoprune search SPACE --budget 100` as a user does."""
    rows = []
    for space, limit in LIMITS_S.items():
        with tempfile.TemporaryDirectory() as home:
            call = [sys.executable, "-c", CODE, "search", space, "--budget", "100", "--home", home]
            start = time.perf_counter()
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            took_s = time.perf_counter() - start
        rows.append(Row(f"search {space} --budget 100", took_s, "s", limit, 1))
    return rows
