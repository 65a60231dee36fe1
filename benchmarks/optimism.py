"""Whether a confirmed front is honest: its points again, on seeds that nobody chose them by.

``python -m benchmarks.optimism run --home H --study NAME`` retrains every point of a finished
study's confirmed front on 5 more seeds, in the study's own home and settings, in two processes;
stopped, it goes on where it was. ``report`` writes docs/results/optimism.md from what is there.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from autoprune.core.config import TrialConfig, parse
from autoprune.core.errors import StudyError
from autoprune.core.records import Job, JobResult
from autoprune.core.registry import load_object
from autoprune.search.engine import SearchOptions
from autoprune.search.replay import settings_of
from autoprune.search.session import SearchRequest, search
from autoprune.search.study import read_events, study_folder
from autoprune.search.summary import summarize
from benchmarks.common import environment
from benchmarks.methods.pool import Results, key_of
from benchmarks.studies import ROOT, table

NUM_SEEDS, WORKERS = 5, 2
LIMIT_POINTS = 0.2
LABEL = "optimism"


@dataclass(frozen=True)
class Front:
    """The confirmed front of a finished study, and what its jobs were told.

    Parameters
    ----------
    name : str
        The study's.
    points : list of dict
        Entries of `summarize`.
    seeds : tuple of int
        The new ones: above every seed that the study used.
    settings : dict
        `WorkerSettings` as JSON, with one thread a job as the study had it.
    """

    name: str
    points: list[dict[str, Any]]
    seeds: tuple[int, ...]
    settings: dict[str, Any]

    def jobs(self) -> Iterator[Job]:
        """Yield what is to run: a seed's points one after the other, so that they share."""
        for seed in self.seeds:
            for point in self.points:
                config = parse(TrialConfig, point["config"], "config")
                yield Job(0, config, point["epochs"], seed, "confirm", True)


def load(home: Path, name: str, num_seeds: int = NUM_SEEDS) -> Front:
    """Read a study.

    Raises
    ------
    StudyError
        If it is not complete, or nothing of it is confirmed.
    """
    events = read_events(home, name)
    found = summarize(events)
    points = [entry for entry in found["front"] if entry["test_accuracy"] is not None]
    if found["status"] != "complete" or not points:
        raise StudyError(
            "--study", "must be complete, with a confirmed front", name, "resume the search first"
        )
    used = {e["job"]["seed"] for e in events if e["event"] == "job"}
    first = max(used) + 1
    settings = settings_of(events, home).to_json()
    return Front(name, points, tuple(range(first, first + num_seeds)), settings)


def results_of(home: Path, name: str) -> Results:
    """Open the file of finished jobs, which lies beside the study's journal."""
    return Results(study_folder(home, name) / "optimism.jsonl")


def run(front: Front, results: Results, *, inline: bool = False) -> bool:
    """Run what is missing; return whether all is there.

    The first point of every seed goes ahead: it trains the dense net that the others share.
    """
    missing = [job for job in front.jobs() if results.of(LABEL, job) is None]
    ahead = list({job.seed: job for job in reversed(missing)}.values())
    rest = [job for job in missing if job not in ahead]
    for jobs in (ahead, rest):
        for done, (job, content) in enumerate(_finished(jobs, front.settings, inline), start=1):
            result = JobResult.from_json(content)
            results.add(_row(job, result))
            accuracy = result.metrics.get("test_accuracy", math.nan)
            print(
                f"{done}/{len(jobs)} {job.trial[:12]} seed {job.seed}: {result.status}, "
                f"test {accuracy:.4f}, {result.wall_s:.0f} s {result.error}",
                flush=True,
            )
    return all(results.of(LABEL, job) for job in missing)


def _row(job: Job, result: JobResult) -> dict[str, Any]:
    return {
        "key": key_of(LABEL, job),
        "trial": job.trial,
        "seed": job.seed,
        "status": result.status,
        "error": result.error,
        "trained": result.epochs_trained,
        "reused": result.epochs_reused,
        "wall_s": result.wall_s,
        "metrics": result.metrics,
    }


