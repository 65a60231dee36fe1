"""Let the arms search, or write the page."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.rivals import report, run, rungs
from benchmarks.rivals.catalogue import ARMS
from benchmarks.rivals.setting import DATA, Setting, quick


def main(arguments: list[str]) -> int:
    """Return 1 while a run is missing."""
    given = _parser().parse_args(arguments)
    if given.what == "report":
        return _report(given)
    setting = quick() if given.quick else Setting()
    if given.epochs is not None:
        setting = replace(setting, epochs=given.epochs)
    if given.data_dir is not None:
        setting = replace(setting, data_dir=str(given.data_dir.resolve()))
    try:
        arms, seeds = run.checked(given.arms, ARMS), run.seeds_of(given.seeds)
    except ValueError as error:
        _parser().error(str(error))
    for line in run.left_out(arms):
        print(f"left out: {line}")
    end = time.monotonic() + 60 * given.minutes
    if given.rungs:
        return 0 if rungs.measure(setting, given.rungs, seeds, given.home, given.out, end) else 1
    missing = run.orders(setting, arms, seeds, given.home, given.out, end)
    print(run.plan(missing, given.workers), flush=True)
    if given.plan:
        return 0
    complete = run.run_all(missing, given.workers)
    print("complete" if complete else "not complete: run it again to go on")
    return 0 if complete else 1


def _report(given: argparse.Namespace) -> int:
    found = report.collect(given.data)
    if not given.json or given.page is not None:
        page = given.page or Path("docs/results/search.md")
        for path in report.write(found, page):
            print(path, file=sys.stderr)
    if given.json:
        print(json.dumps(report.numbers(found), allow_nan=False))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rivals", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    runs = what.add_parser("run", help="do the runs that are missing")
    runs.add_argument("--arms", default=",".join(ARMS), help="which; all by default")
    runs.add_argument("--seeds", default="0-4", help="such as 0-4 or 0,2")
    runs.add_argument("--epochs", type=float, help="an arm's budget; 540 by default")
    runs.add_argument("--minutes", type=float, default=90.0, help="start nothing after these")
    runs.add_argument("--workers", type=int, default=2, help="runs at a time, a thread each")
    runs.add_argument("--data-dir", type=Path, help="the only folder looked into for the data")
    runs.add_argument("--home", type=Path, default=Path("autoprune-home/rivals"))
    runs.add_argument("--out", type=Path, default=DATA, help="folder of complete runs")
    runs.add_argument("--rungs", type=int, default=0, metavar="N")
    runs.add_argument("--plan", action="store_true", help="say what is missing, and stop")
    runs.add_argument("--quick", action="store_true", help="tiny, on digits: says nothing")
    reports = what.add_parser("report", help="write the page of what there is")
    reports.add_argument("--json", action="store_true", help="print the numbers as one JSON value")
    reports.add_argument("--data", type=Path, default=DATA, help="folder of complete runs")
    reports.add_argument("--out", dest="page", type=Path, help="the page; docs/results/search.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
