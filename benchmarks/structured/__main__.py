"""Train and measure what is missing, and write the report."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.methods.pool import Results
from benchmarks.structured import catalogue, report
from benchmarks.structured.run import PARTS, Run


def main(arguments: list[str]) -> int:
    """Return 1 while something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.structured", description=__doc__)
    parser.add_argument("what", choices=("run", "report"), nargs="?", default="run")
    parser.add_argument("--home", type=Path, default=Path("autoprune-home/structured"))
    parser.add_argument("--minutes", type=float, default=90.0, help="start no job after these")
    parser.add_argument("--parts", default=",".join(PARTS), help="some of A,B,C,D")
    parser.add_argument("--plan", action="store_true", help="say what it costs, and stop")
    parser.add_argument("--quick", action="store_true", help="tiny, on digits: says nothing")
    parser.add_argument("--data-dir", type=Path, help="a folder looked into first for the data")
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args(arguments)
    parts = given.parts.upper().split(",")
    if not set(parts) <= set(PARTS):
        parser.error(f"--parts must be some of {','.join(PARTS)}; got {given.parts}")
    if given.data_dir:
        os.environ["AUTOPRUNE_DATA_DIR"] = str(given.data_dir.resolve())
    scale = catalogue.quick() if given.quick else catalogue.Scale()
    results = Results(given.home / ("quick.jsonl" if given.quick else "results.jsonl"))
    done = True
    if given.what == "run":
        run = Run(scale, results, given.home, time.monotonic() + 60 * given.minutes)
        print(run.plan(parts), flush=True)
        if given.plan:
            return 0
        done = run.go(parts)
        print("complete" if done else "not complete: run it again to go on")
    for path in report.write(scale, results, given.out):
        print(path)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
