"""ResNet-20 on CIFAR-10: epoch time, and jobs per hour with several processes on one card.

``python -m benchmarks.gpu`` needs torch and torchvision only: no ray, optuna, mlflow or
torch-pruning. Without CIFAR-10 it trains on noise of the same shape, which takes as long.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import torch

from autoprune.core.config import LRConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.errors import DataError
from autoprune.core.records import Job
from autoprune.data.registry import DATA as SOURCES
from autoprune.data.taskfile import identify
from autoprune.methods.base import complete
from autoprune.training.task import Task, load_task
from autoprune.trial.context import open_context
from autoprune.trial.run import run_job
from benchmarks.common import DATA, Row, append, environment, in_turns, show, train


def main(arguments: list[str]) -> int:
    """Measure, print, append to benchmarks/data/gpu.csv."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--jobs", type=int, default=4, help="jobs per process")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--size", type=int, help="train on so many images of noise")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=DATA / "gpu.csv")
    given = parser.parse_args(arguments)
    where, config = environment(), _task(given)
    rows = epochs(config, given, compiled=not given.no_compile)
    for count in given.processes:
        rows.append(jobs_per_hour(config, given, count))
    for row in rows:
        print(show(row))
    append(rows, given.out, where)
    return 0


def _task(given: argparse.Namespace) -> TaskConfig:
    if given.size is None:
        try:
            SOURCES.get("cifar10").locate(None)  # type: ignore[attr-defined] # files have it
            return TaskConfig(data="cifar10", model="resnet20", width=given.width)
        except DataError:
            pass  # noise takes as long
    os.environ["SYNTHETIC_SIZE"] = str(given.size or 50_000)
    os.environ["SYNTHETIC_WIDTH"] = str(given.width)
    path = Path(__file__).with_name("synthetic_task.py")
    return identify(TaskConfig(data="noise", model="resnet20", task_file=str(path)))


def epochs(config: TaskConfig, given: argparse.Namespace, *, compiled: bool) -> list[Row]:
    """Time an epoch in the library's loop, plain and compiled, in turns."""
    device, batch_size = given.device, given.batch_size
    task = load_task(config, device)
    on_gpu = device == "cuda"
    options = {
        "device": torch.device(device),
        "dtype": torch.bfloat16 if on_gpu else torch.float32,
    }
    model = task.build_model(0).to(device)
    if on_gpu:
        model = model.to(memory_format=torch.channels_last)
    cases = {"plain": partial(train, copy.deepcopy(model), task.data.train, batch_size, **options)}
    if compiled:
        fast = torch.compile(copy.deepcopy(model))
        cases["compiled"] = partial(train, fast, task.data.train, batch_size, **options)
    sync = torch.cuda.synchronize if on_gpu else int
    times = in_turns(cases, given.repetitions, sync)
    what = f"{_words(task)}, {options['dtype']}".replace("torch.", "")
    return [Row(f"epoch {n}, {what}", median(t), "s", None, len(t)) for n, t in times.items()]


def _words(task: Task) -> str:
    return f"{task.config.model}/{task.config.data} x {task.info.num_train}"


def jobs_per_hour(config: TaskConfig, given: argparse.Namespace, processes: int) -> Row:
    """Run one-epoch pruning jobs in several processes that share a dense net, and a card."""
    spawn = multiprocessing.get_context("spawn")
    begin, end = spawn.Barrier(processes + 1), spawn.Barrier(processes + 1)
    with tempfile.TemporaryDirectory() as home:
        runner = partial(Worker, home, config, given.device, given.batch_size)
        runner()(0)  # trains the dense net
        arguments = [(runner, number, given.jobs, begin, end) for number in range(processes)]
        workers = [spawn.Process(target=_work, args=a, daemon=True) for a in arguments]
        for worker in workers:
            worker.start()
        try:
            begin.wait(timeout=600)
            start = time.perf_counter()
            end.wait(timeout=3600)
            took_s = time.perf_counter() - start
        finally:
            for worker in workers:
                worker.join(timeout=10)
                worker.terminate()
    count = processes * given.jobs
    note = f"{count} jobs of one epoch in {took_s:.1f} s"
    name = f"jobs per hour, {processes} processes"
    return Row(name, 3600 * count / took_s, "jobs/h", None, 1, note)


class Worker:
    """An open task, and the function that runs the job of a number in it."""

    def __init__(self, home: str, config: TaskConfig, device: str, batch_size: int) -> None:
        self.config, self.batch_size = config, batch_size
        self.context = open_context(config, home=Path(home), top_epochs=1, device=device)

    def __call__(self, number: int) -> None:
        """Prune once, to 90 %, with a learning rate nobody else has."""
        trial = TrialConfig(
            task=self.config,
            train=TrainConfig(epochs=1, batch_size=self.batch_size),
            sparsity=0.9,
            lr=LRConfig(params={"peak": 0.01 + 0.0001 * number}),
        )
        result = run_job(Job(number, complete(trial), 1, 0, "run"), self.context)
        if result.error:
            raise RuntimeError(result.error)


def _work(
    runner: Callable[[], Worker], number: int, count: int, begin: Barrier, end: Barrier
) -> None:
    """Open a worker, warm it up, wait for the others, run jobs nobody else has, and wait again."""
    try:
        run, first = runner(), 1 + number * (count + 1)
        run(first)
        begin.wait(timeout=600)
        for offset in range(count):
            run(first + 1 + offset)
        end.wait(timeout=3600)
    except BaseException:
        begin.abort()  # the others need not wait for this one
        end.abort()
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
