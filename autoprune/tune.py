"""AutoPrune's trial inside a `ray.tune.Tuner` of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.core.config import TaskConfig
from autoprune.core.errors import AutoPruneError

if TYPE_CHECKING:
    from autoprune.trial.context import WorkerContext

_OPTIONS = (
    *("method", "sparsity", "of", "lr", "allocation"),
    *("data", "model", "task_file", "checkpoint", "data_dir"),
)
_PATHS = ("task_file", "checkpoint", "data_dir")


def trainable(
    *,
    home: str | Path = "autoprune-home",
    device: str = "cpu",
    threads: int = 1,
    **fixed: Any,
) -> Callable[[dict[str, Any]], None]:
    """Return a Tune function that prunes once per trial and reports what came out.

    Parameters
    ----------
    home : str or Path
        Folder of the stage store: trials share their dense run and every other stage through it.
    device : str
        ``"cpu"`` or ``"cuda"``.
    threads : int
        Threads of one trial; give Tune as many CPUs per trial.
    **fixed : object
        Keys of every trial's configuration that are not searched; paths may be relative here.

    Returns
    -------
    Callable
        For `ray.tune.Tuner`. Keys of its configuration: ``method`` and ``sparsity`` (in [0, 1));
        optionally ``of, lr, allocation, data, model, task_file, checkpoint, data_dir, seed`` and
        ``epochs`` (retraining epochs over all rounds; the top rung of the data's shipped space,
        or more where the method needs them); dotted keys (``lr.peak``, ``recipe.distill``,
        ``train.epochs``, ``task.width``); any other key is a parameter of the method (``rounds``).
        It reports ``val_accuracy``, ``error`` (1 - val_accuracy), ``sparsity``, the other figures
        of `JobResult.metrics`, ``trial`` (the configuration's id), ``status`` and
        ``epochs_trained``. A failed trial raises, so that Tune shows it as failed.

    Examples
    --------
    ::

        from ray import tune
        from autoprune.tune import trainable

        tuner = tune.Tuner(
            trainable(data="digits", model="mlp", method="magnitude", epochs=3),
            param_space={
                "sparsity": tune.uniform(0.8, 0.98),
                "allocation": tune.choice(["global", "erk"]),
                "lr.peak": tune.loguniform(0.01, 0.5),
            },
            tune_config=tune.TuneConfig(metric="error", mode="min", num_samples=8),
        )
        print(tuner.fit().get_best_result().metrics["val_accuracy"])
    """
    # Tune's workers run in folders of their own.
    place = str(Path(home).resolve())
    paths = {name: str(Path(fixed[name]).resolve()) for name in _PATHS if fixed.get(name)}
    given = {**fixed, **paths}

    def autoprune_trial(config: dict[str, Any]) -> None:
        from ray import tune

        tune.report(run_config({**given, **config}, place, device, threads))

    return autoprune_trial


def run_config(
    config: Mapping[str, Any], home: str, device: str = "cpu", threads: int = 1
) -> dict[str, Any]:
    """Run one trial in this process and return what `trainable` reports.

    Raises
    ------
    BadInput
        If a key or value breaks a rule.
    AutoPruneError
        If the trial failed.
    """
    from autoprune.search.single import SingleRun, build_config
    from autoprune.trial.run import run_job

    values = {key: _python(value) for key, value in config.items()}
    epochs, seed = values.pop("epochs", None), values.pop("seed", 0)
    given = {"of": "weights", **{name: values.pop(name, None) for name in _OPTIONS}}
    given["of"] = given["of"] or "weights"
    trial, top = build_config(given, values)
    single = SingleRun(trial, top, home=Path(home), device=device, seed=seed)
    single.context = _context(trial.task, home, top, device, threads)
    result = run_job(single.job(epochs, test=False), single.context)
    if result.status == "failed":
        raise AutoPruneError(f"trial {result.trial} failed: {result.error}")
    return {
        **result.metrics,
        "error": 1.0 - result.metrics["val_accuracy"],
        "trial": result.trial,
        "status": result.status,
        "epochs_trained": result.epochs_trained,
    }


@cache
def _context(task: TaskConfig, home: str, top: int, device: str, threads: int) -> WorkerContext:
    """Open a worker, once per process and task."""
    from autoprune.trial.context import open_context

    return open_context(task, home=Path(home), top_epochs=top, device=device, threads=threads)


def _python(value: Any) -> Any:
    """Return Python's own number for one of numpy's, which some samplers draw."""
    return value.item() if hasattr(value, "item") else value
