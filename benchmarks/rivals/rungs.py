"""How well short runs order long ones: rank correlation between rungs, by family of methods."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.core.seeds import numpy_stream
from autoprune.methods.base import METHODS
from autoprune.space import Space
from benchmarks.rivals import log
from benchmarks.rivals.arms import question
from benchmarks.rivals.evaluate import Bench, Ledger
from benchmarks.rivals.log import Finished, Row
from benchmarks.rivals.run import bench_of
from benchmarks.rivals.setting import Setting

NAME = "rungs"
SPARSITY = 0.97
"""The one sparsity of measured configurations, as in the study that chose compressed schedules."""
LEAST = 8


def families(space: Space) -> dict[str, tuple[str, ...]]:
    """Return the methods of each family: what they remove, and from where they start."""
    found: dict[str, tuple[str, ...]] = {}
    for name in space.methods:
        family = f"{space.kind(space.middle(name))}, from {METHODS.get(name).start}"
        found[family] = (*found.get(family, ()), name)
    return found


def measure(
    setting: Setting, count: int, seeds: Sequence[int], home: Path, out: Path, deadline: float
) -> bool:
    """Train random configurations of each family at every rung, schedules compressed and cut.

    Parameters
    ----------
    count : int
        Configurations a family and seed.

    Returns
    -------
    bool
        Whether all of it is there.
    """
    done = [_measure(setting, count, seed, home, out, deadline) for seed in seeds]
    return all(done)


def _measure(
    setting: Setting, count: int, seed: int, home: Path, out: Path, deadline: float
) -> bool:
    path = log.file_of(out, f"{NAME}_{count}", seed)
    if path.exists():
        return True
    bench = bench_of(setting, home)
    ledger = Ledger(bench, seed)
    rows: list[Row] = []
    for ask, family in _asks(bench, count, seed):
        if time.monotonic() > deadline:
            return False
        evaluation = ledger.evaluate(ask)
        row = log.row_of(ask, evaluation, ledger.epochs)
        head = {"arm": NAME, "seed": seed, "decision": len(rows)}
        rows.append({**head, **row, "note": json.dumps({"family": family})})
    about = {
        "arm": NAME,
        "seed": seed,
        "count": count,
        "sparsity": SPARSITY,
        "epochs": ledger.epochs,
        "rungs": list(bench.space.rungs),
        "info": bench.info.to_json(),
        "versions": dict(log.versions()),
    }
    log.write(path, Finished(rows, about))
    return True


def _asks(bench: Bench, count: int, seed: int) -> Iterator[Any]:
    """Yield each configuration at the top rung, and below it compressed and cut."""
    space = bench.space
    for family, methods in families(space).items():
        rng = numpy_stream(seed, "rivals", NAME, family)
        for number in range(count):
            flat = space.random(rng, (methods[number % len(methods)],))
            for rung in reversed(space.rungs):
                yield question(bench, flat, SPARSITY, rung), family
                if rung < space.top:
                    yield question(bench, flat, SPARSITY, rung, cut=True), family


@dataclass(frozen=True)
class Correlation:
    """Spearman's, between the errors of one rung and of a higher one.

    Parameters
    ----------
    family : str
        A family, or a method.
    source : str
        What the configurations come from.
    n : int
        Configurations.
    """

    family: str
    source: str
    cut: bool
    rung: int
    top: int
    n: int
    rho: float


def correlations(files: Iterable[Finished], source: str) -> list[Correlation]:
    """Correlate every rung with the highest one, by family and by method.

    Only pairs of one configuration under one seed count, and only those that gave a network at
    both rungs. Where targets differ, so do errors: correlations are the greater for it.

    Parameters
    ----------
    source : str
        What the configurations come from, for the table.
    """
    pairs: dict[tuple[str, bool, int, int], list[tuple[float, float]]] = defaultdict(list)
    for finished in files:
        for trial, cut, rungs in _ladders(finished.rows):
            method = METHODS.get(trial)
            top = max(rungs)
            for rung, error in rungs.items():
                if rung < top:
                    for name in (f"{method.kind}, from {method.start}", trial):
                        pairs[name, cut, rung, top].append((error, rungs[top]))
    found = []
    for (name, cut, rung, top), both in sorted(pairs.items()):
        if len(both) >= LEAST:
            rho = spearman([a for a, _ in both], [b for _, b in both])
            if math.isfinite(rho):
                found.append(Correlation(name, source, cut, rung, top, len(both), rho))
    return found


def _ladders(rows: Sequence[Row]) -> Iterator[tuple[str, bool, dict[int, float]]]:
    """Yield each configuration's method, whether it was cut, and its errors by rung.

    What runs at the top is never cut: it stands on both ladders.
    """
    found: dict[tuple[str, str], dict[bool, dict[int, float]]] = defaultdict(
        lambda: {False: {}, True: {}}
    )
    tops = max((row["epochs"] for row in rows), default=0)
    for row in rows:
        if row["status"] == "ok":
            error = 1.0 - row["points"][-1]["val_accuracy"]
            for cut in (False, True) if row["epochs"] == tops else (row["cut"],):
                found[row["trial"], row["method"]][cut][row["epochs"]] = error
    for (_, method), ladders in found.items():
        yield from ((method, cut, rungs) for cut, rungs in ladders.items() if len(rungs) > 1)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the rank correlation; NaN where one side is constant."""
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return math.nan
    return float(spearmanr(first, second).statistic)
