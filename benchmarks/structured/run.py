"""Do what is missing, part by part; every job is in the journal as soon as it ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autoprune.core.canonical import digest
from autoprune.core.records import TaskInfo
from autoprune.methods.base import METHODS
from benchmarks.methods.catalogue import Setting
from benchmarks.methods.pool import Needs, Results, context_of, key_of, run_all
from benchmarks.structured import catalogue
from benchmarks.structured.catalogue import LATE, MEASURE, SCRATCH, Planned, Scale
from benchmarks.structured.cost import Bill, seconds_per_epoch

PARTS = ("A", "B", "C", "D")


@dataclass
class Table:
    """One setting of part A, or the wide net of part D: what can be trained, and the jobs.

    Parameters
    ----------
    seeds : tuple of int
        Replicates of every line.
    only, without : tuple of str
        Lines that are in it (empty: all), and that are not.
    test : bool
        Read the test split; the wide net is only timed.
    """

    setting: Setting
    info: TaskInfo
    seeds: tuple[int, ...]
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    test: bool = True
    refused: dict[str, str] = field(default_factory=dict)

    @cached_property
    def entries(self) -> tuple[Any, ...]:
        """Lines that can be trained; the others are in `refused` then."""
        found = [e for e in catalogue.entries() if not self.only or e.label in self.only]
        wanted = tuple(e for e in found if e.label not in self.without)
        fit, self.refused = catalogue.usable(self.setting, wanted, self.info)
        return fit

    def dense(self) -> list[Planned]:
        """Return the dense runs."""
        return catalogue.dense_runs(self.setting, self.seeds, test=self.test)

    def looks(self) -> list[Planned]:
        """Return what chooses the peak; nothing where there is no choice."""
        several = len(self.setting.peaks) > 1
        return catalogue.looks(self.setting) if several else []

    def peak(self, results: Results) -> float | None:
        """Return the peak of best validation accuracy, the lower where they tie."""
        if not self.looks():
            return self.setting.peaks[0]
        rows = [results.of(one.label, one.job) for one in self.looks()]
        if None in rows:
            return None
        by = {row["peak"]: row["metrics"].get("val_accuracy", 0.0) for row in rows if row}
        return max(sorted(by), key=lambda peak: by[peak])

    def finals(self, peak: float, *, late: bool) -> list[Planned]:
        """Return the reported jobs, or those that are left for last."""
        found = catalogue.finals(self.setting, self.entries, peak, self.seeds, test=self.test)
        return [one for one in found if ((one.label, one.target) == LATE) is late]


class Run:
    """All parts.

    Parameters
    ----------
    deadline : float
        Time (as `time.monotonic`) from which on no job is started.
    """

    def __init__(self, scale: Scale, results: Results, home: Path, deadline: float) -> None:
        self.scale, self.results, self.home, self.deadline = scale, results, home, deadline

    @cached_property
    def tables(self) -> list[Table]:
        """Part A."""
        scale = self.scale
        return [Table(s, self._info(s), scale.seeds, scale.only) for s in scale.tables]

    @cached_property
    def wide(self) -> Table:
        """Part D, without what has another line's widths by its making."""
        setting = self.scale.wide
        return Table(setting, self._info(setting), (0,), self.scale.wide_only, SCRATCH, test=False)

    def _info(self, setting: Setting) -> TaskInfo:
        needs = Needs(str(self.home), setting.top, self.deadline)
        info: TaskInfo = context_of(setting.task, needs).full_info
        return info

    def go(self, parts: Iterable[str]) -> bool:
        """Do some parts; return whether all of them is there. What costs most comes last."""
        parts, done = set(parts), True
        if "A" in parts:
            done &= _each(self._train(table) for table in self.tables)
        if "B" in parts:
            done &= self._drops(self.scale.seeds)
            self._pursuit()
        if "C" in parts:
            self._counts()
        if "A" in parts:
            done &= _each(self._time(table) for table in self.tables)
        if "D" in parts:
            done &= self._train(self.wide) and self._time(self.wide)
        if "A" in parts:
            done &= _each(self._train(table, late=True) for table in self.tables)
        if "B" in parts and self.scale.more_seeds:
            done &= self._drops(self.scale.more_seeds)
        return done

    def _jobs(self, setting: Setting, planned: Iterable[Planned], measure: tuple[str, ...]) -> bool:
        return run_all(
            [(one.label, one.job) for one in planned],
            self.results,
            self.home,
            setting.top,
            self.deadline,
            measure=measure,
            structure=True,
            inline=self.scale.inline,
        )

    def _train(self, table: Table, *, late: bool = False) -> bool:
        """Train dense nets, then what chooses the peak, then what is reported."""
        setting = table.setting
        self._note(table)
        for label, reason in () if late else table.refused.items():
            print(f"{setting.name}: no {label}: {reason}", flush=True)
        fresh = MEASURE[1:]
        if not all(self._jobs(setting, jobs, fresh) for jobs in (table.dense(), table.looks())):
            return False
        self._note(table)
        peak = table.peak(self.results)
        if peak is None:
            return False
        planned: dict[bool, list[Planned]] = {True: [], False: []}
        for one in table.finals(peak, late=late):
            retrains = METHODS.get(one.job.config.method).start == "dense"
            planned[retrains and table.test].append(one)
        measure = {True: MEASURE, False: fresh}
        return _each(self._jobs(setting, planned[which], measure[which]) for which in measure)

    def _note(self, table: Table) -> None:
        """Write down which jobs the report is to show, so that it needs no data."""
        known = [entry.label for entry in table.entries]
        peak = table.peak(self.results)
        shown = table.dense()
        if peak is not None:
            shown += [one for late in (False, True) for one in table.finals(peak, late=late)]
        row = {
            "jobs": [[key_of(one.label, one.job), one.label, one.target] for one in shown],
            "lines": known,
            "refused": table.refused,
            "peak": peak,
            "classes": table.info.num_classes,
            "shape": list(table.info.input_shape),
        }
        self._keep(f"wanted/{table.setting.name}", row)

    def _keep(self, key: str, row: dict[str, Any]) -> None:
        """Journal a row of no job, once."""
        full = {"key": key, "status": "ok", **row}
        if self.results.rows.get(key) != full:
            self.results.add(full)

    def _drops(self, seeds: tuple[int, ...]) -> bool:
        """Train DropNet's rounds under each rule, tested after every round."""
        planned = catalogue.drops(self.scale, seeds)
        every = catalogue.drops(self.scale, (*self.scale.seeds, *self.scale.more_seeds))
        shown = [[key_of(one.label, one.job), one.label, one.target] for one in every]
        self._keep(f"wanted/{self.scale.drops.name}", {"jobs": shown})
        return self._jobs(self.scale.drops, planned, ("rounds",))

    def _pursuit(self) -> None:
        from benchmarks.structured import pursuit

        key = f"pursuit/{self.scale.draws}"
        if key not in self.results.rows:
            self._keep(key, pursuit.measure(self.scale.draws))

    def _counts(self) -> None:
        from benchmarks.structured import counts

        key = f"counts/{self.scale.deep}"
        if key not in self.results.rows:
            self._keep(key, {"net": self.scale.deep, "found": counts.measure(self.scale.deep)})

    def _time(self, table: Table) -> bool:
        """Time the nets of the first seed, each structure once, when nothing else runs."""
        from benchmarks.structured.latency import Nets, timed, widths

        setting, peak = table.setting, table.peak(self.results)
        if peak is None:
            return False
        nets = Nets(setting.task, table.info.num_classes, table.info.input_shape)
        done = True
        for target in setting.sparsities:
            planned = [one for one in table.finals(peak, late=False) if one.target == target]
            rows = [self.results.of(o.label, o.job) for o in planned if o.job.seed == 0]
            found = {widths(row): row for row in rows if row and row.get("units") is not None}
            done &= bool(found)
            key = f"latency/{setting.name}/{target:g}/{digest(sorted(found))[:10]}"
            if not found or key in self.results.rows:
                continue
            print(f"{setting.name} {target:g}: timing {len(found)} nets", flush=True)
            slim = {"dense": nets.dense, **{name: nets.of(row) for name, row in found.items()}}
            scale, export = self.scale, not self.scale.inline or table is self.wide
            times = timed(slim, nets.shape, scale.calls, scale.repeats, export=export)
            self._keep(key, {"times": times})
        return done

    def plan(self, parts: Iterable[str]) -> str:
        """Word what is still to be done, and what it costs."""
        bill, scale, parts = Bill(self.results), self.scale, set(parts)
        lines: list[tuple[str, float, float]] = []

        def add(name: str, setting: Setting, planned: list[Planned], known: list[Planned]) -> None:
            epoch = seconds_per_epoch(self.results, known, scale.epoch_s.get(setting.name, 1.0))
            lines.append(
                (
                    name,
                    bill.epochs(planned, setting.top, scale.measured.get(setting.name, 0.0)),
                    epoch,
                )
            )

        late = []
        for table in [
            *(self.tables if "A" in parts else []),
            *([self.wide] if "D" in parts else []),
        ]:
            peak, dense = table.peak(self.results) or table.setting.peaks[0], table.dense()
            now = [*dense, *table.looks(), *table.finals(peak, late=False)]
            add(table.setting.name, table.setting, now, dense)
            late.append((table, table.finals(peak, late=True), dense))
        if "B" in parts:
            first = catalogue.drops(scale, scale.seeds)
            add("dropnet's rules", scale.drops, first, first)
        for table, last, dense in late:
            if last:
                add(
                    f"last: {LATE[0]} at {LATE[1]:g}, {table.setting.name}",
                    table.setting,
                    last,
                    dense,
                )
        if "B" in parts and scale.more_seeds:
            more = catalogue.drops(scale, scale.more_seeds)
            add("last: dropnet's rules, further seeds", scale.drops, more, first)
        return _bill(lines, 1 if scale.inline else 2)


def _each(steps: Iterable[bool]) -> bool:
    """Take all steps, also after one that is not complete."""
    return all(list(steps))


def _bill(lines: list[tuple[str, float, float]], cores: int) -> str:
    text, total = [], 0.0
    for name, epochs, epoch in lines:
        minutes = epochs * epoch / 60 / cores
        total += minutes
        work = f"{epochs:6.0f} epochs x {epoch:5.1f} s = {minutes:6.1f} min"
        text.append(f"{name:40} {work}, {total:6.1f} so far")
    note = f"on {cores} core(s); scores and latencies are some 10 minutes more"
    return "\n".join([*text, note])
