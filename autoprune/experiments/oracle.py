"""SILO against the Oracle: an exhaustive search of each cycle's peak learning rate.

In every prune-retrain cycle one run per candidate peak starts from the same weights, mask and data
order, seed by seed; the candidate of the best mean validation accuracy is the Oracle's peak, and
its network goes into the next cycle. Other schedules run through the same cycles beside it.

References
----------
S. Liu, R. Ghosh, J. Tan Chong Min, M. Motani, "Optimizing Learning Rate Schedules for Iterative
Pruning of Deep Neural Networks", TMLR 2023, arXiv 2212.06144. The grid, the tolerance and the
greedy rule are ours (the paper's own are configuration here).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import fmean
from typing import Any

from autoprune.core.config import LRConfig, TaskConfig, TrialConfig, parse
from autoprune.core.errors import BadInput
from autoprune.core.records import TaskInfo
from autoprune.experiments.answers import compare, curve, dense_accuracy
from autoprune.experiments.base import Costs, Results, Wanted
from autoprune.experiments.grid import (
    OracleOptions,
    Rival,
    fit_silo,
    grid_cells,
    interval,
    union,
)
from autoprune.methods.base import (
    complete,
    cycle_in_plan,
    dense_reference,
    lr_schedule,
    lr_within,
)
from autoprune.pruning.registry import SPARSITY_SCHEDULES
from autoprune.trial.plan import check_fit, check_steps, make_plan


@dataclass
class OracleDesign:
    """The Oracle's question (implements `experiments.base.Design`)."""

    options: OracleOptions
    kind: str = field(default="oracle", init=False)
    measure: tuple[str, ...] = field(default=("rounds",), init=False)
    goes_on: bool = field(default=False, init=False)
    _info: TaskInfo | None = field(default=None, init=False)
    _memo: dict[tuple[Any, ...], TrialConfig] = field(default_factory=dict, init=False)
    _runs: dict[tuple[int, str, bool], list[Wanted]] = field(default_factory=dict, init=False)

    @property
    def task(self) -> TaskConfig:
        """The task."""
        return self.options.base.task

    @property
    def cycles(self) -> int:
        """Number of prune-retrain cycles."""
        return int(self.options.base.params["rounds"])

    @property
    def top_epochs(self) -> int:
        """Retraining epochs over all cycles."""
        return self.options.epochs * self.cycles

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the jobs."""
        options = self.options
        return {
            "base": options.base.trial_id,
            "peaks": list(options.peaks),
            "seeds": list(options.seeds),
            "epochs": options.epochs,
            "tolerance": options.tolerance,
        }

    def begin(self, info: TaskInfo) -> None:
        """Refuse a trial that is too short for its method, or does not fit the model."""
        job = self._over_seeds(self.options.base)[0].job(0)
        check_fit(job.config, info)
        check_steps(job, info, "--epochs")
        make_plan(job, self.top_epochs, pretrained=info.pretrained)
        self._info = info

    def wanted(self, results: Results, costs: Costs) -> Sequence[Wanted]:
        """Return the grid of the cycle that is not decided yet, then the rivals."""
        chosen = self.chosen(results)
        wanted = [
            one for m in range(min(len(chosen) + 1, self.cycles)) for one in self._grid(chosen[:m])
        ]
        if len(chosen) == self.cycles:
            wanted += self._over_seeds(self._listed(chosen), tag="oracle")
        wanted += self._over_seeds(self._dense, "dense")
        for rival in self.rivals(results):
            if rival.config is not None:
                wanted += self._over_seeds(rival.config, tag=rival.name)
        return list({one.key: one for one in wanted}.values())

    def _grid(self, chosen: tuple[float, ...]) -> list[Wanted]:
        """Return one cycle's candidates, those of earlier cycles being chosen."""
        tag = f"cycle {len(chosen) + 1}"
        return [
            one
            for peak in self.options.peaks
            for one in self._over_seeds(self._candidate(chosen, peak), test=False, tag=tag)
        ]

    def chosen(self, results: Results) -> tuple[float, ...]:
        """Return the Oracle's peaks of the cycles that are decided, the first one first."""
        chosen: tuple[float, ...] = ()
        while len(chosen) < self.cycles:
            scores = self._scores(chosen, results)
            if scores is None:
                break
            means = [fmean(row) for row in scores]
            # Tie-break: the lowest peak (card silo).
            chosen += (self.options.peaks[means.index(max(means))],)
        return chosen

    def _scores(self, chosen: tuple[float, ...], results: Results) -> list[list[float]] | None:
        """Return validation accuracies by candidate and seed; None while one is missing."""
        keys = [one.key for one in self._grid(chosen)]
        if any(key not in results for key in keys):
            return None
        values = [results[key].metrics["val_accuracy"] for key in keys]
        count = len(self.options.seeds)
        return [values[i : i + count] for i in range(0, len(values), count)]

    def _candidate(self, chosen: tuple[float, ...], peak: float) -> TrialConfig:
        key = ("candidate", chosen, peak)
        if key not in self._memo:
            whole = self._listed((*chosen, peak))
            stop = len(chosen) + 1
            last = stop == self.cycles
            self._memo[key] = whole if last else replace(whole, stop_round=stop)
        return self._memo[key]

    def _listed(self, peaks: tuple[float, ...]) -> TrialConfig:
        key = ("listed", peaks)
        if key not in self._memo:
            text = ",".join(f"{peak:.9g}" for peak in peaks)
            self._memo[key] = self._with_lr("listed", {"peaks": text, **self._profile})
        return self._memo[key]

    def _over_seeds(self, config: TrialConfig, tag: str = "", *, test: bool = True) -> list[Wanted]:
        """Return a trial on all seeds; asked for once and again, so made once."""
        key = (id(config), tag, test)  # every configuration is kept, so its id stays its own
        if key not in self._runs:
            self._runs[key] = [
                Wanted(config, self.top_epochs, seed, test, tag) for seed in self.options.seeds
            ]
        return self._runs[key]

    def _with_lr(self, name: str, params: dict[str, Any]) -> TrialConfig:
        config = replace(self.options.base, lr=LRConfig(name=name, params=params))
        return complete(config, "oracle")

    @cached_property
    def _dense(self) -> TrialConfig:
        return dense_reference(self.options.base, "oracle")

    @cached_property
    def _silo(self) -> Any:
        return parse(lr_schedule("silo"), self.options.base.lr.params, "lr.silo")

    @property
    def _profile(self) -> dict[str, float]:
        return {name: getattr(self._silo, name) for name in ("warmup", "first", "second")}

    def rivals(self, results: Results) -> list[Rival]:
        """Return the other schedules; those whose parameters depend on results fill in later."""
        grid = [
            Rival("fixed_grid", f"fixed peak {p:g}", self._fixed(p)) for p in self.options.peaks
        ]
        return [
            Rival("silo", "SILO", self.options.base),
            *grid,
            self._fitted_rival(self.fitted(results)),
            *self._at_best_fixed(self.best_fixed(results)),
            self._guarded("lrw", "LR rewinding"),
            self._guarded("allr", "ALLR"),
        ]

    def _fitted_rival(self, fitted: dict[str, Any] | None) -> Rival:
        cycles = f"{self.num_fitted} cycle{'s' if self.num_fitted > 1 else ''}"
        label = f"SILO, fitted on {cycles}"
        if fitted is None:
            return Rival("silo_fitted", label)
        found = {name: fitted[name] for name in ("low", "rise")}
        config = self._made("silo", {**self.options.base.lr.params, **found})
        return Rival("silo_fitted", label, config)

    def _at_best_fixed(self, peak: float | None) -> list[Rival]:
        """Return the schedules that take the best fixed peak, once it is known."""
        if peak is None:
            names = {"fixed_peak": "best fixed peak", "cosine": "cosine", "one_cycle": "one-cycle"}
            return [Rival(name, label) for name, label in names.items()]
        return [
            Rival("fixed_peak", f"best fixed peak, {peak:.3g}", self._fixed(peak)),
            Rival("cosine", "cosine", self._made("cosine", {"peak": peak})),
            Rival("one_cycle", "one-cycle", self._made("one_cycle", {"peak": peak})),
        ]

    def _fixed(self, peak: float) -> TrialConfig:
        return self._made("fixed_peak", {"peak": peak, **self._profile})

    def _made(self, name: str, params: dict[str, Any]) -> TrialConfig:
        key = ("made", name, *sorted(params.items()))
        if key not in self._memo:
            self._memo[key] = self._with_lr(name, params)
        return self._memo[key]

    def _guarded(self, name: str, label: str) -> Rival:
        """Return a rival that the task may not allow, with the reason then."""
        assert self._info is not None, "begin() comes first"
        try:
            config = self._made(name, {})
            job = self._over_seeds(config)[0].job(0)
            make_plan(job, self.top_epochs, pretrained=self._info.pretrained)
        except BadInput as error:
            return Rival(name, label, reason=str(error))
        return Rival(name, label, config)

    def best_fixed(self, results: Results) -> float | None:
        """Return the peak that, kept in all cycles, validates best at the last one."""
        means = []
        for peak in self.options.peaks:
            keys = [one.key for one in self._over_seeds(self._fixed(peak))]
            if any(key not in results for key in keys):
                return None
            means.append(fmean(results[key].metrics["val_accuracy"] for key in keys))
        return self.options.peaks[means.index(max(means))]

    @property
    def num_fitted(self) -> int:
        """Cycles that SILO's parameters are fitted on: the first half, rounded up."""
        return math.ceil(self.cycles / 2)

    def fitted(self, results: Results) -> dict[str, Any] | None:
        """Fit SILO's `low` and `rise` to the Oracle's peaks of the first cycles."""
        chosen = self.chosen(results)[: self.num_fitted]
        if len(chosen) < self.num_fitted:
            return None
        unit = replace(self._silo, low=1e-12, rise=1.0)
        shares = [unit.peak(self._cycle(m)) - 1e-12 for m in range(1, self.num_fitted + 1)]
        ends = (self.options.peaks[0], self.options.peaks[-1])
        return fit_silo(shares, chosen, ends, self._silo.rise)

    def _cycle(self, number: int) -> Any:
        sparsity = self._sparsity(number)
        return cycle_in_plan(number, self.cycles, sparsity, self.options.base.sparsity)

    def _sparsity(self, number: int) -> float:
        schedule = SPARSITY_SCHEDULES.get(str(self.options.base.params["schedule"]))
        return float(schedule(number / self.cycles, self.options.base.sparsity))

    def summary(self, results: Results, costs: Costs) -> dict[str, Any]:
        """Return what is known, see `docs/learning-rate.md`."""
        assert self._info is not None, "begin() comes first"
        options, chosen = self.options, self.chosen(results)
        whole = self._listed(chosen) if len(chosen) == self.cycles else None
        rivals = [Rival("oracle", "Oracle", whole), *self.rivals(results)]
        schedules = [self._schedule(r, chosen, results) for r in rivals if r.name != "fixed_grid"]
        by_name = {row["name"]: row for row in schedules}
        return {
            "data": options.base.task.data,
            "model": options.base.task.model,
            "method": options.base.method,
            "seeds": list(options.seeds),
            "peaks": list(options.peaks),
            "tolerance": options.tolerance,
            "epochs": options.epochs,
            "dense": dense_accuracy(self._over_seeds(self._dense), results),
            "cycles": [self._row(m, chosen, by_name, results) for m in range(1, len(chosen) + 1)],
            "fitted": self._fitted_words(results),
            "best_fixed": self.best_fixed(results),
            "schedules": schedules,
            "comparisons": self._comparisons(by_name),
            **self._costs(chosen, results, costs),
        }

    def _fitted_words(self, results: Results) -> dict[str, Any] | None:
        found = self.fitted(results)
        if found is None:
            return None
        rest = {"beta": self._silo.beta, "delay": self._silo.delay}
        return {**found, **rest, "cycles_used": self.num_fitted}

    def _row(
        self,
        number: int,
        chosen: tuple[float, ...],
        schedules: dict[str, dict[str, Any]],
        results: Results,
    ) -> dict[str, Any]:
        """Return one decided cycle."""
        scores = self._scores(chosen[: number - 1], results)
        assert scores is not None, "the cycle is decided"
        low, high = interval([fmean(row) for row in scores], self.options.tolerance)
        band = [self.options.peaks[low], self.options.peaks[high]]
        silo = self._silo.peak(self._cycle(number))
        row = {
            "cycle": number,
            "sparsity": self._sparsity(number),
            "oracle_peak": chosen[number - 1],
            "interval": band,
            "silo_peak": silo,
            "inside": band[0] <= silo <= band[1],
        }
        for name in ("oracle", "silo"):
            found = schedules[name]
            for key, split in ((f"{name}_accuracy", "test"), (f"{name}_val_accuracy", "val")):
                means = found[f"{split}_accuracy"]
                row[key] = means[number - 1] if means else None
        statuses = [results[one.key].status for one in self._grid(chosen[: number - 1])]
        row["grid"] = grid_cells(self.options.peaks, scores, statuses)
        return row

    def _schedule(
        self, rival: Rival, chosen: tuple[float, ...], results: Results
    ) -> dict[str, Any]:
        """Return one schedule's curves over the cycles; empty while a seed is missing."""
        assert self._info is not None, "begin() comes first"
        wanted = [] if rival.config is None else self._over_seeds(rival.config)
        found = curve(wanted, results, self._info.num_test)
        known = rival.config is not None and bool(found["val"])
        peaks = [self._peak_of(rival.config, m) for m in range(1, self.cycles + 1)] if known else []
        row = {"name": rival.name, "label": rival.label, "peaks": peaks, **found}
        row["config"] = {} if rival.config is None else dict(rival.config.lr.params)
        return {**row, "reason": rival.reason} if rival.reason else row

    def _peak_of(self, config: TrialConfig | None, number: int) -> float | None:
        """Return a schedule's peak in a cycle, where the plan alone decides it."""
        assert config is not None, "asked of known schedules"
        peak = lr_within(config.lr, self._cycle(number)).params.get("peak")
        return None if peak is None else float(peak)

    def _comparisons(self, schedules: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Compare SILO and the Oracle with the best fixed peak, and one with the other."""
        assert self._info is not None, "begin() comes first"
        pairs = [("silo", "fixed_peak"), ("silo_fitted", "fixed_peak"), ("oracle", "fixed_peak")]
        pairs += [("silo", "oracle"), ("silo_fitted", "oracle")]
        pairs += [("silo", name) for name in ("cosine", "one_cycle", "lrw", "allr")]
        rows = []
        for name, against in pairs:
            one, other = schedules[name]["test"], schedules[against]["test"]
            if not one or not other:
                continue
            for number in self._compared:
                found = compare(one[number - 1], other[number - 1], self._info.num_test)
                place = {"cycle": number, "sparsity": self._sparsity(number)}
                rows.append({"name": name, "against": against, **place, **found})
        return rows

    @property
    def _compared(self) -> list[int]:
        """The cycles that are compared: the last, and all from a sparsity of 98 % on."""
        sparse = [m for m in range(1, self.cycles) if self._sparsity(m) >= 0.98 - 1e-9]
        return [*sparse, self.cycles]

    def _costs(self, chosen: tuple[float, ...], results: Results, costs: Costs) -> dict[str, Any]:
        """Return retraining epochs of SILO and of the Oracle, the dense runs left out."""
        dense = union([costs(one) for one in self._over_seeds(self._dense)])
        jobs = [one for m in range(len(chosen)) for one in self._grid(chosen[:m])]
        rivals = self.rivals(results)
        silo = self._over_seeds(self.options.base)
        rest = [
            one
            for rival in rivals
            if rival.config is not None
            for one in self._over_seeds(rival.config)
            if one.key in results
        ]

        def epochs(wanted: Sequence[Wanted]) -> float:
            stages = union([costs(one) for one in wanted])
            return sum(cost for key, cost in stages.items() if key not in dense)

        oracle = epochs(jobs)
        own = epochs(silo)
        return {
            # The Oracle's share of a full grid stands for it while it is not complete.
            "cost_ratio": own / oracle * len(chosen) / self.cycles if oracle else None,
            "costs": {
                "oracle_epochs": oracle,
                "silo_epochs": own,
                "other_epochs": epochs([*jobs, *rest]) - oracle,
            },
        }
