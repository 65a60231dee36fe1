"""Accuracy against compression for chosen methods, in ShrinkBench's terms; with noisy labels, too.

References
----------
D. Blalock, J. J. Gonzalez Ortiz, J. Frankle, J. Guttag, "What is the State of Neural Network
Pruning?", MLSys 2020, arXiv 2003.03033 (metrics, record, checklist). Z. He, Z. Xie, Q. Zhu,
Z. Qin, "Sparse Double Descent: Where Network Pruning Aggravates Overfitting", ICML 2022,
arXiv 2206.08684 (the study with noisy labels).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from statistics import fmean, stdev
from typing import Any

from autoprune.core.config import TaskConfig, TrialConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.core.records import JobResult, TaskInfo
from autoprune.experiments.answers import compare, dense_accuracy, ends, rounds_of
from autoprune.experiments.base import Costs, Results, Wanted
from autoprune.experiments.checklist import checklist
from autoprune.experiments.points import Arm, Point, SweepOptions, ratio_of, sparsity_for
from autoprune.methods.base import METHODS, complete, dense_reference
from autoprune.methods.reach import reach_on
from autoprune.methods.scratch_of import control_of
from autoprune.metrics.phases import find_phases
from autoprune.trial.plan import check_fit, check_steps, make_plan

SHARE = 0.2
"""Share of the surviving weights that one level removes (card sparse_double_descent, C2)."""


@dataclass
class SweepDesign:
    """A sweep's question (implements `experiments.base.Design`)."""

    options: SweepOptions
    kind: str = field(default="sweep", init=False)
    goes_on: bool = field(default=True, init=False)
    _info: TaskInfo | None = field(default=None, init=False)
    _points: tuple[Point, ...] = field(default=(), init=False)
    _jobs: dict[tuple[str, float], list[Wanted]] = field(default_factory=dict, init=False)
    _chains: dict[str, bool] = field(default_factory=dict, init=False)

    @property
    def task(self) -> TaskConfig:
        """The task."""
        return self.options.base.task

    @property
    def top_epochs(self) -> int:
        """Retraining epochs of a point."""
        return self.options.epochs

    @property
    def measure(self) -> tuple[str, ...]:
        """What ShrinkBench's record holds, and what the study of noise looks at."""
        return ("top5", "before", "train", "distance", "rounds")

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the jobs."""
        options = self.options
        return {
            "base": options.base.trial_id,
            "arms": [[a.label, a.method, dict(a.params), a.reinit] for a in options.arms],
            "seeds": list(options.seeds),
            "epochs": options.epochs,
            "sparsities": list(options.sparsities),
            "ratios": list(options.ratios),
            "levels": options.levels,
        }

    def begin(self, info: TaskInfo) -> None:
        """Turn ratios into sparsities, and refuse what an arm cannot do."""
        self._info = info
        self._points = tuple(self._places(info))
        for arm in self.options.arms:
            self._check_reach(arm, info)
            for point in self._points:
                if point.sparsity:
                    self._check(self._wanted(arm, point)[0], info)

    def _check_reach(self, arm: Arm, info: TaskInfo) -> None:
        """Refuse points beyond what a kind of pruning reaches on this model."""
        method, last = METHODS.get(arm.method, "--methods"), self._points[-1]
        params: Any = parse(method.params, dict(arm.params), f"--methods {arm.label}.{arm.method}")
        limit = reach_on(method, params, info, "weights")[1]
        if last.sparsity > limit and limit < method.reaches(params)[1]:
            raise ConfigError(
                f"--methods {arm.label}",
                f"must reach every point; it gets to a sparsity of {limit:.4g} on this model, "
                f"{ratio_of(limit, info):.3g} times fewer parameters",
                f"{last.sparsity:.4g}",
                "leave the sparsest points or the method out",
            )

    @staticmethod
    def _check(wanted: Wanted, info: TaskInfo) -> None:
        job = wanted.job(0)
        check_fit(job.config, info)
        check_steps(job, info, "--epochs")
        make_plan(job, wanted.epochs, pretrained=info.pretrained)

    def _places(self, info: TaskInfo) -> list[Point]:
        options = self.options
        if options.ratios:
            return [Point(sparsity_for(ratio, info), ratio) for ratio in options.ratios]
        if options.levels:
            levels = range(options.levels + 1)
            found = [(1.0 - (1.0 - SHARE) ** level, level) for level in levels]
            return [Point(s, ratio_of(s, info), level) for s, level in found]
        return [Point(s, ratio_of(s, info)) for s in options.sparsities]

    # The jobs -----------------------------------------------------------------------------------

    def wanted(self, results: Results, costs: Costs) -> Sequence[Wanted]:
        """Return every job: the dense runs, then the points, seed by seed."""
        wanted = list(self._dense())
        for place in range(len(self.options.seeds)):
            for arm in self.options.arms:
                wanted += [
                    self._wanted(arm, point)[place] for point in self._points if point.sparsity
                ]
        return list({one.key: one for one in wanted}.values())

    def _dense(self) -> list[Wanted]:
        dense = dense_reference(self.options.base, "sweep")
        return self._on_seeds("dense", 0.0, dense, self.options.epochs)

    def _on_seeds(self, label: str, place: float, config: TrialConfig, epochs: int) -> list[Wanted]:
        key = (label, place)
        if key not in self._jobs:
            self._jobs[key] = [
                Wanted(config, epochs, seed, test=True, tag=label) for seed in self.options.seeds
            ]
        return self._jobs[key]

    def _wanted(self, arm: Arm, point: Point) -> list[Wanted]:
        """Return one arm's jobs at one point, one per seed."""
        key = (arm.label, self._place(arm, point))
        if key in self._jobs:
            return self._jobs[key]
        config, epochs = self._trial(arm, point)
        if arm.reinit:
            control = control_of(config, epochs, self.top_epochs)
            config, epochs = complete(control, f"--methods {arm.label}"), self.options.epochs
        return self._on_seeds(*key, config, epochs)

    def _place(self, arm: Arm, point: Point) -> float:
        """Return what tells an arm's jobs apart: a chain has one for all of its levels."""
        chained = point.level and self._is_chain(arm) and not arm.reinit
        return 0.0 if chained else point.sparsity

    def _trial(self, arm: Arm, point: Point) -> tuple[TrialConfig, int]:
        """Return an arm's trial for a point, and its retraining epochs."""
        options, params = self.options, dict(arm.params)
        sparsity, epochs, stop = point.sparsity, options.epochs, None
        if point.level and self._is_chain(arm):
            params = self._chain_params(arm)
            sparsity, epochs = self._points[-1].sparsity, options.epochs * options.levels
            stop = point.level if arm.reinit and point.level < options.levels else None
        config = replace(
            options.base, method=arm.method, params=params, sparsity=sparsity, stop_round=stop
        )
        return complete(config, f"--methods {arm.label}"), epochs

    @staticmethod
    def _fields(arm: Arm) -> set[str]:
        return {f.name for f in fields(METHODS.get(arm.method, "--methods").params)}

    def _chain_params(self, arm: Arm) -> dict[str, Any]:
        chain = {"rounds": self.options.levels, "schedule": "geometric"}
        return {**arm.params, **{k: v for k, v in chain.items() if k in self._fields(arm)}}

    def _is_chain(self, arm: Arm) -> bool:
        """Whether levels are the rounds of one trial of an arm: it offers one state for each.

        Others go to every level in a trial of its own; if they have rounds, within its epochs.
        """
        if arm.label not in self._chains:
            self._chains[arm.label] = self._offers_rounds(arm)
        return self._chains[arm.label]

    def _offers_rounds(self, arm: Arm) -> bool:
        method = METHODS.get(arm.method, "--methods")
        if method.parts is None or "rounds" not in self._fields(arm):
            return False
        options = self.options
        config = replace(
            options.base,
            method=arm.method,
            params=self._chain_params(arm),
            sparsity=self._points[-1].sparsity,
        )
        epochs = options.epochs * options.levels
        job = Wanted(complete(config, f"--methods {arm.label}"), epochs, 0).job(0)
        plan = make_plan(job, self.top_epochs, pretrained=self._known.pretrained)
        return len(plan) == options.levels

    # The answer ---------------------------------------------------------------------------------

    def summary(self, results: Results, costs: Costs) -> dict[str, Any]:
        """Return what is known: the record's rows, curves, comparisons, phases, checklist."""
        info, options = self._known, self.options
        rows = [
            row
            for arm in options.arms
            for point in self._points
            for row in self._rows(arm, point, results)
        ]
        curves = [self._curve(arm, rows) for arm in options.arms]
        dense = dense_accuracy(self._dense(), results)
        return {
            "data": options.base.task.data,
            "model": options.base.task.model,
            "seeds": list(options.seeds),
            "label_noise": options.base.task.label_noise,
            "epochs": options.epochs,
            "num_classes": info.num_classes,
            "dense": {**dense, "params": info.params, "macs": info.macs},
            "rows": rows,
            "curves": curves,
            "comparisons": self._comparisons(rows),
            "phases": self._phases(curves, rows),
            "checklist": checklist(
                methods=[(arm.method, str(self._allocation(arm))) for arm in options.arms],
                num_points=sum(point.sparsity > 0 for point in self._points),
                num_seeds=len(options.seeds),
                num_classes=info.num_classes,
            ),
        }

    @property
    def _known(self) -> TaskInfo:
        assert self._info is not None, "begin() comes first"
        return self._info

    def _rows(self, arm: Arm, point: Point, results: Results) -> list[dict[str, Any]]:
        """Return one arm's rows at one point; a ratio of 1 is the dense net, in every arm."""
        jobs = self._wanted(arm, point) if point.sparsity else self._dense()
        rows = []
        for one in jobs:
            if one.key in results:
                result = results[one.key]
                metrics = self._at_level(arm, point, result)
                rows.append(self._row(arm, point, one, result, metrics))
        return rows

    def _at_level(self, arm: Arm, point: Point, result: JobResult) -> dict[str, float]:
        """Return what a job measured at a point: after the point's round, where it is a chain."""
        if not point.level or arm.reinit or not self._is_chain(arm):
            return result.metrics
        names = set(result.metrics)
        rounds = [set(r.metrics) for r in result.rounds]
        shared = names.intersection(*rounds) if rounds else names
        return {name: rounds_of(result, name)[point.level - 1] for name in shared}

    def _row(
        self, arm: Arm, point: Point, one: Wanted, result: JobResult, metrics: dict[str, float]
    ) -> dict[str, Any]:
        """Return one run in ShrinkBench's columns and ours."""
        info, config = self._known, one.config
        trained = config.recipe.optimizer_config(config.train)
        accuracy, top5 = metrics["test_accuracy"], metrics.get("test_top5")
        epochs = self.options.epochs if point.sparsity else 0
        return {
            "dataset": config.task.data,
            "model": config.task.model,
            "method": arm.label,
            "strategy": arm.method,
            "allocation": self._allocation(arm),
            "target_sparsity": point.sparsity,
            "target_compression": point.compression,
            "seed": one.seed,
            "status": self._status(arm, point, result),
            "sparsity": metrics["sparsity"],
            "size": info.params,
            "size_nz": round(metrics["params_nonzero"]),
            "real_compression": info.params / max(metrics["params_nonzero"], 1.0),
            "flops": info.macs,
            "flops_nz": round(metrics["macs_effective"]),
            "speedup": info.macs / max(metrics["macs_effective"], 1.0),
            "pre_acc1": metrics.get("before_test_accuracy", accuracy),
            "pre_acc5": metrics.get("before_test_top5", top5),
            "post_acc1": accuracy,
            "post_acc5": top5,
            "val_acc1": metrics["val_accuracy"],
            "train_acc1": metrics.get("train_accuracy"),
            **{k: metrics.get(k) for k in ("distance", "distance_alive", "distance_pruned")},
            "batch_size": trained.batch_size,
            "epochs": epochs,
            "completed_epochs": epochs,
            "optim": trained.optimizer,
            "lr": config.lr.params.get("peak") if point.sparsity else config.train.lr,
            "lr_schedule": config.lr.name if point.sparsity else config.train.schedule,
            "label_noise": config.task.label_noise,
            "path": result.final_key,
        }

    def _status(self, arm: Arm, point: Point, result: JobResult) -> str:
        """Return a run's status; that of a broken chain's earlier levels is not known."""
        chained = point.level and self._is_chain(arm) and not arm.reinit
        if chained and point.level < self.options.levels and result.status != "ok":
            return "unknown"
        return result.status

    def _allocation(self, arm: Arm) -> str | None:
        point = next((p for p in self._points if p.sparsity), None)
        if point is None:
            return None
        found = self._trial(arm, point)[0].params.get("allocation")
        return None if found is None else str(found)

    def _curve(self, arm: Arm, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        points = []
        for point in self._points:
            mine = _at(rows, arm.label, point)
            if mine:
                points.append(self._curve_point(point, mine))
        return {"method": arm.label, "points": points}

    def _curve_point(self, point: Point, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        accuracies = [row["post_acc1"] for row in rows]
        return {
            "compression": point.compression,
            "sparsity": fmean(row["sparsity"] for row in rows),
            "real_compression": fmean(row["real_compression"] for row in rows),
            "speedup": fmean(row["speedup"] for row in rows),
            "n": len(rows),
            "accuracy": fmean(accuracies),
            "std": stdev(accuracies) if len(accuracies) > 1 else None,
            "ci95": ends(accuracies, self._known.num_test),
            "acc5": _mean(rows, "post_acc5"),
            "pre_accuracy": _mean(rows, "pre_acc1"),
            "train_accuracy": _mean(rows, "train_acc1"),
            "distance": _mean(rows, "distance"),
            "status_counts": dict(Counter(row["status"] for row in rows)),
        }

    def _comparisons(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Compare every arm with the first one at every point, seed by seed."""
        first, *rest = self.options.arms
        found = []
        for arm in rest:
            for point in self._points:
                one, other = (
                    {row["seed"]: row["post_acc1"] for row in _at(rows, a.label, point)}
                    for a in (arm, first)
                )
                shared = [seed for seed in self.options.seeds if seed in one and seed in other]
                if point.sparsity and shared:
                    ours, theirs = [one[s] for s in shared], [other[s] for s in shared]
                    content = compare(ours, theirs, self._known.num_test)
                    place = {"compression": point.compression, "sparsity": point.sparsity}
                    found.append({"method": arm.label, "against": first.label, **place, **content})
        return found

    def _phases(
        self, curves: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        """Return the phases of every arm, where points are levels and all of them are known."""
        if not self.options.levels:
            return {}
        phases = {}
        for curve in curves:
            points = curve["points"]
            if len(points) == len(self._points) >= 3:
                phases[curve["method"]] = find_phases(
                    [point.sparsity for point in self._points],
                    [point["accuracy"] for point in points],
                    [point["train_accuracy"] for point in points],
                    _pooled([point["std"] for point in points]),
                    num_seeds=len(self.options.seeds),
                ).to_json()
        return phases


def _at(rows: Sequence[dict[str, Any]], label: str, point: Point) -> list[dict[str, Any]]:
    return [r for r in rows if r["method"] == label and r["target_sparsity"] == point.sparsity]


def _mean(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return fmean(values) if values else None


def _pooled(deviations: Sequence[float | None]) -> float:
    """Return the pooled deviation of equally many seeds at each level; 0 with one seed."""
    known = [d for d in deviations if d is not None]
    return math.sqrt(fmean(d * d for d in known)) if known else 0.0
