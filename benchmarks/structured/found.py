"""What the journal holds, as the report reads it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from autoprune.metrics.statistics import paired
from benchmarks.methods.catalogue import Setting
from benchmarks.methods.pool import Results
from benchmarks.methods.table import Gap, Row, Table
from benchmarks.structured.latency import widths

MISS = 0.05
"""A share of the multiply-adds further than this from what was asked for is called missed."""


def spread(values: Sequence[float]) -> str:
    """Word a mean with half of its 95 % interval (Student's t); no interval from one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.2f} ± {half:.2f}"


class Found:
    """The rows of one setting that are reported.

    Parameters
    ----------
    name : str
        The setting's.
    """

    def __init__(self, results: Results, name: str) -> None:
        self.wanted: dict[str, Any] = results.rows.get(f"wanted/{name}", {})
        self.rows: list[Row] = []
        for key, label, target in self.wanted.get("jobs", []):
            row = results.rows.get(key)
            if row is not None and row["metrics"]:
                self.rows.append({**row, "label": label, "target": target})
        self.table = Table(self.rows)
        self.times: dict[float, list[dict[str, Any]]] = {}
        for key, row in results.rows.items():
            if key.startswith(f"latency/{name}/"):
                self.times[float(key.split("/")[2])] = row["times"]  # the last one counts

    @classmethod
    def of(cls, results: Results, setting: Setting) -> Found:
        """Read a setting's rows."""
        return cls(results, setting.name)

    @property
    def refused(self) -> dict[str, str]:
        """Lines that cannot be trained here, with the reason."""
        found: dict[str, str] = self.wanted.get("refused", {})
        return found

    @property
    def lines(self) -> list[str]:
        """Lines in their order, the dense net apart."""
        return list(dict.fromkeys(row["label"] for row in self.rows if row["label"] != "dense"))

    def at(self, target: float) -> list[str]:
        """Lines that were measured at a target."""
        return [label for label in self.lines if self.table.has(label, target)]

    def share(self, label: str, target: float, name: str, dense: str = "") -> float:
        """Return a metric over the dense net's, averaged over seeds; NaN if it was not taken."""
        whole = self.table.metric("dense", 0.0, name)
        found = []
        for row in self.table.rows(label, target):
            base = row["metrics"].get(dense, 0.0) if dense else whole
            found.append(row["metrics"].get(name, math.nan) / base if base else math.nan)
        return statistics.fmean(found)

    def less_dense(self, label: str, target: float) -> Gap | None:
        """Return the paired difference to the dense net, over the seeds that both have."""
        if not self.table.has("dense", 0.0):
            return None
        dense = {row["seed"]: row for row in self.table.rows("dense", 0.0)}
        pairs = [
            (row["metrics"]["test_accuracy"], dense[row["seed"]]["metrics"]["test_accuracy"])
            for row in self.table.rows(label, target)
            if row["seed"] in dense
        ]
        return Gap(paired(*map(list, zip(*pairs, strict=True)))) if pairs else None

    def before(self, label: str, target: float) -> list[float]:
        """Return the test accuracies in percent just before the last training."""
        found = (
            row["metrics"].get("before_test_accuracy") for row in self.table.rows(label, target)
        )
        return [100 * value for value in found if value is not None]

    def ratios(self, label: str, target: float, batch: int) -> list[float]:
        """Return a line's latencies over the dense one's, one a repetition."""
        name = self.net(label, target)
        times = self.times.get(target, [])
        return [t["ratio"] for t in times if t["net"] == name and t["batch"] == batch]

    def net(self, label: str, target: float) -> str:
        """Name the first seed's structure."""
        row = self.table.rows(label, target)[0]
        return widths(row) if "units" in row else ""

    def missed(self, label: str, target: float) -> bool:
        """Whether the share of the multiply-adds is not the one asked for."""
        return abs(self.share(label, target, "macs") - (1.0 - target)) > MISS
