"""Stop MLflow's server for the middle third of a search: nothing waits, and a sync catches up."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: the search runs here

from autoprune.cli.mirror import make_mirror
from autoprune.core.canonical import digest
from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, Session
from autoprune.testing.spaces import TINY
from benchmarks.engine import Timed
from benchmarks.kill import checks
from benchmarks.kill.mirrored import differences, everything, expected, found
from benchmarks.kill.process import STUDY
from benchmarks.nodes import free_port

LIMIT_MS = 50.0
_START_S = 180.0


@dataclass
class Server:
    """A tracking server on loopback that can be stopped and started on the same store.

    Parameters
    ----------
    folder : Path
        Holds its database and its artifacts.
    """

    folder: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.port = free_port()

    @property
    def uri(self) -> str:
        """MLflow's tracking URI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def answers(self) -> bool:
        """Whether it can be reached."""
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def start(self) -> None:
        """Start the server; it is not waited for."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"),
            *("--artifacts-destination", (self.folder / "artifacts").as_uri()),
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + _START_S
        while not self.answers:
            if time.monotonic() > end:
                log = (self.folder / "server.log").read_text(errors="replace")
                raise RuntimeError(f"MLflow's server does not answer: {log[-500:]}")
            time.sleep(0.1)

    def kill(self) -> None:
        """Kill the server and what it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@dataclass(frozen=True)
class Third:
    """Decisions of one third of the search; a delay is against the undisturbed search's."""

    name: str
    decisions: int
    median_ms: float
    max_ms: float
    undisturbed_median_ms: float
    undisturbed_max_ms: float
    delay_median_ms: float
    delay_max_ms: float


@dataclass(frozen=True)
class Found:
    """What the outage came to."""

    thirds: tuple[Third, ...]
    warnings: int
    decisions_differ: int
    behind_before_sync: int
    differences: tuple[str, ...]
    journal_digest: str
    mlflow_digests: tuple[str, str]
    second_sync_wrote: bool

    @property
    def faults(self) -> list[str]:
        """Name what is not as it must be."""
        delay_ms = self.thirds[1].delay_max_ms
        checks = {
            f"a decision was delayed by {delay_ms:.0f} ms": delay_ms > LIMIT_MS,
            "the mirror never met the outage": not self.warnings,
            f"{self.decisions_differ} decisions differ": self.decisions_differ > 0,
            "MLflow differs from the journal": set(self.mlflow_digests) != {self.journal_digest},
            "the second sync wrote something": self.second_sync_wrote,
        }
        return [name for name, holds in checks.items() if holds]


def measure(folder: Path, jobs: int) -> Found:
    """Search twice, once undisturbed and once with the outage, and compare.

    Parameters
    ----------
    folder : Path
        Empty; holds the server and both homes.
    jobs : int
        Of each search.
    """
    (folder / "tiny.yaml").write_text(TINY, encoding="utf-8")
    server = Server(folder)
    try:
        server.start()
        server.wait()
        calm, _ = _search(folder, "undisturbed", jobs, server, outage=False)
        hit, warnings = _search(folder, "outage", jobs, server, outage=True)
        server.wait()
        home = folder / "outage"
        behind = _behind(home, server.uri)
        states, digests = [], []
        for _ in range(2):
            _sync(home, server.uri)
            states.append(everything(home, STUDY, server.uri))
            digests.append(digest(found(home, STUDY, server.uri)))
        want = expected(home, STUDY)
        return Found(
            _thirds(hit.times_ms, calm.times_ms, jobs),
            warnings,
            checks.differing(*(list(t.engine.state.jobs.values()) for t in (hit, calm))),
            behind,
            tuple(differences(want, found(home, STUDY, server.uri))),
            digest(want),
            (digests[0], digests[1]),
            states[0] != states[1],
        )
    finally:
        server.kill()


