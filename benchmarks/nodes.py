"""Two Ray nodes on this machine, one of which dies in the middle of a search."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from autoprune.search.journal import load_events
from autoprune.search.study import study_folder
from benchmarks.common import Row
from benchmarks.kill import checks

CODE = "from autoprune.cli.main import main; main()"
START = "from ray.scripts.scripts import main; main()"
TOKEN = secrets.token_hex(32)
"""Of this cluster alone: whatever token the user has is neither read nor needed."""
PATIENCE_S = 540.0
KILL_AFTER = 6
"""Results in the journal when the second node is killed."""


def measure(budget: int = 20, folder: Path | None = None) -> list[Row]:
    """Search digits on two nodes of one core each, and kill the second one."""
    with tempfile.TemporaryDirectory(prefix="ap-") as temporary:
        home = (folder or Path(temporary)) / "home"
        with two_nodes(Path(temporary)) as (address, second):
            done, warned = _search(address, second, home, budget)
        problems = faults(events_of(home), done)
    for problem in problems:
        print(problem)
    if problems:
        print(done.stderr)
    label = "faults after a node died in a search"
    note = f"{warned} job(s) started again; {problems[0] if problems else 'complete'}"
    return [Row(label, float(len(problems)), "faults", 0.0, 1, note)]


def faults(events: list[dict[str, Any]], done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what is not as it would be had no node died."""
    found = [f"job {n} has no result" for n in checks.lost(events)]
    found += [f"job {n} was issued or recorded twice" for n in checks.duplicated(events)]
    found += [f"job {n} failed" for n in checks.failed(events)]
    if not events or events[-1].get("status") != "complete":
        found.append(f"the journal ends in {events[-1:]}")
    if done.returncode != 0:
        found.append(f"the command ended with {done.returncode}")
    if "pick:" not in done.stderr:
        found.append("the front's table is not printed")
    return found


def _search(
    address: str, second: psutil.Process, home: Path, budget: int
) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run the command, and kill the second node while jobs run on both."""
    options = ["--budget", str(budget), "--confirm-seeds", "1", "--home", str(home)]
    command = [sys.executable, "-c", CODE, "search", "digits", *options]
    command += ["--executor", "ray", "--ray-address", address, "--workers", "2"]
    driver = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=_environment()
    )
    try:
        wait_for(lambda: num_results(home) >= KILL_AFTER or driver.poll() is not None)
        if driver.poll() is not None:
            raise RuntimeError(f"the search ended early: {driver.communicate()[1][-2000:]}")
        kill_tree(second)
        out, said = driver.communicate(timeout=PATIENCE_S)
    finally:
        if driver.poll() is None:
            driver.kill()
            driver.communicate()
    warned = sum("lost its worker process" in line for line in said.splitlines())
    done = subprocess.CompletedProcess(command, driver.returncode, out, said)
    return done, warned


@contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """Start a head and a second node; yield the address and the second one's process.

    Both run in the foreground as children of this process, so that they, and nobody else's, are
    killed at the end.
    """
    port = free_port()
    address = f"127.0.0.1:{port}"
    common = ["--node-ip-address", "127.0.0.1", "--num-cpus", "1", "--num-gpus", "0", "--block"]
    common += ["--object-store-memory", "100000000", "--disable-usage-stats"]
    head = ["--head", "--port", str(port), "--include-dashboard", "false"]
    head += ["--temp-dir", str(folder / "ray")]
    started: list[subprocess.Popen[bytes]] = []

    def is_up(condition: bool) -> bool:
        if all(node.poll() is None for node in started):
            return condition
        logs = [path.read_text()[-1000:] for path in sorted(folder.glob("*.log"))]
        raise RuntimeError("a Ray node did not start: " + "\n".join(logs))

    try:
        started.append(_start([*head, *common], folder / "head.log"))
        wait_for(lambda: is_up(listens(port)))
        started.append(_start(["--address", address, *common], folder / "second.log"))
        wait_for(lambda: is_up(num_alive(address) == 2))
        yield address, psutil.Process(started[1].pid)
    finally:
        for node in reversed(started):
            if node.poll() is None:
                kill_tree(psutil.Process(node.pid))
            node.wait()


def _start(options: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        command = [sys.executable, "-c", START, "start", *options]
        return subprocess.Popen(command, stdout=file, stderr=file, env=_environment())


def _environment() -> dict[str, str]:
    """Return this environment, in which workers find this package and use one thread each."""
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "PYTHONPATH": path,
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }


def kill_tree(parent: psutil.Process) -> None:
    """Kill a process and everything it started, and wait until all are gone."""
    family = [*parent.children(recursive=True), parent]
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=30)


def free_port() -> int:
    """Return a port that is free on the loopback address."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens there."""
    with socket.socket() as client:
        client.settimeout(1.0)
        return client.connect_ex(("127.0.0.1", port)) == 0


def num_alive(address: str) -> int:
    """Return how many nodes of a cluster are alive."""
    code = "import sys, ray; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR');"
    code += "print(sum(node['Alive'] for node in ray.nodes()))"
    call = [sys.executable, "-c", code, address]
    done = subprocess.run(call, capture_output=True, text=True, check=False, env=_environment())
    return int(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else 0


def wait_for(condition: Callable[[], bool]) -> None:
    """Look again and again until something holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a Ray cluster or its search does not come to its end")
        time.sleep(0.2)


def events_of(home: Path) -> list[dict[str, Any]]:
    """Read the whole lines of the search's journal."""
    return load_events(study_folder(home, "digits") / "journal.jsonl")


def num_results(home: Path) -> int:
    """Return how many results the journal has."""
    return len(checks.results(events_of(home)))
