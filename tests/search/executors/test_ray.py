from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError, DataError
from autoprune.core.records import Job, JobResult
from autoprune.core.registry import load_object
from autoprune.search.executors.ray import RayExecutor, threads_per_job
from autoprune.search.executors.ray_searcher import EngineSearcher
from autoprune.search.executors.ray_worker import run_in_worker

pytestmark = pytest.mark.ray

HERE = Path(__file__).parent
SETUP = "toy_runner:open_runner"


def make_job(number: int, tag: str = "") -> Job:
    return Job(number, TrialConfig(), 1, 0, "run", tag=tag)


@dataclass
class ListEngine:
    """Hands out jobs with the given tags; a ``"barrier"`` waits until nothing is out."""

    tags: list[str]
    issued: list[int] = field(default_factory=list)
    recorded: list[JobResult] = field(default_factory=list)
    asked_while_waiting: int = 0

    def next(self) -> object:
        number = len(self.issued)
        if number == len(self.tags):
            return "done"
        if self.tags[number] == "barrier" and len(self.recorded) < number:
            self.asked_while_waiting += 1
            return "wait"
        self.issued.append(number)
        return make_job(number, self.tags[number])

    def record(self, result: JobResult) -> None:
        self.recorded.append(result)


@pytest.fixture(scope="module")
def instance() -> Iterator[None]:
    """Share one Ray instance, started the way the executor starts it."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(HERE))
        patch.setenv("RAY_CHDIR_TO_TRIAL_DIR", "0")
        RayExecutor(2, SETUP, {"threads": 1})._connect()
        yield
        ray.shutdown()


def starts(folder: Path, number: int) -> int:
    return len((folder / f"started-{number}").read_text())


def test_nothing_is_lost_or_duplicated(instance: None, tmp_path: Path) -> None:
    engine = ListEngine([""] * 12)
    RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    assert engine.issued == list(range(12))
    assert sorted(r.job for r in engine.recorded) == list(range(12))
    assert {r.job: r.metrics["square"] for r in engine.recorded} == {
        n: float(n * n) for n in range(12)
    }
    assert all(starts(tmp_path, n) == 1 for n in range(12))


def test_processes_are_reused_and_open_their_context_once(instance: None, tmp_path: Path) -> None:
    engine = ListEngine([""] * 12)
    RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    processes = {r.metrics["pid"] for r in engine.recorded}
    assert len(processes) <= 2
    assert len(list(tmp_path.glob("opened-*"))) == len(processes)


def test_threads_reach_the_worker(instance: None, tmp_path: Path) -> None:
    engine = ListEngine([""])
    RayExecutor(2, SETUP, {"folder": str(tmp_path), "threads": 1}).run(engine)
    assert engine.recorded[0].metrics["threads"] == 1
    assert engine.recorded[0].metrics["omp"] == 1


def test_wait_is_honoured_and_not_polled(instance: None, tmp_path: Path) -> None:
    engine = ListEngine(["", "", "barrier", "", ""])
    RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    assert {r.job for r in engine.recorded[:2]} == {0, 1}
    assert sorted(r.job for r in engine.recorded) == [0, 1, 2, 3, 4]
    # Asked once a slot is free, and again after each record only.
    assert 1 <= engine.asked_while_waiting <= 2


def test_an_exception_inside_a_job_is_a_failed_result(instance: None, tmp_path: Path) -> None:
    engine = ListEngine(["", "raise", ""])
    RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    by_job = {r.job: r for r in engine.recorded}
    assert by_job[1] == JobResult(
        1, TrialConfig().trial_id, "failed", error="ValueError: no such layer"
    )
    assert starts(tmp_path, 1) == 1
    assert by_job[0].status == by_job[2].status == "ok"


def test_a_killed_worker_costs_one_retry(
    instance: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = ListEngine(["", "die once", "", ""])
    with caplog.at_level(logging.WARNING, "autoprune"):
        RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    assert sorted(r.job for r in engine.recorded) == [0, 1, 2, 3]
    assert all(r.status == "ok" for r in engine.recorded)
    assert [starts(tmp_path, n) for n in range(4)] == [1, 2, 1, 1]
    assert [r.getMessage() for r in caplog.records] == [
        "job 1 lost its worker process and is started again"
    ]


def test_a_job_that_keeps_killing_its_worker_fails_and_the_rest_goes_on(
    instance: None, tmp_path: Path
) -> None:
    engine = ListEngine(["die", "", ""])
    RayExecutor(2, SETUP, {"folder": str(tmp_path)}).run(engine)
    by_job = {r.job: r for r in engine.recorded}
    assert len(engine.recorded) == 3
    assert (by_job[0].status, by_job[0].error) == ("failed", "its worker process died 3 times")
    assert starts(tmp_path, 0) == 3
    assert by_job[1].status == by_job[2].status == "ok"


def test_a_worker_that_refuses_its_settings_ends_the_search(instance: None, tmp_path: Path) -> None:
    engine = ListEngine([""] * 4)
    with pytest.raises(DataError, match="data must be there; fetch it"):
        RayExecutor(2, SETUP, {"folder": str(tmp_path), "refuse": True}).run(engine)
    assert engine.recorded == []


def test_a_node_that_dies_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    from autoprune.search.executors import ray_searcher

    alive = [True]
    monkeypatch.setattr(ray_searcher, "LOOK_EVERY_S", 0.0)
    monkeypatch.setattr(ray_searcher.ray, "nodes", lambda: [{"Alive": alive[0]}])
    searcher = ray_searcher.EngineSearcher(ListEngine([""]), 2)
    watch = ray_searcher.Watch(threading.Event(), searcher, owns_ray=True)
    watch.on_step_begin(0, [])
    alive[0] = False
    with pytest.raises(ray_searcher.Stop):
        watch.on_step_begin(1, [])
    assert "--resume goes on" in str(searcher.failure)


def test_an_exception_of_the_engine_comes_through(instance: None, tmp_path: Path) -> None:
    class FullDisk(ListEngine):
        def record(self, result: JobResult) -> None:
            raise OSError(28, "No space left on device")

    engine = FullDisk([""] * 4)
    with pytest.raises(OSError, match="No space left"):
        RayExecutor(1, SETUP, {"folder": str(tmp_path)}).run(engine)
    assert engine.issued == [0]


def test_the_environment_and_the_handlers_are_as_before(instance: None, tmp_path: Path) -> None:
    def state() -> tuple[Any, ...]:
        taken = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
        return dict(os.environ), [signal.getsignal(number) for number in taken]

    before = state()
    RayExecutor(1, SETUP, {"folder": str(tmp_path)}).run(ListEngine([""]))
    assert state() == before


def test_resources_and_memory_of_a_gpu_share() -> None:
    executor = RayExecutor(4, SETUP, {"threads": 1}, gpus_per_job=0.25, cpus_per_job=0.5)
    assert executor.resources == {"cpu": 0.5, "gpu": 0.25}
    assert executor.settings == {"threads": 1, "memory_fraction": 0.25}
    assert RayExecutor(1, SETUP, {"threads": 1, "memory_fraction": 0.1}, gpus_per_job=2).settings[
        "memory_fraction"
    ] == pytest.approx(0.1)
    cpu = RayExecutor(1, SETUP, {"threads": 1})
    assert cpu.resources == {"cpu": 1.0}
    assert cpu.settings == {"threads": 1}


def test_tune_requests_those_resources() -> None:
    trainable = RayExecutor(4, SETUP, {"threads": 1}, gpus_per_job=0.25).trainable()
    assert trainable._resources.required_resources == {"CPU": 1.0, "GPU": 0.25}


def test_threads_are_the_cores_over_the_workers() -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_per_job(1) == cores
    assert threads_per_job(cores) == 1
    assert threads_per_job(3 * cores) == 1
    assert RayExecutor(cores, SETUP, {}).settings["threads"] == 1


def test_each_search_opens_its_own_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    settings = json.dumps({"folder": str(tmp_path), "threads": 1})
    job = json.dumps(make_job(3).to_json())
    for search in ("a", "a", "b"):
        report = run_in_worker(search, SETUP, settings, job)
        assert json.loads(report["result"])["metrics"]["square"] == 9
    assert len(list(tmp_path.glob("opened-*"))) == 2


def test_a_setup_that_cannot_be_imported_is_told() -> None:
    refusal = run_in_worker("a", "no_such_module:f", "{}", "{}")["refusal"]
    assert str(refusal) == (
        "a worker could not start: ModuleNotFoundError: No module named 'no_such_module'"
    )


@pytest.mark.parametrize("name", ["builtins:ConnectionError", "ray.exceptions:AuthenticationError"])
def test_a_cluster_that_does_not_answer_or_wants_a_token_is_told(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    def refuse(**options: Any) -> None:
        raise load_object(name)("no entry")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(ConfigError, match=r"--ray-address must be .*no entry.*RAY_AUTH_MODE"):
        RayExecutor(2, SETUP, {"threads": 1}, address="127.0.0.1:1")._connect()
    with pytest.raises(load_object(name)):
        RayExecutor(2, SETUP, {"threads": 1})._connect()


def test_a_failure_stops_the_handing_out() -> None:
    searcher = EngineSearcher(ListEngine(["", "", ""]), 2)
    assert searcher.suggest("t0") is not None
    searcher.on_trial_complete("t0", {"refusal": DataError("data", "must be there")})
    assert isinstance(searcher.failure, DataError)
    assert searcher.suggest("t1") is None


DRIVER = """
import json, os, signal, sys, threading
from pathlib import Path
from autoprune.core.config import TrialConfig
from autoprune.core.records import Job
from autoprune.search.executors.ray import RayExecutor

