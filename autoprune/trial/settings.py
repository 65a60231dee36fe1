"""What a worker is told once: plain JSON, torch-free, so a driver can build it."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from autoprune.core.canonical import plain
from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError, StudyError, did_you_mean
from autoprune.stages.base import KeyContext, Numerics
from autoprune.trial.sources import sources_sha256

DEPLOYED = frozenset({"latency_ms", "size_bytes"})
"""Figures of the network as it would ship: measured after every round."""

FIGURES = DEPLOYED | {"top5", "before", "train", "distance", "rounds"}
"""What a job can be asked to measure."""


def precision(device: str) -> Literal["float32", "bfloat16"]:
    """Return the type that forward passes of training run in, which is part of a stage's key."""
    return "bfloat16" if device == "cuda" else "float32"


@dataclass(frozen=True)
class WorkerSettings:
    """Everything a worker needs besides its jobs.

    Parameters
    ----------
    task : TaskConfig
        With file hashes filled in (`autoprune.data.taskfile.identify`).
    fingerprint : str
        Of the data, as the driver saw it; a worker that sees other data refuses.
    top_epochs : int
        The top rung.
    home : str
        Folder that holds the store.
    device : str
        ``"cpu"`` or ``"cuda"``, resolved.
    threads : int
        Threads of one job.
    memory_fraction : float
        Share of a GPU's memory one job may take, 0 for all of it.
    measure : tuple of str
        Further figures each job measures: ``latency_ms`` and ``size_bytes`` after every round; of
        the final state ``top5``, ``before`` (the masked net just before its last training),
        ``train`` (the training split, its labels as they are) and ``distance`` (from the dense
        net's initial weights). ``rounds``: a job that reads the test split measures all it is
        asked for, test accuracy included, after every round. See `JobResult` for the names.

    Raises
    ------
    ConfigError
        If `measure` names an unknown figure.
    """

    task: TaskConfig
    fingerprint: str
    home: str
    top_epochs: int = 9
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int = 1
    memory_fraction: float = 0.0
    measure: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for name in self.measure:
            if name not in FIGURES:
                remedy = did_you_mean(name, FIGURES)
                raise ConfigError("measure", "names an unknown figure", name, remedy)

    def numerics(self) -> Numerics:
        """Return what decides the bits besides the configuration."""
        return Numerics(self.device, self.dtype, self.threads, version("torch"))

    def key_context(self) -> KeyContext:
        """Return what every stage key of the study shares."""
        return KeyContext(
            self.fingerprint, self.numerics(), sources_sha256(), self.task.task_sha256
        )

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        content: dict[str, Any] = plain(self)
        return content

    def recorded(self) -> dict[str, Any]:
        """Return it as a journal keeps it: with the torch and the sources the study ran on."""
        timed = {"latency": self.latency()} if "latency_ms" in self.measure else {}
        return {**self.to_json(), "made_with": made_with(), **timed}

    def sent(self) -> dict[str, Any]:
        """Return it as workers elsewhere get it: with what `check_place` compares there."""
        return {**self.to_json(), "made_with": made_with(), "home_id": home_id(Path(self.home))}

    def latency(self) -> dict[str, Any]:
        """Return what ``latency_ms`` is measured with: see `trial.deploy.latency_in_turns`."""
        return {"runtime": "torch", "device": self.device, "threads": self.threads, "batch": 1}

    @staticmethod
    def from_json(value: dict[str, Any]) -> WorkerSettings:
        """Read what `to_json`, `recorded` or `sent` wrote."""
        beside = ("made_with", "latency", "home_id")
        content = {k: part for k, part in value.items() if k not in beside}
        return TypeAdapter(WorkerSettings).validate_python(content)


def made_with() -> dict[str, str]:
    """Return what decides bits beside the settings: the torch and the sources that are here."""
    return {"torch": version("torch"), "sources_sha256": sources_sha256()}


def home_id(home: Path) -> str:
    """Return what tells a home from every other: made at the first call, in ``.id``."""
    path = home / ".id"
    home.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError), path.open("x") as file:
        file.write(f"{uuid.uuid4().hex}\n")
    return path.read_text().strip()


def check_place(sent: dict[str, Any], where: str) -> None:
    """Check in a worker that torch, the sources and the home are the driver's.

    Parameters
    ----------
    sent : dict
        What `WorkerSettings.sent` wrote; what it lacks is not checked.
    where : str
        Names the worker's machine.

    Raises
    ------
    StudyError
        With what differs.
    """
    here = made_with()
    for name, driver in sent.get("made_with", here).items():
        if here[name] != driver:
            what = {"torch": "torch", "sources_sha256": "AutoPrune's sources"}[name]
            raise StudyError(
                f"worker on {where}",
                f"must run the driver's {what} ({driver[:12]}), or bits differ between nodes",
                here[name][:12],
                "install equal versions on all nodes",
            )
    path = Path(sent["home"]) / ".id"
    found = path.read_text().strip() if path.is_file() else "no such home"
    if sent.get("home_id", found) != found:
        raise StudyError(
            f"worker on {where}",
            f"must see the driver's home at {path.parent}",
            found,
            "share it between the nodes, at the same absolute path",
        )


def usable_threads() -> int:
    """Return how many threads a lone job may use: the cores, or fewer if OMP_NUM_THREADS says so.

    Two busy processes with two threads each slow a step a hundredfold, so whoever shares a machine
    has to be able to say how much of it is theirs.
    """
    cores = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores
