"""How a trial does against its own mask trained from scratch: a table, sentences, a CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from autoprune.report.words import NONE, percent, plus_minus

Answer = Mapping[str, Any]


def scratch_table(answer: Answer) -> Table:
    """Return one row per arm: epochs, test accuracy, and the trial's lead over it."""
    count = len(answer["seeds"])
    table = Table(
        title=f"{answer['method']} {answer['trial']} against scratch, n = {count}",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("arm", no_wrap=True)
    for name in ("epochs", "test acc %", "trial less this, points"):
        table.add_column(name, justify="right")
    leads = {row["against"]: row for row in answer["comparisons"]}
    dense = answer["dense"]["test_accuracy"]
    table.add_row("dense", NONE, NONE if dense is None else percent(dense), NONE)
    for arm in answer["arms"]:
        lead = leads.get(arm["name"])
        table.add_row(
            arm["label"],
            f"{arm['epochs']:.4g}",
            plus_minus(arm["test_accuracy"], arm["test_ci95"]),
            NONE if lead is None else _lead(lead),
        )
    return table


def _lead(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{100 * row['difference']:+.2f}"
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['difference']:+.2f} ({low:+.2f} to {high:+.2f})"


def scratch_words(answer: Answer) -> list[str]:
    """Return the comparisons and the verdict in sentences."""
    words = []
    ratio, cap = answer["epochs_ratio"], answer["cap"]
    if ratio is not None and answer["capped"]:
        words.append(
            f"Equal MACs would be {ratio:.3g} times the epochs of E; the cap is {cap:g} (--cap), "
            "so B had fewer."
        )
    bad = {arm["label"]: arm["status_counts"] for arm in answer["arms"]}
    words += [
        f"{label.capitalize()}: {count} of {sum(counts.values())} runs ended as {status}."
        for label, counts in bad.items()
        for status, count in counts.items()
        if status != "ok"
    ]
    labels = {arm["name"]: arm["label"] for arm in answer["arms"]}
    words += [f"Against {labels[r['against']]}: {r['text']}." for r in answer["comparisons"]]
    return [*words, answer["verdict"]]


def scratch_csv(answer: Answer) -> str:
    """Return every run as a row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "arm", "epochs", "seed", "test_accuracy", "mask_sha256"])
    for arm in answer["arms"]:
        rows = zip(answer["seeds"], arm["test_accuracies"], arm["mask_sha256"], strict=True)
        for seed, accuracy, sha in rows:
            writer.writerow([answer["trial"], arm["name"], arm["epochs"], seed, accuracy, sha])
    return text.getvalue()
