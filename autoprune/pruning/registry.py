"""The registries of the pruning layer; torch-free until a name is resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoprune.pruning.keep import Allocation, Granularity
    from autoprune.pruning.schedules.base import SparsitySchedule
    from autoprune.pruning.view import Score

SCORES: Registry[Callable[..., Score]] = Registry(
    "score",
    "autoprune.scores",
    {
        "magnitude": "autoprune.pruning.scores.magnitude:Magnitude",
        "random": "autoprune.pruning.scores.random:Random",
        "snip": "autoprune.pruning.scores.snip:Snip",
        "grasp": "autoprune.pruning.scores.grasp:Grasp",
        "synflow": "autoprune.pruning.scores.synflow:SynFlow",
        "nnrelief": "autoprune.pruning.scores.nnrelief:NNRelief",
        "nnrelief_fro_mean": "autoprune.pruning.scores.nnrelief:NNReliefFroMean",
        "nnrelief_l1": "autoprune.pruning.scores.nnrelief:NNReliefL1",
        "pq_index": "autoprune.pruning.scores.pq_index:PqIndex",
        "lq": "autoprune.pruning.scores.lq:Lq",
        "mean_activation": "autoprune.pruning.scores.mean_activation:MeanActivation",
        "random_units": "autoprune.pruning.scores.random_units:RandomUnits",
        "kfac_neuron": "autoprune.pruning.scores.kfac_neuron:KfacNeuron",
        "i_spasp": "autoprune.pruning.scores.i_spasp:ISpasp",
        "filter_l1": "autoprune.pruning.scores.filter_norm:FilterL1",
        "filter_l2": "autoprune.pruning.scores.filter_norm:FilterL2",
        "fpgm": "autoprune.pruning.scores.fpgm:Fpgm",
        "taylor": "autoprune.pruning.scores.taylor:Taylor",
        "slimming": "autoprune.pruning.scores.slimming:Slimming",
        "spline": "autoprune.pruning.scores.spline:Spline",
    },
)

ALLOCATIONS: Registry[Allocation] = Registry(
    "allocation",
    "autoprune.allocations",
    {
        "global": "autoprune.pruning.allocations.global_:allocate",
        "uniform": "autoprune.pruning.allocations.uniform:allocate",
        "uniform_plus": "autoprune.pruning.allocations.uniform_plus:allocate",
        "layerwise": "autoprune.pruning.allocations.layerwise:allocate",
        "erk": "autoprune.pruning.allocations.erk:allocate",
        "lamp": "autoprune.pruning.allocations.lamp:allocate",
        "er": "autoprune.pruning.allocations.er:allocate",
        "igq": "autoprune.pruning.allocations.igq:allocate",
        "searched": "autoprune.pruning.allocations.searched:SEARCHED",
    },
)

GRANULARITIES: Registry[Callable[..., Granularity]] = Registry(
    "granularity",
    "autoprune.granularities",
    {
        "weight": "autoprune.pruning.granularities.weight:WeightGranularity",
        "kernel": "autoprune.pruning.granularities.kernel:KernelGranularity",
        "channel": "autoprune.pruning.granularities.channel:ChannelGranularity",
        "inner_channel": "autoprune.pruning.granularities.inner_channel:InnerChannelGranularity",
    },
)

SPARSITY_SCHEDULES: Registry[SparsitySchedule] = Registry(
    "sparsity schedule",
    "autoprune.sparsity_schedules",
    {
        "one_shot": "autoprune.pruning.schedules.one_shot:sparsity_at",
        "geometric": "autoprune.pruning.schedules.geometric:sparsity_at",
        "cubic": "autoprune.pruning.schedules.cubic:sparsity_at",
        "linear": "autoprune.pruning.schedules.linear:sparsity_at",
        "cosine": "autoprune.pruning.schedules.cosine:sparsity_at",
        "plateau_cubic": "autoprune.pruning.schedules.plateau_cubic:sparsity_at",
    },
)
