"""Let arms search: runs side by side, each in a process of one thread."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from autoprune.core.records import JobResult
from autoprune.stages.store_files import trim
from benchmarks.rivals import log
from benchmarks.rivals.catalogue import ARMS
from benchmarks.rivals.evaluate import Bench, Ledger
from benchmarks.rivals.setting import Setting

MOST_IDLE = 100
"""Decisions in a row that cost nothing, after which an arm has nothing new to say."""
STORE_BYTES = 6 * 2**30


@dataclass(frozen=True)
class Order:
    """One run to do.

    Parameters
    ----------
    home, out : Path
        Where stages, evaluations and logs lie, and complete runs.
    deadline : float
        Time (as `time.monotonic`, which is one for all processes) from which on nothing starts.
    """

    setting: Setting
    arm: str
    seed: int
    home: Path
    out: Path
    deadline: float


def orders(
    setting: Setting, arms: Iterable[str], seeds: Iterable[int], home: Path, out: Path, end: float
) -> list[Order]:
    """Return the runs that are missing: the first seed of all arms, then the next."""
    names = [name for name in ARMS if name in set(arms) and not ARMS[name].missing]
    wanted = [(name, seed) for seed in seeds for name in names]
    return [
        Order(setting, name, seed, home, out, end)
        for name, seed in wanted
        if not log.is_complete(log.file_of(out, name, seed), setting.epochs)
    ]


def left_out(arms: Iterable[str]) -> list[str]:
    """Name the arms whose library is not installed."""
    return [f"{name}: {ARMS[name].needs} is not installed" for name in arms if ARMS[name].missing]


def run_all(missing: Sequence[Order], workers: int) -> bool:
    """Do the runs; return whether all are complete.

    The dense run of each seed is trained first, as every arm needs it.
    """
    first = {order.seed: order for order in reversed(missing)}
    if workers == 1:
        done = [search(order) for order in missing]  # a run that is late does not stop the others
        return all(done)
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes to come
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        for future in [pool.submit(train_dense, order) for order in first.values()]:
            future.result()
        futures = [pool.submit(search, order) for order in missing]
        done = [future.result() for future in as_completed(futures)]  # every one, or what it raised
    return all(done)


_BENCHES: dict[str, Bench] = {}


def bench_of(setting: Setting, home: Path) -> Bench:
    """Return this process's bench; the last one is kept."""
    name = f"{setting}/{home}"
    if name not in _BENCHES:
        _BENCHES.clear()
        _BENCHES[name] = Bench(setting, home)
    return _BENCHES[name]


def train_dense(order: Order) -> dict[str, float]:
    """Train the dense run of a seed, unless it is there."""
    bench = bench_of(order.setting, order.home)
    return dict(bench.run(bench.dense_job(order.seed)).metrics)


def search(order: Order) -> bool:
    """Let one arm search until it was charged its epochs; return whether it came so far."""
    if time.monotonic() > order.deadline:
        return False
    bench = bench_of(order.setting, order.home)
    kept = log.Log(
        order.home / "logs" / f"{order.setting.name}-{order.arm}-{order.seed}.jsonl",
        order.arm,
        order.seed,
    )
    dense = train_dense(order)
    arm = ARMS[order.arm].make(bench, order.seed, order.setting.epochs)
    ledger = Ledger(bench, order.seed)
    idle, ended, start = 0, "budget", time.monotonic()
    while ledger.epochs < order.setting.epochs:
        if time.monotonic() > order.deadline:
            return False
        ask = arm.ask()
        if ask is None or idle >= MOST_IDLE:
            ended = "exhausted"
            break
        evaluation = ledger.evaluate(ask)
        kept.add(log.row_of(ask, evaluation, ledger.epochs))
        arm.tell(ask, evaluation.shown)
        idle = 0 if evaluation.charged else idle + 1
    about = {
        "arm": order.arm,
        "seed": order.seed,
        "epochs": order.setting.epochs,
        "space": {"name": bench.space.name, "sha256": bench.space.sha256},
        "rungs": list(bench.space.rungs),
        "info": bench.info.to_json(),
        "dense": {k: dense[k] for k in ("val_accuracy", "test_accuracy")},
        "ended": ended,
        "versions": dict(log.versions()),
    }
    log.write(log.file_of(order.out, order.arm, order.seed), log.Finished(kept.rows, about))
    trim(order.home / "store", cap_bytes=STORE_BYTES)
    seconds = time.monotonic() - start
    print(
        f"{order.arm} seed {order.seed}: {len(kept.rows)} decisions, {ledger.epochs:.0f} epochs "
        f"charged, {seconds:.0f} s",
        flush=True,
    )
    return True


def plan(missing: Sequence[Order], workers: int) -> str:
    """Say what is missing, and how long it takes at the speed that was measured in this home."""
    if not missing:
        return "nothing is missing"
    names = ", ".join(f"{order.arm}-{order.seed}" for order in missing)
    epochs = sum(order.setting.epochs for order in missing)
    speed = seconds_per_epoch(missing[0].home)
    hours = "unknown" if speed is None else f"{speed * epochs / workers / 3600:.1f} h at the most"
    told = "" if speed is None else f" ({speed:.2f} s an epoch and process)"
    return f"missing: {names}\n{epochs:.0f} epochs at the most, {hours}{told}"


def seconds_per_epoch(home: Path, most: int = 400) -> float | None:
    """Return the median second that a trained epoch took here, of some evaluations."""
    found = []
    for path in sorted((home / "evaluations").glob("*/*.json"))[:most]:
        result = JobResult.from_json(json.loads(path.read_text(encoding="utf-8")))
        if result.epochs_trained > 0:
            found.append(result.wall_s / result.epochs_trained)
    return statistics.median(found) if found else None


def checked(names: str, known: Iterable[str]) -> list[str]:
    """Return names that a comma parts.

    Raises
    ------
    ValueError
        For one that is not known.
    """
    given = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in given if name not in set(known)]
    if unknown or not given:
        raise ValueError(f"must be some of {', '.join(known)}; got {names!r}")
    return given


def seeds_of(text: str) -> list[int]:
    """Return the seeds that ``0-4`` or ``0,2`` names.

    Examples
    --------
    >>> seeds_of("0-2,7")
    [0, 1, 2, 7]
    """
    found: list[int] = []
    for part in text.split(","):
        low, dash, high = part.partition("-")
        found += range(int(low), int(high if dash else low) + 1)
    return found
