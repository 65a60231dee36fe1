"""Ready-made studies without training: a made-up accuracy behind real plans and stage keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autoprune.core.config import LRConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.records import Job, JobResult, RoundRecord, StageRecord, TaskInfo
from autoprune.experiments.base import Design, ExperimentEngine
from autoprune.methods.base import complete
from autoprune.search.journal import VERSION, Journal
from autoprune.search.plans import Planner
from autoprune.trial.plan import make_plan
from tests.search.support import CONTEXT, INFO

Accuracy = Callable[[Job, int], float]
"""From a job and one of its rounds to an accuracy."""

TRAIN = TrainConfig(epochs=4)


def trial(method: str, lr: LRConfig | None = None, **changes: Any) -> TrialConfig:
    """Return a completed trial on digits."""
    config = TrialConfig(task=TaskConfig(), train=TRAIN, method=method, lr=lr or LRConfig())
    return complete(replace(config, **changes))


class Workbench:
    """Runs a design's jobs on a made-up accuracy, several at a time if asked."""

    def __init__(
        self, design: Design, accuracy: Accuracy, *, info: TaskInfo = INFO, workers: int = 1
    ) -> None:
        self.design, self.accuracy, self.info, self.workers = design, accuracy, info, workers
        design.begin(info)
        self.journal = Journal()
        self.journal.append({"event": "study", "version": VERSION, "name": "made up"})
        self.engine = self.open()
        self.issued: list[Job] = []

    def open(self) -> ExperimentEngine:
        """Open the engine on the journal as it stands."""
        planner = Planner(CONTEXT, self.info, (self.design.top_epochs,))
        return ExperimentEngine(self.design, self.journal, planner)

    def run(self, limit: int | None = None) -> None:
        """Run to the end, or until so many results are in."""
        out: list[Job] = []
        while limit is None or len(self.engine.results) < limit:
            answer = self.engine.next()
            if isinstance(answer, Job):
                self.issued.append(answer)
                out.append(answer)
                if len(out) < self.workers:
                    continue
            if not out:
                return
            self.engine.record(self.result(out.pop()))  # the last one out is the first one back

    def result(self, job: Job) -> JobResult:
        """Return what the made-up worker measures."""
        plan = make_plan(job, self.design.top_epochs, pretrained=self.info.pretrained)
        rounds = tuple(
            RoundRecord(k, job.epochs * k / len(plan), self._metrics(job, k, len(plan)))
            for k in range(1, len(plan))
        )
        stages = tuple(
            StageRecord(key, "train", epochs, False, 0.0)
            for key, epochs in self.engine.planner.stages(job).items()
        )
        metrics = self._metrics(job, len(plan), len(plan))
        return JobResult(job.number, job.trial, "ok", metrics=metrics, rounds=rounds, stages=stages)

    def _metrics(self, job: Job, number: int, count: int) -> dict[str, float]:
        value = self.accuracy(job, number)
        kept = (1.0 - job.config.sparsity) ** (number / count)
        metrics = {
            "val_accuracy": value,
            "sparsity": 1.0 - kept,
            "params_nonzero": self.info.params - self.info.num_prunable * (1.0 - kept),
            "macs_effective": self.info.macs * kept,
            "train_accuracy": value,
            "log/train_macs": self._spent(job, number, count),
        }
        return {**metrics, "test_accuracy": value - 0.01} if job.test else metrics

    def _spent(self, job: Job, number: int, count: int) -> float:
        """Return multiply-adds, all epochs after the dense run at the final density."""
        each = 3.0 * self.info.num_train * self.info.macs
        left = 1.0 - job.config.sparsity
        if job.config.method == "scratch_of":
            before = job.config.params["trial_epochs"]
            return each * (TRAIN.epochs + left * (float(before) + job.epochs))
        dense = 0 if self.info.pretrained else TRAIN.epochs
        return each * (dense + left * job.epochs * number / count)

    def summary(self) -> dict[str, Any]:
        """Return the design's answer."""
        return self.design.summary(self.engine.results, self.engine.costs)


def hill(peak: float, best: float, height: float = 0.9) -> float:
    """Accuracy that falls with the distance of a peak from the best one, in decades."""
    return height - 0.1 * abs(math.log10(peak / best))
