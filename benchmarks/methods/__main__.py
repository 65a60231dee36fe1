"""Train what is missing, and write the report."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.methods import catalogue, report
from benchmarks.methods.catalogue import Setting
from benchmarks.methods.pool import Results, run_all


def main(arguments: list[str]) -> int:
    """Return 1 while something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.methods", description=__doc__)
    parser.add_argument("what", choices=("run", "report"), nargs="?", default="run")
    parser.add_argument("--home", type=Path, default=Path("autoprune-home/methods"))
    parser.add_argument("--minutes", type=float, default=90.0, help="start no job after these")
    parser.add_argument("--methods", nargs="*", help="only these entries, and no report")
    parser.add_argument("--quick", action="store_true", help="tiny, on digits: says nothing")
    parser.add_argument("--out", type=Path, default=Path())
    given = parser.parse_args(arguments)
    settings = [catalogue.quick(s) if given.quick else s for s in catalogue.SETTINGS.values()]
    results = Results(given.home / ("quick.jsonl" if given.quick else "results.jsonl"))
    deadline = time.monotonic() + 60 * given.minutes
    done = True
    if given.what == "run":
        where = {"home": given.home, "deadline": deadline, "inline": given.quick}
        done = all(train(s, results, given.methods, **where) for s in settings)
    if not given.methods:
        report.write(settings, results, given.out)
    print("complete" if done else "not complete: run it again to go on")
    return 0 if done else 1


def train(
    setting: Setting,
    results: Results,
    only: list[str] | None,
    *,
    home: Path,
    deadline: float,
    inline: bool,
) -> bool:
    """Train one setting: dense runs, then what chooses the peaks, then what is reported."""
    entries = tuple(
        e for e in catalogue.entries(setting) if not only or e.label in only or e.like in only
    )

    def go(jobs: list[tuple[str, catalogue.Job]]) -> bool:
        return run_all(jobs, results, home, setting.top, deadline, inline=inline)

    dense = [("dense", catalogue.dense_job(setting, seed)) for seed in catalogue.SEEDS]
    looks = [(f"choose {e.label}", job) for e, job in catalogue.choices(setting, entries)]
    if not (go(dense) and go(looks)):
        return False
    peaks = report.chosen_peaks(setting, results, entries)
    return go([(e.label, job) for e, job in catalogue.finals(setting, entries, peaks)])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
