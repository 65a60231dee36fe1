"""Gather what scores need, once, on a copy of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from autoprune.core.seeds import global_stream
from autoprune.pruning.signals.activation import activation, zero_share
from autoprune.pruning.signals.base import Scorable
from autoprune.pruning.signals.contribution import (
    contribution,
    contribution_fro_mean,
    contribution_l1,
)
from autoprune.pruning.signals.flow import hessian_gradient, synaptic_flow
from autoprune.pruning.signals.gradient import gradient
from autoprune.pruning.signals.hyperplanes import hyperplanes
from autoprune.pruning.signals.inputs import input_rms
from autoprune.pruning.signals.kfac import unit_curvature, unit_curvature_empirical
from autoprune.pruning.signals.readout import readout
from autoprune.pruning.signals.removal import removal_order
from autoprune.pruning.view import Signal, UnitGroup

Gatherer = Callable[[nn.Module, Scorable, tuple[UnitGroup, ...], int], dict[str, Tensor]]

GATHERERS: dict[Signal, Gatherer] = {
    Signal.GRADIENT: gradient,
    Signal.ACTIVATION: activation,
    Signal.ZERO_SHARE: zero_share,
    Signal.REMOVAL_ORDER: removal_order,
    Signal.HESSIAN_GRADIENT: hessian_gradient,
    Signal.SYNAPTIC_FLOW: synaptic_flow,
    Signal.CONTRIBUTION: contribution,
    Signal.CONTRIBUTION_FRO_MEAN: contribution_fro_mean,
    Signal.CONTRIBUTION_L1: contribution_l1,
    Signal.INPUT_RMS: input_rms,
    Signal.UNIT_CURVATURE: unit_curvature,
    Signal.UNIT_CURVATURE_EMPIRICAL: unit_curvature_empirical,
    Signal.READOUT: readout,
    Signal.HYPERPLANES: hyperplanes,
}


def gather(
    needs: frozenset[Signal],
    model: nn.Module,
    task: Scorable,
    groups: tuple[UnitGroup, ...],
    seed: int,
) -> dict[Signal, dict[str, Tensor]]:
    """Gather signals; the model, its gradients and statistics, and global RNG stay as they are.

    Parameters
    ----------
    needs : frozenset of Signal
        What to gather.
    model : nn.Module
        With its masks applied to its weights.
    task : Scorable
        Data and loss.
    groups : tuple of UnitGroup
        The removable units, for the signals that speak of units.
    seed : int
        Root of the streams that draw the examples.

    Returns
    -------
    dict
        Signal to its mapping, see `Signal`; tensors on the CPU.
    """
    signals: dict[Signal, dict[str, Tensor]] = {}
    for signal in sorted(needs):
        with global_stream(seed, "signal", signal):
            signals[signal] = GATHERERS[signal](copy.deepcopy(model), task, groups, seed)
    return signals
