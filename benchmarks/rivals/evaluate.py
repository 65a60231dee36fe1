"""The one objective function of all arms, and what each arm is charged for it.

The machine trains whatever is missing once, for all arms. The charge is another matter: a run
pays for each stage that it has not asked for before, whoever trained it, and the dense run of its
seed is free for all.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autoprune.core.canonical import digest
from autoprune.core.config import TrialConfig
from autoprune.core.errors import BadInput
from autoprune.core.records import Job, JobResult, TaskInfo
from autoprune.methods.base import dense_reference
from autoprune.search.plans import Planner, StageCosts
from autoprune.space import Space
from autoprune.trial.context import open_context
from autoprune.trial.run import run_job
from benchmarks.rivals.cut import cut
from benchmarks.rivals.setting import Setting

REFUSED = "refused"
SPLITS = ("val", "test")


@dataclass(frozen=True)
class Ask:
    """What an arm wants evaluated.

    Parameters
    ----------
    config : TrialConfig or None
        The trial; None where the space refuses the combination, `refusal` saying why.
    epochs : int
        The rung.
    target : float
        The sparsity that the arm had in mind.
    cut : bool
        Whether a rung below the top is a long schedule cut, rather than a short one.
    before : Ask or None
        The same trial at a lower rung, of which this is the continuation: only what comes after
        it is charged.
    note : dict
        The arm's own bookkeeping, for the log.
    key : object
        Whatever the arm knows the question by.
    """

    config: TrialConfig | None
    epochs: int
    target: float
    cut: bool = False
    before: Ask | None = None
    refusal: str = ""
    note: Mapping[str, Any] = field(default_factory=dict)
    key: Any = None


@dataclass(frozen=True)
class Evaluation:
    """What came of it.

    Parameters
    ----------
    status : str
        As of `JobResult`, or ``refused``: the method, or the model, does not take this
        combination, and nothing was trained.
    epochs : int
        The rung it ran at: the one asked for, or the least that gives the method its steps.
    asked, charged : float
        Epochs of all its stages, and of those that the run had to pay for.
    result : JobResult or None
        With the test split's numbers; an arm is shown `shown`.
    """

    status: str
    epochs: int
    asked: float = 0.0
    charged: float = 0.0
    result: JobResult | None = None
    error: str = ""

    @property
    def usable(self) -> bool:
        """Whether it gave a network."""
        return self.status == "ok"

    @property
    def shown(self) -> Evaluation:
        """The same without the test split, and without what depends on who trained before."""
        if self.result is None:
            return self
        rounds = tuple(replace(r, metrics=_without_test(r.metrics)) for r in self.result.rounds)
        bare = replace(
            self.result,
            metrics=_without_test(self.result.metrics),
            rounds=rounds,
            stages=(),
            wall_s=0.0,
            epochs_trained=self.charged,
            epochs_reused=self.asked - self.charged,
            train_macs=0.0,
        )
        return replace(self, result=bare)

    def costs(self) -> tuple[float, float]:
        """Return what is minimised: the error and the log10 density, on validation.

        Whatever gave no network counts as chance at full density, which everything dominates.
        """
        if not self.usable or self.result is None:
            return 1.0, 0.0
        metrics = self.result.metrics
        return 1.0 - metrics["val_accuracy"], log10_density(metrics["sparsity"])

    def points(self) -> list[dict[str, float]]:
        """Return every network it gave, rounds first; a whole trial has ``stop_round`` 0."""
        if not self.usable or self.result is None:
            return []
        parts = [(r.stop_round, r.epochs, r.metrics) for r in self.result.rounds]
        parts.append((0, float(self.epochs), self.result.metrics))
        return [
            {
                "stop_round": stop,
                "epochs": epochs,
                **{f"{split}_accuracy": metrics[f"{split}_accuracy"] for split in SPLITS},
                "sparsity": metrics["sparsity"],
            }
            for stop, epochs, metrics in parts
        ]


def log10_density(sparsity: float) -> float:
    """Return the decimal logarithm of what is kept, at least -6."""
    return math.log10(max(1.0 - sparsity, 1e-6))


def _without_test(metrics: Mapping[str, float]) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if not k.startswith("test_")}


class Bench:
    """The task, loaded in this process, and every evaluation that was ever made in this home.

    Parameters
    ----------
    setting : Setting
        Space and data.
    home : Path
        Folder of stages and evaluations.
    """

    def __init__(self, setting: Setting, home: Path) -> None:
        self.setting, self.home = setting, home
        self.space: Space = setting.space()
        self.context = open_context(
            self.space.task, home=home, top_epochs=self.space.top, threads=1, measure=("rounds",)
        )
        self.info: TaskInfo = self.context.full_info
        self.planner = Planner(self.context.keys, self.info, self.space.rungs)

    def dense_job(self, seed: int) -> Job:
        """Return the dense run of a replicate."""
        plain = self.space.config(self.space.middle("magnitude"), self.space.targets.low)
        return Job(0, dense_reference(plain), self.space.top, seed, "baseline", test=True)

    def job(self, ask: Ask, seed: int) -> Job:
        """Return the job of a question, at the least rung that its method takes.

        Raises
        ------
        BadInput
            If the method, the model or the top rung does not take it.
        """
        if ask.config is None:
            raise BadInput("trial", ask.refusal or "is refused")
        least = self.planner.lowest_rung(ask.config)
        if least is None:
            raise BadInput("trial", "needs more steps than the top rung has")
        epochs = max(ask.epochs, least)
        config = cut(ask.config, epochs / self.space.top) if ask.cut else ask.config
        return Job(0, config, epochs, seed, "explore", test=True)

    def run(self, job: Job) -> JobResult:
        """Return the result of a job, from the file of an earlier time where there is one."""
        path = self._path(job)
        if path.exists():
            return JobResult.from_json(json.loads(path.read_text(encoding="utf-8")))
        result = replace(run_job(job, self.context), layers={})
        write_whole(path, json.dumps(result.to_json()))
        return result

    def _path(self, job: Job) -> Path:
        name = digest([job.trial, job.epochs, job.seed, self.context.keys.salt])
        return self.home / "evaluations" / name[:2] / f"{name}.json"


class Ledger:
    """What one run has asked for.

    Parameters
    ----------
    bench : Bench
        Names and prices the stages.
    seed : int
        The run's, and its training's replicate.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed
        self.known = set(bench.planner.stages(bench.dense_job(seed)))
        self.epochs = 0.0

    def evaluate(self, ask: Ask) -> Evaluation:
        """Evaluate, and charge for it."""
        try:
            job = self.bench.job(ask, self.seed)
            stages = self.bench.planner.stages(job)
        except BadInput as error:
            return Evaluation(REFUSED, ask.epochs, error=str(error))
        charged = self._charge(stages, ask)
        result = self.bench.run(job)
        asked = sum(stages.values())
        return Evaluation(result.status, job.epochs, asked, charged, result, result.error)

    def _charge(self, stages: StageCosts, ask: Ask) -> float:
        """Charge for the stages that are new to the run, less what a continuation goes on from."""
        charged = sum(cost for key, cost in stages.items() if key not in self.known)
        if ask.before is not None:
            before = self.bench.planner.stages(self.bench.job(ask.before, self.seed))
            gone_on = sum(cost for key, cost in before.items() if key not in stages)
            charged = max(0.0, charged - gone_on)
        self.known.update(stages)
        self.epochs += charged
        return charged


def write_whole(path: Path, text: str) -> None:
    """Write a file under its name in one rename: a process beside us never reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
