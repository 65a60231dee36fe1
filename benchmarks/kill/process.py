"""A search in a process of its own, which can be watched, killed and resumed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from autoprune.search.journal import load_events
from autoprune.testing.spaces import TINY

STUDY = "tiny"
WAIT_S = 300.0
"""A search that writes nothing for so long hangs."""
_POLL_S = 0.01
_SERVICE = re.compile(r"^ray::\w+Agent|/raylet$|/gcs_server$|/ray/(dashboard|autoscaler|_private)/")


class Hung(Exception):  # noqa: N818 - a finding, not an error of ours
    """A search that neither goes on nor ends."""


@dataclass
class Search:
    """One study of the tiny space, as often as it has to be started.

    Parameters
    ----------
    folder : Path
        Holds the space, the home and what the processes said.
    executor : str
        ``inline``, or ``ray`` with two workers.
    budget, confirm_seeds : int
        Of the search.
    """

    folder: Path
    executor: str = "inline"
    budget: int = 24
    confirm_seeds: int = 1
    runs: int = 0
    start_s: float = 3.0
    rewrites: Counter[str] = field(default_factory=Counter)
    _process: subprocess.Popen[bytes] | None = None
    _inodes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.space.write_text(TINY, encoding="utf-8")

    @property
    def home(self) -> Path:
        """Where the study is."""
        return self.folder / "home"

    @property
    def space(self) -> Path:
        """The space's file."""
        return self.folder / "tiny.yaml"

    @property
    def journal(self) -> Path:
        """The study's journal."""
        return self.home / "studies" / STUDY / "journal.jsonl"

    @property
    def workers(self) -> int:
        """Jobs at a time."""
        return 2 if self.executor == "ray" else 1

    def start(self) -> None:
        """Start the search, or go on with it."""
        self.runs += 1
        command = [
            *(sys.executable, "-m", "autoprune", "search", str(self.space), "--resume"),
            *("--budget", str(self.budget), "--confirm-seeds", str(self.confirm_seeds)),
            *("--executor", self.executor, "--home", str(self.home), "--json"),
            *(("--workers", "2") if self.executor == "ray" else ()),
        ]
        temporary = self.folder / "t"  # short: Ray puts sockets there
        temporary.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW", "AUTOPRUNE"))}
        with self._said("out").open("wb") as out, self._said("err").open("wb") as err:
            self._process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                env={**kept, "TMPDIR": str(temporary)},
                start_new_session=True,
            )

    def _said(self, stream: str) -> Path:
        return self.folder / f"run{self.runs}.{stream}"

    @property
    def told(self) -> str:
        """What the last process wrote to standard error."""
        return self._said("err").read_text(encoding="utf-8", errors="replace")

    @property
    def answer(self) -> dict[str, Any]:
        """The JSON that the last process ended with."""
        found: dict[str, Any] = json.loads(self._said("out").read_text().splitlines()[-1])
        return found

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process that was started last."""
        assert self._process is not None, "start() comes first"
        return self._process

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def lines(self) -> int:
        """Whole lines in the journal."""
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """The journal's whole lines."""
        return load_events(self.journal)

    @property
    def stored(self) -> dict[str, Path]:
        """The store's files by key."""
        paths = (self.home / "store").glob("*/*.safetensors")
        return {path.stem: path for path in paths}

    @property
    def temporary(self) -> list[Path]:
        """What writers that died left in the store."""
        return [path for path in (self.home / "store").glob("*/tmp*") if path.is_file()]

    def look(self) -> None:
        """Note which files of the store were written anew: a new file has a new inode."""
        for key, path in self.stored.items():
            try:
                inode = path.stat().st_ino
            except FileNotFoundError:
                continue
            self.rewrites[key] += self._inodes.get(key, inode) != inode
            self._inodes[key] = inode

    def wait_for(self, lines: int, delay_s: float) -> bool:
        """Wait until the journal has so many lines and a while longer; False if it ended first."""
        began, since, size = time.monotonic(), time.monotonic(), self.lines
        first = size == 0
        due: float | None = None
        while self.running:
            self.look()
            now, found = time.monotonic(), self.lines
            if found != size:
                self.start_s = now - began if first else self.start_s
                since, size, first = now, found, False
            if due is None and found >= lines:
                due = now + delay_s
            if due is not None and now >= due:
                return True
            if now - since > WAIT_S:
                raise Hung(f"nothing written for {WAIT_S:.0f} s")
            time.sleep(_POLL_S)
        return False

    def end(self) -> int:
        """Wait for the end of the process and return its exit code."""
        self.wait_for(sys.maxsize, 0.0)
        self.process.wait()
        self.look()
        return self.process.returncode

    def kill(self) -> list[str]:
        """Kill the driver, and wait for what may write to its home; return the names of what stays.

        Ray's services, which run no jobs, take minutes to see that their driver is gone.
        """
        children = {child: _title(child) for child in _descendants(self.process.pid)}
        services = [child for child, title in children.items() if _SERVICE.search(title)]
        self.process.kill()
        self.process.wait()
        _, alive = psutil.wait_procs(set(children) - set(services), timeout=60)
        names = [children[child] for child in alive]
        for child in [*alive, *services]:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self.look()
        return names

    def job_processes(self) -> list[psutil.Process]:
        """Return Ray's worker processes that run a job, or are about to."""
        found = _descendants(self.process.pid)
        return [child for child in found if _title(child).startswith("ray::ImplicitFunc")]

    def node_processes(self) -> list[psutil.Process]:
        """Return the process that starts Ray's workers."""
        found = _descendants(self.process.pid)
        return [child for child in found if _title(child).endswith("/raylet")]

    def close(self) -> None:
        """End whatever still runs."""
        if self.running:
            self.kill()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _title(process: psutil.Process) -> str:
    """Return a process's program, or the script that Python runs."""
    try:
        program, *rest = process.cmdline() or [process.name()]
    except psutil.Error:
        return "a process that has ended"
    script = next((part for part in rest if part.endswith(".py")), program)
    return str(script if "python" in program else program)
