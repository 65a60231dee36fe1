"""What the measurements share: turns, medians, and the table they are appended to."""

from __future__ import annotations

import csv
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from autoprune.core.config import OptimizerConfig
from autoprune.data.tensors import TensorSplit
from autoprune.pruning.masks import dense_masks
from autoprune.training.events import Hook, LoopState
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.hooks.record import RecordLR
from autoprune.training.loop import fit
from autoprune.training.recipes.optimizer import build_optimizer

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Row:
    """One number with what it should be.

    Parameters
    ----------
    name : str
        What was measured.
    value : float
        A median, or a ratio of medians.
    unit : str
        ``ratio``, ``ms``, ``s``, ``share``, ``times``, ``jobs``, ``faults`` or
        ``jobs/h``.
    limit : float or None
        What it must not exceed (not fall below, for shares and times); None where nothing was
        promised.
    count : int
        Repetitions behind the median.
    note : str
        Details: the medians behind a ratio.
    """

    name: str
    value: float
    unit: str
    limit: float | None
    count: int
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        if self.unit in ("share", "times"):
            return self.value >= self.limit
        return self.value <= self.limit


def in_turns(
    cases: Mapping[str, Callable[[], object]], repetitions: int, sync: Callable[[], None] = int
) -> dict[str, list[float]]:
    """Time every case once per repetition, in turns; the first turn does not count.

    Parameters
    ----------
    sync : callable
        Waits for the device.

    Returns
    -------
    dict
        Seconds of each case, `repetitions` of them.
    """
    times: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repetitions + 1):
        for name, case in cases.items():
            sync()
            start = time.perf_counter()
            case()
            sync()
            if turn:
                times[name].append(time.perf_counter() - start)
    return times


def ratio(
    name: str, times: Mapping[str, list[float]], over: str, under: str, limit: float | None
) -> Row:
    """Compare two cases by their medians."""
    top, bottom = median(times[over]), median(times[under])
    note = f"{over} {1e3 * top:.2f} ms, {under} {1e3 * bottom:.2f} ms"
    return Row(name, top / bottom, "ratio", limit, len(times[over]), note)


def environment() -> dict[str, str]:
    """Return versions, cores and device, as columns."""
    packages = ("autoprune", "torch")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(torch.get_num_threads()),
        "processor": platform.processor() or platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }


def append(rows: list[Row], path: Path, where: dict[str, str]) -> None:
    """Append rows to a table, with what `environment` said; the first ones write its head."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [{**where, **asdict(row)} for row in rows]
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, lines[0].keys(), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(lines)


def conclude(rows: list[Row], path: Path, where: dict[str, str], *, quick: bool) -> int:
    """Append rows to a table; return 1 when a limit is not kept, which tiny sizes cannot tell."""
    append(rows, path, where)
    return 0 if quick or all(row.holds is not False for row in rows) else 1


def show(row: Row) -> str:
    """Word a row for the terminal."""
    promise = "" if row.limit is None else f"(limit {row.limit:g})"
    verdict = {None: "", True: "holds", False: "FAILS"}[row.holds]
    return f"{row.name:44} {row.value:9.3f} {row.unit:6} {promise:14} {verdict:6} {row.note}"


def make_loop(
    model: nn.Module, steps: int, masks: dict[str, Tensor] | None = None, **options: object
) -> LoopState:
    """Return the library's own loop on a model, as a training stage builds it."""
    parameters = dict(model.named_parameters())
    return LoopState(
        model=model,
        optimizer=build_optimizer(model.named_parameters(), OptimizerConfig()),
        parameters=parameters,
        masks=dict(masks or {}),
        loss_fn=nn.functional.cross_entropy,
        seed=0,
        num_steps=steps,
        steps_per_epoch=steps,
        **options,  # type: ignore[arg-type] # device and dtype
    )


def train(model: nn.Module, split: TensorSplit, batch_size: int, **options: object) -> None:
    """Train one epoch in the library's own loop, with the hooks every trial has."""
    masks = options.pop("masks", None)
    loop = make_loop(model, -(-split.size // batch_size), masks, **options)  # type: ignore[arg-type]
    hooks: list[Hook] = [HardMasks(), RecordLR()]
    fit(
        loop, split, lambda progress: 0.05, hooks,
        batch_size=batch_size, stop=loop.num_steps, label="benchmark",
    )  # fmt: skip


def random_split(size: int, shape: tuple[int, ...], classes: int = 10) -> TensorSplit:
    """Return noise in memory, as a task's training split holds its images."""
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(size, *shape, generator=stream)
    return TensorSplit(inputs, torch.arange(size) % classes, torch.zeros(shape[0], 1, 1))


def random_masks(model: nn.Module, sparsity: float) -> dict[str, Tensor]:
    """Return masks that remove a random share of every weight with two dimensions or more."""
    stream = torch.Generator().manual_seed(1)
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    return {
        name: torch.rand(mask.shape, generator=stream) >= sparsity
        for name, mask in dense_masks(weights).items()
    }
