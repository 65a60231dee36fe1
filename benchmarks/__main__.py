"""Run the measurements, print them, and append them to benchmarks/data/results.csv."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from benchmarks.common import DATA, conclude, environment, show

NAMES = ("masked_step", "bookkeeping", "epoch", "engine", "ray_jobs", "startup")


def main(arguments: list[str]) -> int:
    """Return 1 when a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"which of {', '.join(NAMES)}; all by default")
    parser.add_argument("--search", action="store_true", help="whole searches too (20 minutes)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests: says nothing")
    parser.add_argument("--out", type=Path, default=DATA / "results.csv")
    given = parser.parse_args(arguments)
    names = [*(given.names or NAMES), *(["search"] if given.search else [])]
    rows, where = [], environment()
    for name in names:
        found = importlib.import_module(f"benchmarks.{name}").measure(quick=given.quick)
        for row in found:
            print(show(row), flush=True)
        rows += found
    return conclude(rows, given.out, where, quick=given.quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
