"""What sharing stages saves: epochs asked over epochs trained, and that it changes no bit.

``python -m benchmarks.sharing`` simulates a search of 100 jobs on each shipped space, and trains
a small one on digits twice: with the store, and every job from nothing. What a simulated search
tries is not led by real results; ``--journal JOURNAL`` counts the epochs of a real study.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoprune.core.errors import AutoPruneError
from autoprune.core.records import Job, JobResult
from autoprune.methods.base import METHODS
from autoprune.search.engine import SearchOptions
from autoprune.search.journal import load_events
from autoprune.search.replay import settings_of
from autoprune.search.session import SearchRequest, search
from autoprune.search.state import Record, State
from autoprune.search.study import study_folder
from autoprune.space import load_space
from benchmarks.common import DATA, Row, conclude, environment, show
from benchmarks.simulated import SPACES, VirtualStudy, describe

LEAST = 3.0
BITS = ("trial", "status", "metrics", "layers", "rounds", "mask_sha256", "final_key")
"""What a result says apart from its cost."""


@dataclass(frozen=True)
class Shared:
    """Epochs of some jobs: `asked` is what they cost when each trains all its stages itself."""

    jobs: int
    asked: float
    trained: float

    @property
    def factor(self) -> float:
        """How many times fewer epochs were trained than asked for."""
        return self.asked / self.trained if self.trained else 1.0


def simulate(name: str, budget: int = 100, workers: int = 1) -> dict[str, Shared]:
    """Search a shipped space in simulation; return its parts (see `parts`)."""
    info, _ = describe(name)
    study = VirtualStudy(load_space(name), info, SearchOptions(budget=str(budget)))
    return parts(study.run(workers).state)


def parts(state: State) -> dict[str, Shared]:
    """Add up what a study's jobs asked for and trained: the search, by where it starts, and all.

    A trial that starts from scratch has no dense net to share.
    """
    starts = {"dense": "starts from dense", "scratch": "starts from scratch"}
    return {
        "search": count(state.searched),
        **{
            text: count(
                [r for r in state.searched if METHODS.get(r.job.config.method).start == key]
            )
            for key, text in starts.items()
        },
        "search and confirmation": count(state.records),
    }


def count(records: Sequence[Record]) -> Shared:
    """Add up what jobs asked for and trained."""
    results = [record.result for record in records]
    trained = sum(result.epochs_trained for result in results)
    reused = sum(result.epochs_reused for result in results)
    return Shared(len(results), trained + reused, trained)


def differing(home: Path, name: str, numbers: Sequence[int] | None = None) -> Iterator[str]:
    """Run a study's jobs again, each in a process memory and store that know nothing.

    Yields
    ------
    str
        Job and field of every difference, none of which there should be.
    """
    from autoprune.trial.context import WorkerContext
    from autoprune.trial.run import run_job

    events = load_events(study_folder(home, name) / "journal.jsonl")
    settings, state, task = settings_of(events, home), State(events), None
    for record in state.records:
        if numbers is not None and record.job.number not in numbers:
            continue
        with tempfile.TemporaryDirectory() as empty:
            context = WorkerContext(replace(settings, home=empty), task)
            task = context.task
            found = run_job(record.job, context)
        if any(stage.reused for stage in found.stages):
            raise AutoPruneError(f"job {record.job.number} found a stage in an empty store")
        yield from _differences(record.job, found, record.result)


def _differences(job: Job, found: JobResult, recorded: JobResult) -> Iterator[str]:
    one, other = found.to_json(), recorded.to_json()
    for key in BITS:
        if one[key] != other[key]:
            yield f"job {job.number} ({job.config.method}): {key}"


def train(home: Path, budget: int, space: str | Path = "digits") -> tuple[State, list[str]]:
    """Search for real with the store, then run every job without."""
    options = SearchOptions(budget=str(budget), confirm_seeds=1)
    request = SearchRequest(
        space=space, options=options, home=home, name="shared", executor="inline"
    )
    search(request)
    state = State(load_events(study_folder(home, "shared") / "journal.jsonl"))
    return state, list(differing(home, "shared"))


def rows_of(name: str, found: dict[str, Shared], where: str) -> list[Row]:
    """Word a study's parts as rows; the search is what is promised."""
    return [
        Row(
            f"asked / trained, {name}, {part}",
            shared.factor,
            "times",
            LEAST if part == "search" else None,
            shared.jobs,
            f"{shared.asked:.0f} asked, {shared.trained:.0f} trained; {where}",
        )
        for part, shared in found.items()
    ]


def measure(quick: bool = False) -> list[Row]:
    """Return the factors of every shipped space, and the differences on digits."""
    rows = []
    for name in SPACES[:1] if quick else SPACES:
        found = simulate(name, 12 if quick else 100)
        rows += rows_of(name, found, f"simulated on its {describe(name)[1]}")
    with tempfile.TemporaryDirectory() as folder:
        state, different = train(Path(folder), 3 if quick else 20)
    number = float(len({text.partition(":")[0] for text in different}))
    note = ", ".join(different[:5]) or "every bit equal"
    label = "jobs that differ without the store, digits"
    row = Row(label, number, "jobs", 0.0, len(state.records), note)
    return [*rows, row]


def main(arguments: list[str]) -> int:
    """Return 1 when a factor is too small or a bit differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=__doc__)
    parser.add_argument("--journal", type=Path, help="count a real study's epochs instead")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, for tests: says nothing")
    parser.add_argument("--out", type=Path, default=DATA / "results.csv")
    given = parser.parse_args(arguments)
    if given.journal:
        state = State(load_events(given.journal))
        rows = rows_of(state.header["name"], parts(state), "recorded")
    else:
        rows = measure(quick=given.quick)
    for row in rows:
        print(show(row), flush=True)
    return conclude(rows, given.out, environment(), quick=given.quick)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
