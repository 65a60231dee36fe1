"""What a method removes, and how much of it, on one model; torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoprune.core.config import TrialConfig, parse
from autoprune.core.errors import ConfigError
from autoprune.methods.base import METHODS, Kind, Method

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo


def kind_with(method: Method, params: Any) -> Kind:
    """Return what a method removes with these (parsed) parameters."""
    return method.kind if method.kind_of is None else method.kind_of(params)


def kind_of(config: TrialConfig) -> Kind:
    """Return what a trial removes: single weights, whole units, or rank."""
    method = METHODS.get(config.method)
    return kind_with(method, parse(method.params, config.params, config.method))


def reach_key(name: str, of: str) -> str:
    """Return the key of `TaskInfo.reach` for a share of the weights, or of the multiply-adds."""
    return name if of == "weights" else f"{name}_{of}"


def reach_on(method: Method, params: Any, info: TaskInfo, of: str) -> tuple[float, float]:
    """Return the least and the greatest target a method can be asked for on a model.

    Parameters
    ----------
    method, params : Method, Any
        The method and its parsed parameters.
    info : TaskInfo
        The task; what its reach does not hold is no limit.
    of : str
        What the target is a share of: ``weights`` or ``macs``.
    """
    low, high = method.reaches(params)
    if method.limit is not None:
        return low, min(high, method.limit(info, of, params))
    return low, min(high, info.reach.get(reach_key(kind_with(method, params), of), high))


def out_of_reach(
    config: TrialConfig, low: float, high: float, place: str = "trial", where: str = ""
) -> ConfigError:
    """Return the error of a target that a method does not reach, in the terms it was given in.

    Parameters
    ----------
    config : TrialConfig
        The trial.
    low, high : float
        The least and the greatest target there is.
    place : str
        What the trial is called.
    where : str
        What limits it beside the method, such as ``" on this model"``.
    """
    grain = str(config.params.get("granularity", "weight"))
    whose = f"for method {config.method!r}"
    whose += ("" if grain == "weight" else f" and granularity {grain!r}") + where
    coarse = ["round_to"] if where and "round_to" in config.params else []
    coarse += ["floor"] if coarse and config.params.get("allocation") == "global" else []
    others = f"lower {' and '.join(coarse)}, or use another " if coarse else "or use another "
    others += "method" if grain == "weight" else "granularity"
    if config.of == "macs":
        most = f" and at most {1.0 - low:.4g}" if low else ""
        return ConfigError(
            f"{place}.macs",
            f"must be at least {1.0 - high:.4g}{most} of the dense multiply-adds {whose}",
            round(1.0 - config.sparsity, 10),
            f"keep a greater share, {others}",
        )
    return ConfigError(
        f"{place}.sparsity",
        f"must {f'be {low:g}' if low == high else f'lie in [{low:g}, {high:g}]'} {whose}",
        config.sparsity,
        f"ask for {'that' if low == high else 'a sparsity in there'}, {others}",
    )
