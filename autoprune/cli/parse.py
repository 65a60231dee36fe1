"""Reading what was typed: shares, settings, devices."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Literal

from autoprune.core.errors import ConfigError

if TYPE_CHECKING:
    from autoprune.search.runner import Workers


def share(text: str | None, option: str, *, below_one: bool = False) -> float | None:
    """Read ``1%`` or ``0.01`` as a fraction in [0, 1], or in [0, 1).

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if text is None:
        return None
    try:
        number = Decimal(text.removesuffix("%"))  # decimal: 99.9 % is 0.999 to the last bit
        value = float(number / 100 if text.endswith("%") else number)
    except (InvalidOperation, ValueError):
        value = -1.0
    if not 0.0 <= value <= 1.0 or (below_one and value == 1.0):
        example, end = ("90% or 0.9", ")") if below_one else ("1% or 0.01", "]")
        raise ConfigError(option, f"must be a share in [0, 1{end}, such as {example}", text)
    return value


def settings(pairs: list[str], option: str = "--set") -> dict[str, Any]:
    """Read ``key=value`` pairs; values are YAML scalars, keys may be dotted.

    Raises
    ------
    ConfigError
        If a pair has no ``=`` or its value is not a scalar.
    """
    import yaml

    from autoprune.space.files import read_scalar

    found: dict[str, Any] = {}
    for pair in pairs:
        key, sign, text = pair.partition("=")
        if not sign or not key:
            raise ConfigError(option, "must be key=value, such as rounds=5 or lr.peak=0.1", pair)
        try:
            value = read_scalar(text)
        except yaml.YAMLError:
            value = None
        if not isinstance(value, (bool, int, float, str)):
            raise ConfigError(f"{option} {key}", "must be a number, a word or true/false", text)
        found[key] = value
    return found


def device(name: str) -> str:
    """Resolve ``auto`` to what the machine has.

    Raises
    ------
    ConfigError
        If the name is unknown, or ``cuda`` is asked for where there is none.
    """
    if name not in {"auto", "cpu", "cuda"}:
        raise ConfigError("--device", "must be auto, cpu or cuda", name)
    if name == "cpu":
        return name
    found = _num_gpus() > 0
    if name == "cuda" and not found:
        raise ConfigError("--device", "must be a device this machine has", name, "use --device cpu")
    return "cuda" if found else "cpu"


def _num_gpus() -> int:
    """Count NVIDIA devices without importing torch (a driver must stay light)."""
    from pathlib import Path

    return len(list(Path("/proc/driver/nvidia/gpus").glob("*")))


def executor(name: str | None) -> Literal["ray", "inline"] | None:
    """Check the name of an executor.

    Raises
    ------
    ConfigError
        If it is none.
    """
    if name not in {None, "ray", "inline"}:
        raise ConfigError("--executor", "must be ray or inline", name)
    return name  # type: ignore[return-value] # checked above


def workers(
    name: str | None, address: str | None, count: int | None, on: str, gpus_per_job: float
) -> Workers:
    """Read where jobs run.

    Raises
    ------
    ConfigError
        See `Workers`.
    """
    from autoprune.search.runner import Workers

    return Workers(
        executor=executor(name),
        ray_address=address,
        workers=count,
        device=device(on),
        gpus_per_job=gpus_per_job,
    )
