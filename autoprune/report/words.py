"""How numbers read to a person, and a configuration flattened into its knobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from autoprune.core.config import RecipeConfig, Scalar
from autoprune.pruning.allocations.spec import split_spec

Summary = Mapping[str, Any]
Entry = Mapping[str, Any]

_RECIPE = asdict(RecipeConfig())
TIMES = "×"  # noqa: RUF001 - the multiplication sign is meant
NONE = "–"  # noqa: RUF001 - the typographic dash for "no value"


def percent(fraction: float | None, digits: int = 1) -> str:
    """Write a fraction in percent, with more digits where rounding would claim 100 %.

    Examples
    --------
    >>> percent(0.9512), percent(0.9998)
    ('95.1', '99.98')
    """
    if fraction is None:
        return NONE
    text = f"{100 * fraction:.{digits}f}"
    if fraction < 1 and float(text) >= 100 and digits < 4:
        return percent(fraction, digits + 1)
    return text


def count(number: float | None) -> str:
    """Write a count with three digits and a magnitude.

    Examples
    --------
    >>> count(266610), count(812), count(4.1e7)
    ('267k', '812', '41.0M')
    """
    if number is None:
        return NONE
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}{letter}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """Write a time span.

    Examples
    --------
    >>> duration(42), duration(200), duration(3725)
    ('42 s', '3 min 20 s', '1 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def half_width(interval: tuple[float, float] | list[float], centre: float) -> float:
    """Return the wider side of an interval."""
    return max(centre - interval[0], interval[1] - centre)


def plus_minus(value: float | None, interval: list[float] | None) -> str:
    """Write a value and the wider half of its interval, both in percent.

    Examples
    --------
    >>> plus_minus(0.961, [0.957, 0.964])
    '96.1 ± 0.4'
    """
    if value is None or interval is None:
        return percent(value)
    return f"{percent(value)} ± {100 * half_width(interval, value):.1f}"


def measured(entry: Entry) -> tuple[float, list[float] | None, str]:
    """Return an entry's best-founded accuracy, its interval if any, and the split it is of."""
    if entry.get("test_accuracy") is not None:
        return entry["test_accuracy"], entry.get("test_ci95"), "test"
    return entry["val_accuracy"], entry.get("val_ci95"), "validation"


def knobs(config: Mapping[str, Any]) -> dict[str, Scalar]:
    """Flatten a trial's configuration into what was chosen for it.

    A method's own parameters carry its name (``imp.rounds``): under another method they do not
    exist. A schedule's carry ``lr`` (``lr.peak``), for schedules share them. The target sparsity
    is left out.
    """
    method, lr = config["method"], config["lr"]
    flat: dict[str, Scalar] = {"method": method, "lr schedule": lr["name"]}
    for name, value in config["params"].items():
        if name == "allocation":
            flat |= _allocation(str(value))
        else:
            flat[f"{method}.{name}"] = value
    flat |= {f"lr.{name}": value for name, value in lr["params"].items()}
    flat |= {name: value for name, value in config["recipe"].items() if value is not None}
    if config.get("stop_round") is not None:
        flat["stop_round"] = config["stop_round"]
    return flat


def _allocation(spec: str) -> dict[str, Scalar]:
    """Take an allocation's knobs apart: each is a number that exists under its name only."""
    name, numbers = split_spec(spec)
    return {"allocation": name} | {f"{name}.{i}": v for i, v in enumerate(numbers, start=1)}


def chosen(config: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return the knobs worth showing: recipe settings that are off are left out."""
    return {k: v for k, v in knobs(config).items() if k not in _RECIPE or v != _RECIPE[k]}


def any_config(summary: Summary) -> Mapping[str, Any]:
    """Return the configuration of some trial of the study, or an empty mapping."""
    for key in ("front", "baselines", "records"):
        for row in summary.get(key, ()):
            config: Mapping[str, Any] = row["config"]
            return config
    return {}


def proves_plumbing_only(summary: Summary) -> bool:
    """Whether the study ran on scikit-learn's digits, too small for any claim."""
    task = any_config(summary).get("task", {})
    return task.get("data") == "digits" and not task.get("task_file")
