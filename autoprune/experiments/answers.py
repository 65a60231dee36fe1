"""What several ready-made studies make of results: curves over rounds, intervals, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from autoprune.core.records import JobResult
from autoprune.experiments.base import Results, Wanted
from autoprune.metrics.statistics import accuracy_interval, paired


def found_all(wanted: Sequence[Wanted], results: Results) -> list[JobResult]:
    """Return the results of all that is wanted, or none while one is missing."""
    found = [results[one.key] for one in wanted if one.key in results]
    return found if len(found) == len(wanted) else []


def rounds_of(result: JobResult, name: str) -> list[float]:
    """Return a metric after every round of a job, the last one included."""
    return [*(r.metrics[name] for r in result.rounds), result.metrics[name]]


def curve(wanted: Sequence[Wanted], results: Results, num_test: int) -> dict[str, Any]:
    """Return accuracies over the rounds: by round and seed, their means, and test intervals."""
    found = found_all(wanted, results)
    content: dict[str, Any] = {}
    for split in ("val", "test"):
        by_seed = [rounds_of(result, f"{split}_accuracy") for result in found]
        rows = [list(row) for row in zip(*by_seed, strict=True)]
        content |= {split: rows, f"{split}_accuracy": [fmean(row) for row in rows]}
    content["test_ci95"] = [ends(row, num_test) for row in content["test"]]
    return content


def ends(accuracies: Sequence[float], num_examples: int) -> list[float]:
    """Return the ends of an accuracy's 95 % interval, within [0, 1]."""
    found = accuracy_interval(accuracies, num_examples)
    return [max(0.0, found.low), min(1.0, found.high)]


def dense_accuracy(wanted: Sequence[Wanted], results: Results) -> dict[str, float | None]:
    """Return the dense net's mean accuracies; None while a seed is missing."""
    found = found_all(wanted, results)
    keys = ("val_accuracy", "test_accuracy")
    return {k: fmean(r.metrics[k] for r in found) if found else None for k in keys}


def compare(one: Sequence[float], other: Sequence[float], num_examples: int) -> dict[str, Any]:
    """Compare accuracies on so many examples seed by seed; see `metrics.statistics.paired`."""
    found = paired(one, other, resolution=1.0 / num_examples)
    content = {key: value for key, value in asdict(found).items() if key != "num_pairs"}
    return {**content, "n": found.num_pairs, "text": found.text}


def worst(statuses: Sequence[str]) -> str:
    """Return the first status that is not ``ok``, or ``ok``."""
    return next((status for status in statuses if status != "ok"), "ok")
