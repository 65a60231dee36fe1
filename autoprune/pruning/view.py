"""What a score sees of a model: weights, masks, and the signals it declared it needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from torch import Tensor

Scores = dict[str, Tensor]
"""Name of a prunable tensor (or of a unit group) to scores; higher = keep; finite."""


class Signal(StrEnum):
    """What `pruning.signals` can gather for a score, on a copy of the model, once.

    Every signal is a mapping from the name of a prunable weight to a tensor of its shape, but
    `ACTIVATION`, `ZERO_SHARE` and `REMOVAL_ORDER`, which map a unit group's name to a vector with
    one entry per unit,
    the two `UNIT_CURVATURE`, which map it to a matrix with one column per unit,
    `READOUT`, which maps it to a matrix with one row per unit and one column more, and
    `HYPERPLANES`, whose matrices have one row per filter and one column more.
    """

    GRADIENT = "gradient"  # dL/dw on the scoring batch, eval mode, float64
    ZERO_SHARE = "zero_share"  # share of zeros in each unit's post-activation over the scoring set
    REMOVAL_ORDER = "removal_order"  # place of each unit in a greedy removal by training loss
    ACTIVATION = "activation"  # mean |post-activation| of each unit over the scoring set
    HESSIAN_GRADIENT = "hessian_gradient"  # H g of the scoring batch, batch statistics, float64
    SYNAPTIC_FLOW = "synaptic_flow"  # dR/d|w| of the positive net on ones; reads no data
    CONTRIBUTION = "contribution"  # mean signal each connection or kernel brings to its unit
    CONTRIBUTION_FRO_MEAN = "contribution_fro_mean"  # the same, a kernel by its mean map's norm
    CONTRIBUTION_L1 = "contribution_l1"  # the same, a kernel by its mean map's sum
    INPUT_RMS = "input_rms"  # root mean square of what each weight multiplies, float64
    UNIT_CURVATURE = "unit_curvature"  # damage of removal, and fall of the top curvature, float64
    UNIT_CURVATURE_EMPIRICAL = "unit_curvature_empirical"  # the same, by the data's labels
    READOUT = "readout"  # mass of units, and their pull on each other where they are read, float64
    HYPERPLANES = "hyperplanes"  # rows of what makes units, norms folded in, offsets last, float64


GROUP_SIGNALS = frozenset(
    {
        Signal.ACTIVATION,
        Signal.ZERO_SHARE,
        Signal.REMOVAL_ORDER,
        Signal.CONTRIBUTION,
        Signal.CONTRIBUTION_FRO_MEAN,
        Signal.CONTRIBUTION_L1,
        Signal.UNIT_CURVATURE,
        Signal.UNIT_CURVATURE_EMPIRICAL,
        Signal.READOUT,
        Signal.HYPERPLANES,
    }
)
"""Signals that speak of removable units, or of which units are read: they want the groups."""


@dataclass(frozen=True)
class UnitMember:
    """The slice of one tensor that belongs to the units of a group.

    Unit ``u`` owns the entries ``index[u]`` (possibly several: flattened positions) along `dim`
    of the tensor `name`; `role` is ``"out"`` for what a unit is made of (filter rows, biases,
    norm parameters) and ``"in"`` for what only reads it (the consumers' input slices). `size` is
    the tensor's length along `dim`; 0 means that the indices name all of it.

    A convolution in groups has a position for the channels that lie there in each of its groups:
    its ``"in"`` slice names positions, and its rows are as many per unit as there are groups.
    """

    name: str
    dim: int
    index: tuple[tuple[int, ...], ...]
    role: str
    size: int = 0


@dataclass(frozen=True)
class UnitCounter:
    """An integer of a module that says how many units there are, times `per_unit`.

    With `units` only those count.
    """

    module: str
    attribute: str
    per_unit: int = 1
    units: tuple[int, ...] = ()


@dataclass(frozen=True)
class UnitGroup:
    """Channels, neurons or attention heads that can only be removed together.

    `counters` are what modules say about their units besides the shapes of their tensors.
    """

    name: str
    num_units: int
    members: tuple[UnitMember, ...]
    counters: tuple[UnitCounter, ...] = ()


@dataclass(frozen=True)
class ModelView:
    """A read-only look at a model's prunable part.

    Parameters
    ----------
    weights : mapping
        Prunable weights by parameter name, in model order, detached.
    masks : mapping
        Bool masks of the same shapes, True = kept; all True for a dense model.
    signals : mapping
        What the score asked for in `needs`.
    groups : tuple of UnitGroup
        The removable units, for granularities above the single weight.
    seed : int
        Root of the score's own random stream.
    others : mapping
        The model's other tensors by name, detached: biases, and what norms scale, shift and count.
    """

    weights: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    signals: Mapping[Signal, Mapping[str, Tensor]] = field(default_factory=dict)
    groups: tuple[UnitGroup, ...] = ()
    seed: int = 0
    others: Mapping[str, Tensor] = field(default_factory=dict)


class Score(Protocol):
    """Rates what is worth keeping. Pure: no draw outside its stream, nothing of the model changes.

    A weight score returns one tensor of the weight's shape per prunable weight; a unit score
    (one that needs `Signal.ACTIVATION`) returns one vector per unit group.
    """

    @property
    def needs(self) -> frozenset[Signal]:
        """Signals to gather before the call."""
        ...

    @property
    def of_units(self) -> bool:
        """Whether the scores are vectors over unit groups rather than tensors over weights."""
        ...

    @property
    def cheap(self) -> bool:
        """Whether scoring again costs less than reading the scores from disk."""
        ...

    @property
    def passes(self) -> int:
        """Passes over the scoring set that one call costs, forward and (if needed) backward."""
        ...

    def __call__(self, view: ModelView) -> Scores:
        """Return the scores, higher = keep."""
        ...
