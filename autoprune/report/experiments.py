"""Words and rows that the reports of ready-made studies share."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autoprune.report.words import NONE, Summary

TO = NONE  # the same dash stands between two ends
LEADS = {
    "better": "{one} is better than {other}",
    "worse": "{one} is worse than {other}",
    "within noise": "{one} and {other} are within noise of each other",
    "no interval": "{one} against {other} has no verdict",
}


def rate(peak: float | None) -> str:
    """Write a learning rate.

    Examples
    --------
    >>> rate(0.0281838), rate(1e-4)
    ('0.0282', '0.0001')
    """
    return NONE if peak is None else f"{peak:.3g}"


def span(low: float, high: float) -> str:
    """Write the rates from one to another.

    Examples
    --------
    >>> span(0.01, 0.01)
    '0.01'
    """
    return rate(low) if low == high else f"{rate(low)}{TO}{rate(high)}"


def points(difference: float | None, digits: int = 1) -> str:
    """Write a difference of two fractions in percentage points, always with its sign.

    Examples
    --------
    >>> points(0.0123), points(-0.0004)
    ('+1.2', '0.0')
    """
    if difference is None:
        return NONE
    text = f"{100 * difference:+.{digits}f}"
    return text if float(text) else text[1:]


def replicates(numbers: Iterable[int]) -> str:
    """Write how many seeds stand behind numbers.

    Examples
    --------
    >>> replicates([3, 3]), replicates([1]), replicates([3, 2])
    ('n = 3 seeds', 'n = 1 seed', 'n = 2 or 3 seeds')
    """
    found = sorted(set(numbers))
    return f"n = {' or '.join(map(str, found)) or 0} seed{'' if found == [1] else 's'}"


def compared(comparison: Mapping[str, Any], one: str, other: str) -> str:
    """Say how two things compare, the verdict first; no full stop.

    Parameters
    ----------
    comparison : mapping
        ``outcome`` and ``text``; without a text its ``difference``, ``low`` and ``high`` are said.
    one, other : str
        What is compared, as a person calls it.
    """
    lead = LEADS[comparison["outcome"]].format(one=one, other=other)
    text = str(comparison.get("text") or _difference(comparison)).strip().removesuffix(".")
    text = text.removeprefix(f"{comparison['outcome']}: ")
    return f"{lead}: {text}" if text else lead


def _difference(comparison: Mapping[str, Any]) -> str:
    if comparison.get("difference") is None:
        return ""
    words = f"{points(comparison['difference'])} points"
    low, high = comparison.get("low"), comparison.get("high")
    if low is None or high is None:
        return words
    return f"{words} ({points(low)} to {points(high)})"


def caveats(summary: Summary) -> list[str]:
    """Return what a reader must know of the whole study before believing a number."""
    notes = []
    if summary["status"] != "complete":
        notes.append(f"The study is {summary['status']}: its numbers will move.")
    if len(summary["seeds"]) < 2:
        notes.append("One seed: nothing here says how much another training would differ.")
    if summary["data"] == "digits":
        notes.append(
            "scikit-learn's digits prove that the study works; take no claim about methods from it."
        )
    return notes


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows as CSV with a header; None is an empty cell, a truth value is true or false.

    Parameters
    ----------
    columns : sequence of str
        The header, in order; what a row lacks is empty.
    rows : iterable of mapping
        They hold no other keys.
    """
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return stream.getvalue()


def _cell(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
