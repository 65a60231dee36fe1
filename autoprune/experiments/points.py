"""What a sweep is made of: arms, and the points at which each is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import TaskInfo


@dataclass(frozen=True)
class Arm:
    """One method as it is swept.

    Parameters
    ----------
    label : str
        Names it in tables.
    method : str
        Registry name.
    params : dict
        The method's parameters that are not its defaults.
    reinit : bool
        Train the arm's masks from fresh weights instead of its own (the control of a ticket).
    """

    label: str
    method: str
    params: dict[str, Any]
    reinit: bool = False


@dataclass(frozen=True)
class SweepOptions:
    """What is swept.

    Parameters
    ----------
    base : TrialConfig
        Task, dense run, learning rate and recipe of every arm; its method does not count.
    arms : tuple of Arm
        At least one; labels differ.
    seeds : tuple of int
        Replicates, at least one.
    epochs : int
        Retraining epochs at each point (of each level, where points are levels).
    sparsities : tuple of float
        Ascending, in (0, 1); empty where `ratios` or `levels` say it.
    ratios : tuple of float
        Compression ratios over all parameters, each >= 1.
    levels : int
        Levels of 20 % each: point ``r`` has the sparsity ``1 - 0.8 ** r``, and iterative arms go
        through them one by one.
    """

    base: TrialConfig
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    epochs: int
    sparsities: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()
    levels: int = 0

    def __post_init__(self) -> None:
        labels = [arm.label for arm in self.arms]
        if not labels or len(set(labels)) < len(labels):
            raise ConfigError("--methods", "must be at least one, each once", labels)
        if not self.seeds:
            raise ConfigError("--seeds", "must be at least 1", 0)
        if self.epochs < 1:
            raise ConfigError("--epochs", "must be at least 1", self.epochs)
        if self.levels < 0:
            raise ConfigError("--levels", "must be at least 1", self.levels)
        given = [bool(self.sparsities), bool(self.ratios), bool(self.levels)]
        if sum(given) != 1:
            raise ConfigError("sweep", "needs one of --sparsities, --ratios and --levels")
        _check_ascending("--sparsities", self.sparsities, 0.0, 1.0)
        _check_ascending("--ratios", self.ratios, 1.0, math.inf)


def _check_ascending(option: str, values: Sequence[float], low: float, high: float) -> None:
    wrong = [value for value in values if not low <= value < high]
    if wrong:
        raise ConfigError(option, f"must lie in [{low:g}, {high:g})", wrong[0])
    if list(values) != sorted(set(values)):
        raise ConfigError(option, "must ascend, each once", list(values))


@dataclass(frozen=True)
class Point:
    """One place on the curve: a target sparsity of the prunable weights, and the ratio it gives."""

    sparsity: float
    compression: float
    level: int = 0


def sparsity_for(ratio: float, info: TaskInfo) -> float:
    """Return the sparsity of the prunable weights at which all parameters shrink `ratio`-fold.

    Raises
    ------
    ConfigError
        If even without any prunable weight the ratio is not reached.

    Notes
    -----
    ``1 - (S / r - (S - S_p)) / S_p`` with S parameters, S_p of them prunable (card shrinkbench,
    c5; biases of pruned layers are never removed here, and count in S).
    """
    rest = info.params - info.num_prunable
    keep = (info.params / ratio - rest) / info.num_prunable
    if keep <= 0.0:
        most = info.params / rest
        raise ConfigError(
            "--ratios",
            f"must be below {most:.4g} on this model, of whose {info.params} parameters {rest} "
            "cannot be pruned",
            ratio,
        )
    return max(0.0, 1.0 - keep)


def ratio_of(sparsity: float, info: TaskInfo) -> float:
    """Return the compression ratio over all parameters at a sparsity of the prunable ones."""
    return info.params / (info.params - sparsity * info.num_prunable)