def _finished(
    jobs: list[Job], settings: dict[str, Any], inline: bool
) -> Iterator[tuple[Job, dict[str, Any]]]:
    if inline or len(jobs) < 2:
        for job in jobs:
            yield job, _run(job.to_json(), repr(settings), settings)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawn) as pool:
        futures = {pool.submit(_run, j.to_json(), repr(settings), settings): j for j in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()


_RUNNERS: dict[str, Any] = {}


def _run(job: dict[str, Any], name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run a job in this process, whose worker is opened once."""
    if name not in _RUNNERS:
        opener: Any = load_object("autoprune.trial.context:job_runner")
        _RUNNERS[name] = opener(settings)
    content: dict[str, Any] = _RUNNERS[name](job)
    return content


@dataclass(frozen=True)
class Optimism:
    """Reported less re-measured test accuracy, in points.

    Parameters
    ----------
    by_point : list of float
        Of each point, the mean over the new seeds.
    mean : float
        Over the points.
    error_points, error_seeds : float
        Its standard error with points, and with seeds, as the units that were drawn: the points
        of one seed share a dense net, those of one trial a configuration.
    """

    by_point: list[float]
    mean: float
    error_points: float
    error_seeds: float

    @property
    def error(self) -> float:
        """The greater standard error; of one point, or one seed, the other one."""
        known = [e for e in (self.error_points, self.error_seeds) if not math.isnan(e)]
        return max(known, default=math.nan)


def optimism(reported: Sequence[float], again: Sequence[Sequence[float]]) -> Optimism:
    """Compare what a front says of its points with what they did again.

    Parameters
    ----------
    reported : sequence of float
        Test accuracy of each point, a fraction.
    again : sequence of sequence of float
        Of each point, its test accuracies on the new seeds, the same seeds in the same order.

    Examples
    --------
    >>> found = optimism([0.9, 0.8], [[0.89, 0.91], [0.79, 0.79]])
    >>> [round(value, 6) for value in (*found.by_point, found.mean)]
    [0.0, 1.0, 0.5]
    """
    rows = [[100.0 * (r - a) for a in found] for r, found in zip(reported, again, strict=True)]
    points = [fmean(row) for row in rows]
    seeds = [fmean(column) for column in zip(*rows, strict=True)]
    return Optimism(points, fmean(points), _standard_error(points), _standard_error(seeds))


def _standard_error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def measured(front: Front, results: Results) -> list[list[float]] | None:
    """Return each point's new test accuracies, or nothing while some are missing."""
    found: dict[str, list[float]] = {point["trial"]: [] for point in front.points}
    for job in front.jobs():
        row = results.of(LABEL, job)
        if row is None:
            return None
        found[job.trial].append(row["metrics"]["test_accuracy"])
    return [found[point["trial"]] for point in front.points]


def page(front: Front, again: Sequence[Sequence[float]]) -> Iterator[str]:
    """Yield the lines of docs/results/optimism.md."""
    found = optimism([point["test_accuracy"] for point in front.points], again)
    where = environment()
    task = front.settings["task"]
    seeds = ", ".join(map(str, front.seeds))
    yield f"# How honest the front is: {front.name}"
    yield ""
    yield "Written by `python -m benchmarks.optimism run` and `report`."
    yield ""
    yield (
        f"The confirmed front of a search of {task['data']} with {task['model']}, every point "
        f"retrained from new dense nets on seeds {seeds}, which neither the search nor its "
        "confirmation used. Optimism is the test accuracy that the study reports less the mean "
        "of the new ones."
    )
    yield ""
    yield (
        f"AutoPrune {where['autoprune']}, torch {where['torch']}, Python {where['python']}, "
        f"{front.settings['device']}, {front.settings['threads']} thread(s) a job, last epoch."
    )
    yield ""
    both = {"points": found.error_points, "seeds": found.error_seeds}
    errors = " and ".join(f"{e:.2f} over {n}" for n, e in both.items() if not math.isnan(e))
    verdict = "at most" if found.mean <= LIMIT_POINTS else "more than"
    yield (
        f"**Mean optimism {found.mean:+.2f} points, standard error {found.error:.2f}** "
        f"({verdict} the {LIMIT_POINTS} points that were promised; n = {len(again)} points, "
        f"{len(front.seeds)} seeds; standard error {errors}, of which the greater counts)."
    )
    yield ""
    head = ["trial", "method", "sparsity", "reported %", "again %", "its deviation", "optimism"]
    rows = []
    for point, values, gap in zip(front.points, again, found.by_point, strict=True):
        deviation = 100 * stdev(values) if len(values) > 1 else 0.0
        rows.append(
            [
                f"`{point['trial'][:12]}`",
                point["method"],
                f"{100 * point['sparsity']:.1f} %",
                f"{100 * point['test_accuracy']:.2f}",
                f"{100 * fmean(values):.2f}",
                f"{deviation:.2f}",
                f"{gap:+.2f}",
            ]
        )
    yield from table(head, rows)


def report(front: Front, results: Results, root: Path) -> Path | None:
    """Write the page, if every job is done."""
    again = measured(front, results)
    if again is None:
        return None
    path = root / "docs" / "results" / "optimism.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(page(front, again)).rstrip("\n") + "\n", encoding="utf-8")
    return path


def quick(home: Path, root: Path) -> Path | None:
    """Search digits shortly and measure its front again on two seeds: says nothing."""
    options = SearchOptions(budget="3", confirm_seeds=1)
    search(SearchRequest("digits", options, home=home, name="quick", executor="inline"))
    front, results = load(home, "quick", 2), results_of(home, "quick")
    run(front, results, inline=True)
    return report(front, results, root)


def main(arguments: list[str]) -> int:
    """Return 1 while something is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.optimism", description=__doc__)
    parser.add_argument("what", choices=("run", "report"))
    parser.add_argument("--home", type=Path, default=Path("autoprune-home"))
    parser.add_argument("--study", default="fashion_mnist")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS, help="how many new ones")
    parser.add_argument("--root", type=Path, default=ROOT, help="where docs/results lies")
    parser.add_argument("--quick", action="store_true", help="tiny, on digits: says nothing")
    given = parser.parse_args(arguments)
    if given.quick:
        with tempfile.TemporaryDirectory() as folder:
            print(quick(Path(folder), Path(folder) if given.root == ROOT else given.root))
        return 0
    front, results = load(given.home, given.study, given.seeds), results_of(given.home, given.study)
    if given.what == "run":
        done = run(front, results)
        print("complete" if done else "not complete: run it again to go on")
        return 0 if done else 1
    path = report(front, results, given.root)
    print(path or "not complete: `python -m benchmarks.optimism run` goes on")
    return 0 if path else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
