"""Scenarios: how often what is done to which search, and what it came to."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, load_summary, search
from autoprune.search.study import read_events
from autoprune.stages.store import Store
from autoprune.testing.spaces import TINY
from autoprune.tracking.keys import has_champion
from benchmarks.kill import checks, injuries, mirrored
from benchmarks.kill.decisions import parts_of, replayed_otherwise
from benchmarks.kill.injuries import Injury, Patient
from benchmarks.kill.process import STUDY, Hung, Search
from benchmarks.kill.table import ZERO, Row

MAX_STUDIES = 4
"""Searches that a scenario may use up to place its injuries."""
_DELAY_S = 0.3


@dataclass(frozen=True)
class Scenario:
    """An injury, as often as it is done."""

    name: str
    injury: Injury
    executor: str
    count: int


LONG = tuple(
    Scenario(name, injury, executor, count)
    for name, injury, count, executors in (
        ("kill driver", injuries.kill_driver, 20, ("inline", "ray")),
        ("kill worker", injuries.kill_worker, 20, ("ray",)),
        ("kill node", injuries.kill_node, 2, ("ray",)),
        ("torn line", injuries.tear, 10, ("inline", "ray")),
        ("full disk", injuries.fill_disk, 1, ("inline", "ray")),
        ("corrupt stage", injuries.corrupt, 5, ("inline", "ray")),
        ("remove stage", injuries.remove, 5, ("inline", "ray")),
    )
    for executor in executors
)
SHORT = (Scenario("kill driver, torn line", injuries.tear, "inline", 3),)


@dataclass(frozen=True)
class Size:
    """How large the searches are."""

    budget: int = 24
    confirm_seeds: int = 1


@dataclass
class Bench:
    """Runs scenarios of one size, beside one undisturbed search.

    Parameters
    ----------
    folder : Path
        Everything is put below it; what ended well is deleted.
    size : Size
        Of every search.
    seed : int
        Of the moments and places.
    """

    folder: Path
    size: Size = field(default_factory=Size)
    seed: int = 0
    keep: bool = False

    @cached_property
    def undisturbed(self) -> tuple[list[Any], dict[str, Any]]:
        """The events and the summary of a search that nothing happened to, inline."""
        home = self.folder / "undisturbed"
        space = home / "tiny.yaml"
        home.mkdir(parents=True)
        space.write_text(TINY, encoding="utf-8")
        options = SearchOptions(budget=str(self.size.budget), confirm_seeds=self.size.confirm_seeds)
        request = SearchRequest(space=space, options=options, home=home, executor="inline")
        summary = search(request)
        return read_events(home, STUDY), summary

    def run(self, scenario: Scenario) -> Row:
        """Run a scenario, on as many searches as it takes, and check each of them."""
        start, done = time.monotonic(), 0
        place = f"{scenario.name} {scenario.executor}".replace(" ", "-")
        rng = np.random.default_rng([self.seed, *place.encode()])
        row = Row(scenario.name, scenario.executor, 0, scenario.count)
        span = len(self.undisturbed[0])
        for number in range(MAX_STUDIES):
            folder = self.folder / f"{place}-{number}"
            patient = Patient(self._search(folder, scenario.executor), rng)
            try:
                hurt(patient, scenario.injury, scenario.count - done, span)
                done += len(patient.moments)
                row = add(row, self.check(patient))
            except Hung as error:
                row = replace(row, wrong=(*row.wrong, f"hung: {error}"))
            finally:
                patient.search.close()
            if not _is_bad(row) and not self.keep:
                shutil.rmtree(folder)
            if done >= scenario.count or _is_bad(row):
                break
        return replace(row, seconds=time.monotonic() - start)

    def _search(self, folder: Path, executor: str) -> Search:
        return Search(folder, executor, self.size.budget, self.size.confirm_seeds)

    def check(self, patient: Patient) -> Row:
        """Compare a finished study with what it must be."""
        found, moments = patient.search, patient.moments
        events = found.events
        parts = parts_of(events, found.space, found.home)
        damaged = set(patient.times_damaged)
        again = checks.trained_twice(events) | checks.trained_though_stored(events, moments)
        again |= {key for key, times in found.rewrites.items() if times}
        beyond = {
            key
            for key, times in patient.times_damaged.items()
            if found.rewrites[key] > times * found.workers
        }
        again_though_whole = (again - damaged) | beyond
        cut = checks.unfinished(events, moments, parts.trained_by())
        stopped = sum(moment.stopped for moment in moments)
        differ = replayed_otherwise(events, parts)
        front = None
        if found.executor == "inline":
            unbroken, summary = self.undisturbed
            differ += checks.differing(checks.decisions(events), checks.decisions(unbroken))
            differ += checks.differing(checks.outcomes(events), checks.outcomes(unbroken))
            mine = load_summary(found.home, STUDY)
            front = all(mine[part] == summary[part] for part in ("front", "profile"))
        unnoticed, broken = _read_store(patient)
        mirror = mirrored.differences(
            mirrored.expected(found.home, STUDY), mirrored.found(found.home, STUDY)
        )
        wrong = patient.wrong + [f"MLflow: {what}" for what in mirror[:3]]
        if not has_champion(mirrored.ids(found.home, STUDY), STUDY):
            wrong.append("MLflow: no champion")
        return Row(
            "",
            found.executor,
            len(moments),
            0,
            lost=len(checks.lost(events)),
            duplicated=len(checks.duplicated(events)),
            failed=len(checks.failed(events)),
            repeated=cut + len(again),
            allowed=stopped + found.workers * patient.times_damaged.total(),
            again=len(again_though_whole),
            differ=differ,
            rewritten=patient.rewritten + (not checks.is_prefix(patient.kept, events)),
            front=front,
            unnoticed=unnoticed,
            broken=broken,
            temporary=len(found.temporary),
            mirror=len(mirror),
            wrong=tuple(wrong),
        )


def hurt(patient: Patient, injury: Injury, count: int, span: int) -> None:
    """Injure a search at random moments of its progress, and bring it to its end.

    The moments are sizes of the journal, and a while after. Where it has that size already, the
    moment is one of the search's start.
    """
    for lines in sorted(int(n) for n in patient.rng.integers(0, span - 1, size=count)):
        if not _hurt_at(patient, injury, lines):
            break
    finish(patient)


def _hurt_at(patient: Patient, injury: Injury, lines: int) -> bool:
    """Injure a search once it is so far, or later where that does not serve; False if it ended."""
    rng, found = patient.rng, patient.search
    while True:
        starting = False
        if not found.running:
            if found.runs and _ended(found):
                return False
            found.start()
            starting = found.lines >= lines
        delay_s = rng.uniform(0.0, found.start_s if starting else _DELAY_S)
        if not found.wait_for(lines, delay_s):
            return False
        if injury(patient):
            return True
        lines = found.lines + 1


def _ended(found: Search) -> bool:
    return found.process.returncode == 0


def finish(patient: Patient) -> None:
    """Bring a search to its end."""
    found = patient.search
    if not found.running and not (found.runs and _ended(found)):
        found.start()
    code = found.end()
    if code != 0:
        patient.wrong.append(f"the last run ended with {code}: {found.told[-500:]}")


def add(row: Row, found: Row) -> Row:
    """Return the row with another study's findings."""
    sums = (*ZERO, "injuries", "repeated", "allowed", "temporary")
    total: dict[str, Any] = {name: getattr(row, name) + getattr(found, name) for name in sums}
    front = None if found.front is None else found.front and row.front is not False
    return replace(row, **total, front=front, wrong=(*row.wrong, *found.wrong))


def _read_store(patient: Patient) -> tuple[int, int]:
    """Read every stored state: which damage goes unnoticed, and what else is not whole."""
    store = Store(patient.search.home / "store")
    unnoticed = broken = 0
    for key, path in patient.search.stored.items():
        damaged = patient.damage.get(key) == injuries.sha256(path)
        whole = store.get(key) is not None
        unnoticed += damaged and whole
        broken += not damaged and not whole
    return unnoticed, broken


def by_name(scenarios: Sequence[Scenario], wanted: Sequence[str]) -> list[Scenario]:
    """Return the scenarios whose name or executor is asked for; all when none is."""
    return [
        s for s in scenarios if not wanted or any(w in f"{s.name} {s.executor}" for w in wanted)
    ]


def _is_bad(row: Row) -> bool:
    """Whether anything is wrong but the number of injuries, which other searches may bring."""
    return bool(replace(row, wanted=0).faults)