class Engine:
    issued, recorded = 0, []
    def next(self):
        if self.issued == 6:
            return None
        self.issued += 1
        tag = sys.argv[2] if self.issued == 3 else ""
        return Job(self.issued - 1, TrialConfig(), 1, 0, "run", tag=tag)
    def record(self, result):
        self.recorded.append(result.job)
        if len(self.recorded) == 2 and sys.argv[3].startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, sys.argv[3]))
            self.recorded.append("not torn")

engine, caught = Engine(), False
try:
    RayExecutor(2, "toy_runner:open_runner", {"folder": sys.argv[1]}).run(engine)
except KeyboardInterrupt:
    caught = True
import ray
heavy = [m for m in ("torch", "timm") if m in sys.modules]
Path(sys.argv[1], "report").write_text(
    json.dumps([engine.recorded, caught, heavy, ray.is_initialized()])
)
"""


def drive(folder: Path, tag: str, mode: str) -> tuple[Any, str]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), tag, mode],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads((folder / "report").read_text()), done.stdout + done.stderr


def test_a_driver_stays_light_and_quiet_and_stops_its_ray(tmp_path: Path) -> None:
    (recorded, caught, heavy, running), output = drive(tmp_path, "", "plain")
    assert sorted(recorded) == [0, 1, 2, 3, 4, 5]
    assert (caught, heavy, running) == (False, [], False)
    assert output == ""


def test_a_killed_worker_prints_one_warning(tmp_path: Path) -> None:
    (recorded, *_), output = drive(tmp_path, "die once", "plain")
    assert sorted(recorded) == [0, 1, 2, 3, 4, 5]
    assert output == "job 2 lost its worker process and is started again\n"


@pytest.mark.parametrize("told", ["SIGINT", "SIGTERM"])
def test_told_to_stop_it_ends_cleanly_and_never_inside_the_engine(
    tmp_path: Path, told: str
) -> None:
    (recorded, caught, _, running), output = drive(tmp_path, "", told)
    assert recorded[-1] == "not torn"
    assert len(recorded) == 3
    assert caught
    assert not running
    assert output == ""
