"""Kill searches at random moments, resume them, and see that nothing is lost or done twice."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the undisturbed search runs here

from benchmarks.kill.scenarios import LONG, SHORT, Bench, Size, by_name
from benchmarks.kill.table import COLUMNS, cells, table


def main(arguments: list[str]) -> int:
    """Return 1 if anything is not zero that should be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    parser.add_argument("--long", action="store_true", help="every scenario (15 to 20 minutes)")
    parser.add_argument(
        "--only", action="append", default=[], help="part of a scenario's name, as in 'torn line'"
    )
    parser.add_argument("--injuries", type=int, help="so many in each scenario")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--home", type=Path, help="keep everything here; a short path, for Ray")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    given = parser.parse_args(arguments)
    wanted = by_name(LONG if given.long or given.only else SHORT, given.only)
    if not wanted:
        names = ", ".join(sorted({s.name for s in LONG}))
        parser.error(f"--only must be part of one of {names}; got {given.only}")
    if given.injuries is not None:
        wanted = [replace(s, count=given.injuries) for s in wanted]
    size = Size() if given.long or given.only else Size(6, 2)
    with ExitStack() as stack:
        home = given.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ap-")))
        bench = Bench(home.resolve(), size, given.seed, keep=given.home is not None)
        rows = []
        for scenario in wanted:
            rows.append(bench.run(scenario))
            said = ", ".join(f"{k} {v}" for k, v in zip(COLUMNS, cells(rows[-1]), strict=True))
            print(said, *rows[-1].faults, sep="\n  ", file=sys.stderr, flush=True)
    print(json.dumps([row.to_json() for row in rows]) if given.json else table(rows))
    return int(any(row.faults for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