def _search(
    folder: Path, name: str, jobs: int, server: Server, *, outage: bool
) -> tuple[Timed, int]:
    """Search as the command line does, with a mirror; count the mirror's complaints."""
    options = SearchOptions(budget=str(jobs), confirm_seeds=1)
    space, home = folder / "tiny.yaml", folder / name
    request = SearchRequest(space=space, options=options, home=home, executor="inline")
    with Session(request) as session:
        timed = Timed(session.open())
        with _complaints() as told, make_mirror(home, STUDY, server.uri) as mirror:
            timed.engine.journal.listeners.append(mirror.apply)
            if outage:
                timed.at = {jobs // 3: server.kill, 2 * jobs // 3: partial(_end, server, told)}
            session.runner.run(timed)
    return timed, len(told)


def _end(server: Server, told: Sequence[logging.LogRecord]) -> None:
    """End the outage, once the mirror has met it: it copies now and then only, and tries twice."""
    end = time.monotonic() + _START_S
    while not told and time.monotonic() < end:
        time.sleep(0.1)
    server.start()


@contextmanager
def _complaints() -> Iterator[list[logging.LogRecord]]:
    """Collect what the mirror says of a store that fails."""
    told: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = told.append  # type: ignore[method-assign,assignment] # a handler is one function
    logger = logging.getLogger("autoprune.tracking.mlflow")
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)


def _behind(home: Path, uri: str) -> int:
    try:
        return len(differences(expected(home, STUDY), found(home, STUDY, uri)))
    except LookupError:
        return 1


def _sync(home: Path, uri: str) -> None:
    command = [sys.executable, "-m", "autoprune", "sync", STUDY]
    options = ["--home", str(home), "--tracking-uri", uri]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"autoprune sync ended with {done.returncode}: {done.stderr[-500:]}")


def _thirds(hit: list[float], calm: list[float], jobs: int) -> tuple[Third, ...]:
    rows = []
    for number, name in enumerate(("before", "outage", "after")):
        span = slice(number * jobs // 3, (number + 1) * jobs // 3)
        mine, others = hit[span], calm[span]
        delays = [a - b for a, b in zip(mine, others, strict=True)]
        figures = [f(v) for v in (mine, others, delays) for f in (median, max)]
        rows.append(Third(name, len(mine), *figures))
    return tuple(rows)


def table(result: Found) -> str:
    """Return the result in columns, and below them what is not as it must be."""
    head = ("", "decisions", "median ms", "max ms", "undisturbed", "max", "delay", "max")
    lines = [head]
    for third in result.thirds:
        name, count, *figures = asdict(third).values()
        lines.append((name, str(count), *(f"{value:.1f}" for value in figures)))
    shown = ["  ".join(cell.rjust(11) for cell in line) for line in lines]
    return "\n".join(
        [
            *shown,
            f"warnings of the mirror: {result.warnings}",
            f"decisions that differ: {result.decisions_differ}",
            f"behind when the search ended: {result.behind_before_sync} differences",
            f"after sync: {len(result.differences)} differences {result.differences[:5] or ''}",
            f"journal {result.journal_digest[:16]}, "
            f"MLflow {', '.join(value[:16] for value in result.mlflow_digests)}",
            f"second sync wrote something: {'yes' if result.second_sync_wrote else 'no'}",
            *(f"FAILS: {fault}" for fault in result.faults),
        ]
    )


def main(arguments: list[str]) -> int:
    """Return 1 if anything is not as it must be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--jobs", type=int, default=90, help="search jobs, a multiple of three")
    parser.add_argument("--home", type=Path, help="an empty folder to keep everything in")
    parser.add_argument("--json", action="store_true", help="one JSON value on standard output")
    given = parser.parse_args(arguments)
    if given.jobs < 3 or given.jobs % 3:
        parser.error(f"--jobs must be a multiple of 3, at least 3; got {given.jobs}")
    with ExitStack() as stack:
        home = given.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ap-")))
        home.mkdir(parents=True, exist_ok=True)
        result = measure(home.resolve(), given.jobs)
    content: dict[str, Any] = {**asdict(result), "faults": result.faults}
    print(json.dumps(content) if given.json else table(result))
    return int(bool(result.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
