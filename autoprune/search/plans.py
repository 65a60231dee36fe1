"""What a job's stages are called and cost, without running any of them."""

from __future__ import annotations

from autoprune.core.config import TrialConfig, parse
from autoprune.core.records import Job, TaskInfo
from autoprune.methods.base import METHODS
from autoprune.search.state import Record
from autoprune.stages.base import KeyContext, closure
from autoprune.trial.plan import check_fit, make_plan

StageCosts = dict[str, float]


class Planner:
    """Plans jobs, and knows which stages exist or are being computed.

    Parameters
    ----------
    context : KeyContext
        What every stage key of the study shares.
    info : TaskInfo
        The task.
    rungs : tuple of int
        Retraining epochs, least first.
    """

    def __init__(self, context: KeyContext, info: TaskInfo, rungs: tuple[int, ...]) -> None:
        self.context, self.info, self.rungs = context, info, rungs
        self.computed: set[str] = set()
        self._out: dict[int, StageCosts] = {}

    def stages(self, job: Job) -> StageCosts:
        """Return the stages that train, each key with its epochs."""
        check_fit(job.config, self.info)
        plan = make_plan(job, self.rungs[-1], pretrained=self.info.pretrained)
        return {
            stage.key(self.context): stage.epochs for stage in closure(plan[-1]) if stage.epochs > 0
        }

    def issued(self, job: Job) -> None:
        """Note that a job is out."""
        self._out[job.number] = self.missing(job)

    def finished(self, record: Record) -> None:
        """Note what a job left in the store."""
        costs = self._out.pop(record.job.number, {})
        if record.result.status != "failed":
            self.computed.update(costs)
        self.computed.update(stage.key for stage in record.result.stages)

    def missing(self, job: Job) -> StageCosts:
        """Return the stages of a job that were never computed."""
        return {k: cost for k, cost in self.stages(job).items() if k not in self.computed}

    def blocked(self, job: Job) -> bool:
        """Whether a job needs a stage that a job in flight is computing."""
        return self.is_out(self.stages(job))

    def is_out(self, stages: StageCosts) -> bool:
        """Whether a job in flight is computing one of these stages."""
        out = {key for costs in self._out.values() for key in costs} - self.computed
        return not out.isdisjoint(stages)

    @property
    def epochs_out(self) -> float:
        """Epochs that the jobs in flight have to train."""
        return sum(sum(costs.values()) for costs in self._out.values())

    def lowest_rung(self, config: TrialConfig) -> int | None:
        """Return the least rung that gives a method its least number of steps, if any does."""
        method = METHODS.get(config.method)
        batch = config.recipe.optimizer_config(config.train).batch_size
        least = method.min_steps(parse(method.params, config.params, config.method))
        per_epoch = self.info.steps_per_epoch(batch)
        return next((rung for rung in self.rungs if rung * per_epoch >= least), None)
