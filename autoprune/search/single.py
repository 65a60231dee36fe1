"""One trial without a search: `autoprune run`, and what `replay` and the trainable rest on."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.core.config import TaskConfig, TrialConfig, parse
from autoprune.core.errors import AutoPruneError, ConfigError, TaskError
from autoprune.core.records import Job, JobResult
from autoprune.data.taskfile import identify
from autoprune.methods.base import METHODS, complete, dense_reference
from autoprune.methods.reach import kind_of
from autoprune.space.files import list_spaces
from autoprune.space.grammar import load_space
from autoprune.stages.store_files import check_usable
from autoprune.trial.settings import usable_threads

if TYPE_CHECKING:
    from autoprune.trial.context import WorkerContext

DEFAULT_TOP = 9


def build_config(given: dict[str, Any], settings: dict[str, Any]) -> tuple[TrialConfig, int]:
    """Build a trial from options and ``--set`` pairs; the shipped space of the data sets the rest.

    Parameters
    ----------
    given : dict
        Options by name; None means not given.
    settings : dict
        Dotted keys: ``lr.peak``, ``recipe.distill``, ``train.epochs``, ``task.width``; a key
        without a dot is a parameter of the method.

    Returns
    -------
    TrialConfig, int
        The completed trial, and the top rung in epochs.

    Raises
    ------
    ConfigError, UnknownNameError
        If a name or value breaks a rule.
    """
    data = given["data"] or "digits"
    base, top = _shipped(data) if given["task_file"] is None else (TrialConfig(), DEFAULT_TOP)
    content = asdict(base)
    if given["task_file"] is not None:
        own = Path(given["task_file"]).stem
        content["task"] |= {"data": own, "model": own}
    content["task"] |= {
        key: str(given[key].resolve()) if isinstance(given[key], Path) else given[key]
        for key in ("data", "model", "task_file", "checkpoint", "data_dir")
        if given[key] is not None
    }
    content |= {"method": given["method"], "sparsity": given["sparsity"], "of": given["of"]}
    content["params"], content["lr"] = {}, {"name": given["lr"] or "linear", "params": {}}
    if given["allocation"] is not None:
        content["params"]["allocation"] = given["allocation"]
    for key, value in settings.items():
        _assign(content, key, value)
    config = parse(TrialConfig, content, "run")
    config = replace(config, task=identify(config.task))
    return complete(config, "run"), top


def _assign(content: dict[str, Any], key: str, value: Any) -> None:
    section, dot, name = key.partition(".")
    if not dot:
        content["params"][key] = value
    elif section == "lr":
        content["lr"]["params"][name] = value
    elif section in {"recipe", "train", "task"}:
        content[section][name] = value
    else:
        raise ConfigError(
            f"--set {key}", "must start with lr., recipe., train. or task., or have no dot"
        )


def _shipped(data: str) -> tuple[TrialConfig, int]:
    """Return the task and dense run of the shipped space for a data set, and its top rung."""
    if data in list_spaces():
        space = load_space(data)
        return TrialConfig(task=space.task, train=space.base_train()), space.top
    return TrialConfig(task=TaskConfig(data=data)), DEFAULT_TOP


class SingleRun:
    """One trial in this process.

    Parameters
    ----------
    config : TrialConfig
        Completed.
    top : int
        Retraining epochs, or more where the method needs more steps. A from-scratch trial trains
        for the dense run's epochs on top.
    """

    def __init__(
        self, config: TrialConfig, top: int, *, home: Path, device: str = "cpu", seed: int = 0
    ) -> None:
        self.config, self.top, self.home = config, top, home
        self.device, self.seed = device, seed

    @cached_property
    def context(self) -> WorkerContext:
        """The worker, with the task loaded."""
        from autoprune.core.registry import load_object

        check_usable(self.home / "store")
        opener: Any = load_object("autoprune.trial.context:open_context")
        context: WorkerContext = opener(
            self.config.task,
            home=self.home,
            top_epochs=self.top,
            device=self.device,
            threads=usable_threads(),
        )
        self.top = max(self.top, self._least(context))
        context.settings = replace(context.settings, top_epochs=self.top)
        return context

    def _least(self, context: WorkerContext) -> int:
        """Return the epochs that give the method its least number of steps."""
        method = METHODS.get(self.config.method)
        train = self.config.recipe.optimizer_config(self.config.train)
        per_epoch = context.task.info.steps_per_epoch(train.batch_size)
        least = method.min_steps(parse(method.params, self.config.params, self.config.method))
        return -(-least // per_epoch)

    @property
    def epochs(self) -> int:
        """Retraining epochs, see `top`."""
        return max(self.top, self._least(self.context))

    def job(self, epochs: int | None = None, *, test: bool = True) -> Job:
        """Return the trial as a job."""
        return Job(
            0, self.config, self.epochs if epochs is None else epochs, self.seed, "run", test
        )

    def check(self, epochs: int | None = None) -> None:
        """Refuse here what a job would refuse.

        Raises
        ------
        BadInput
            If the trial is too short for its method or has no plan, or the model no units.
        """
        from autoprune.trial.plan import check_fit, check_steps, make_plan

        job, info = self.job(epochs), self.context.task.info
        kind = kind_of(self.config)
        check_fit(job.config, info if kind == "weights" else self.context.full_info)
        check_steps(job, info, "--epochs")
        make_plan(job, self.top, pretrained=info.pretrained)
        if kind == "units":
            self._check_units()

    def _check_units(self) -> None:
        if not self.context.groups:
            raise TaskError(
                "the model",
                f"must have channels or neurons that can be removed for {self.config.method!r}",
                remedy="use a method that removes single weights",
            )

    def run(self, epochs: int | None = None) -> JobResult:
        """Run the trial, and its dense reference where the trial itself has none.

        Raises
        ------
        BadInput
            If the trial is too short for its method.
        AutoPruneError
            If the trial failed.
        """
        from autoprune.core.registry import load_object

        run_job: Any = load_object("autoprune.trial.run:run_job")
        self.check(epochs)
        job = self.job(epochs)
        result: JobResult = run_job(job, self.context)
        if result.status == "failed":
            raise AutoPruneError(f"run: {result.error}")
        if not result.metrics["dense_val_accuracy"]:
            dense = dense_reference(self.config)
            found: JobResult = run_job(replace(job, config=dense, test=False), self.context)
            value = found.metrics.get("val_accuracy", 0.0)
            result = replace(
                result,
                metrics={**result.metrics, "dense_val_accuracy": value},
                epochs_trained=result.epochs_trained + found.epochs_trained,
                epochs_reused=result.epochs_reused + found.epochs_reused,
            )
        return result

    def entry(self, result: JobResult) -> dict[str, Any]:
        """Return the result as `run --json` prints it."""
        from autoprune.search.summary import entry_of

        entry = entry_of(self.config, [result], self.context.task.info)
        return {
            **entry,
            "status": result.status,
            "dense_val_accuracy": result.metrics["dense_val_accuracy"],
            "epochs_trained": result.epochs_trained,
            "epochs_reused": result.epochs_reused,
            "mask_sha256": result.mask_sha256,
            "wall_s": result.wall_s,
            "log": {
                name.removeprefix("log/"): value
                for name, value in result.metrics.items()
                if name.startswith("log/")
            },
        }
