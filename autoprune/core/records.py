"""What travels between the search, the executors and the workers: all of it plain JSON.

Nothing here imports torch, so a search driver can stay light.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from autoprune.core.canonical import plain
from autoprune.core.config import TrialConfig, parse

Purpose = Literal["explore", "lift", "confirm", "baseline", "run"]
Status = Literal["ok", "diverged", "collapsed", "failed"]


@dataclass(frozen=True)
class LayerInfo:
    """One prunable weight tensor of the dense model; `output` if it makes the model's outputs."""

    name: str
    shape: tuple[int, ...]
    kind: Literal["conv", "linear", "attention"]
    macs: int
    output: bool = False

    @property
    def num_weights(self) -> int:
        """Number of weights in the tensor."""
        total = 1
        for size in self.shape:
            total *= size
        return total


@dataclass(frozen=True)
class UnitInfo:
    """One group of units that can only be removed together.

    Parameters
    ----------
    name : str
        The group's.
    num_units : int
        Its units.
    inner : bool
        Whether a single layer reads them.
    entries : dict
        Prunable tensor to how many of its rows, and of its columns, a unit takes along.
    """

    name: str
    num_units: int
    inner: bool
    entries: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class TaskInfo:
    """What a search needs to know of a task without loading it.

    `reach` is the greatest sparsity each kind of pruning can reach on this model (``weights``,
    ``units``, ``low_rank``; a kind that is absent has no limit of its own), and the units that a
    single layer reads (``inner_channel``), all down to one unit a group; with ``_macs`` the
    greatest share of multiply-adds. `units` are the groups, from which the reach with other least
    counts is worked out.
    `fingerprint` identifies the data and its split; `pretrained` says that dense training is
    replaced by given weights; `has_relu` counts rectifiers of any form, `has_relu_modules` only
    those that are modules; `warnings` are shown to the user before anything is trained.
    """

    num_train: int
    num_val: int
    num_test: int
    num_classes: int
    input_shape: tuple[int, ...]
    layers: tuple[LayerInfo, ...]
    params: int
    macs: int
    fingerprint: str
    reach: dict[str, float] = field(default_factory=dict)
    units: tuple[UnitInfo, ...] = ()
    pretrained: bool = False
    has_batchnorm: bool = False
    has_relu: bool = True
    has_relu_modules: bool = True
    warnings: tuple[str, ...] = ()

    @property
    def num_prunable(self) -> int:
        """Number of prunable weights."""
        return sum(layer.num_weights for layer in self.layers)

    @property
    def macs_elsewhere(self) -> int:
        """Multiply-adds that no prunable weight does: those of attention's products."""
        return max(0, self.macs - sum(layer.macs for layer in self.layers))

    def steps_per_epoch(self, batch_size: int) -> int:
        """Optimiser steps in one pass over the training split; a ragged last batch counts."""
        return -(-self.num_train // batch_size)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        content: dict[str, Any] = plain(self)
        return content

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> TaskInfo:
        """Read what `to_json` wrote."""
        return TypeAdapter(TaskInfo).validate_python(dict(value))


@dataclass(frozen=True)
class Job:
    """One trial at one rung with one replicate: the arguments of a pure function.

    Parameters
    ----------
    number : int
        Position in the study's order of issue, from 0.
    config : TrialConfig
        The trial.
    epochs : int
        Total retraining epochs over all rounds (from-scratch plans add the dense epochs in
        proportion, see `Method.plan`).
    seed : int
        The replicate's root seed: initialisation, dense run, teacher, data order, scoring batch.
    purpose : str
        Why it was issued.
    test : bool
        Read the test split once, at the end.
    """

    number: int
    config: TrialConfig
    epochs: int
    seed: int
    purpose: Purpose
    test: bool = False
    tag: str = ""

    @property
    def trial(self) -> str:
        """Name of the configuration."""
        return self.config.trial_id

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types, with the trial's name for the reader."""
        content: dict[str, Any] = plain(self)
        return {**content, "trial": self.trial}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Job:
        """Read what `to_json` wrote."""
        rest = {k: v for k, v in value.items() if k not in {"trial", "config"}}
        return Job(config=parse(TrialConfig, value["config"], "config"), **rest)


@dataclass(frozen=True)
class StageRecord:
    """One stage of a job: reused from the store, or computed."""

    key: str
    kind: str
    epochs: float
    reused: bool
    wall_s: float


@dataclass(frozen=True)
class RoundRecord:
    """The state of an iterative trial after one of its rounds (the last round is the trial)."""

    stop_round: int
    epochs: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class JobResult:
    """What a job gives back; never an exception.

    `metrics` holds fractions and counts: ``val_accuracy, val_loss, sparsity, sparsity_total,
    params, params_nonzero, macs, macs_effective, dense_val_accuracy`` always; ``test_accuracy,
    test_loss`` when the job read the test split; ``log/<name>`` for each number that a stage or a
    hook logged: ``log/train_macs`` (multiply-adds of the training where zeros cost nothing),
    ``log/score_passes``, ``log/mask_updates``. When `WorkerSettings.measure` asks for them also:

    - ``latency_ms, size_bytes``, beside ``dense_latency_ms, dense_size_bytes``;
    - ``val_top5``: share of examples whose class is among the five greatest outputs;
    - ``before_val_accuracy, before_val_top5`` of the masked net just before its last training;
      absent when only the dense net was trained;
    - ``train_accuracy, train_loss`` on the training split and its labels as they are, not
      augmented;
    - ``distance`` of the masked prunable weights from the dense net's initial ones, and its parts
      ``distance_alive, distance_pruned`` (their squares add up); absent when the net was not
      initialised here or diverged.

    ``test_top5, before_test_accuracy, before_test_top5`` join them when the job read the test
    split.

    `layers` maps each prunable tensor to its kept share. `final_key` is the store's key of the
    final state.
    """

    job: int
    trial: str
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    layers: dict[str, float] = field(default_factory=dict)
    rounds: tuple[RoundRecord, ...] = ()
    stages: tuple[StageRecord, ...] = ()
    epochs_trained: float = 0.0
    epochs_reused: float = 0.0
    train_macs: float = 0.0
    wall_s: float = 0.0
    mask_sha256: str = ""
    final_key: str = ""
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's own types."""
        content: dict[str, Any] = plain(self)
        return content

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> JobResult:
        """Read what `to_json` wrote."""
        return TypeAdapter(JobResult).validate_python(dict(value))
