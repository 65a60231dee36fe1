"""The registries of the training layer; torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoprune.core.registry import Registry

if TYPE_CHECKING:
    from autoprune.training.lr.base import LRSchedule

LR_SCHEDULES: Registry[type[LRSchedule]] = Registry(
    "learning-rate schedule",
    "autoprune.lr_schedules",
    {
        "constant": "autoprune.training.lr.constant:Constant",
        "step": "autoprune.training.lr.step:Step",
        "cosine": "autoprune.training.lr.cosine:Cosine",
        "linear": "autoprune.training.lr.linear:Linear",
        "one_cycle": "autoprune.training.lr.one_cycle:OneCycle",
        "cyclical": "autoprune.training.lr.cyclical:Cyclical",
        "warmup": "autoprune.training.lr.warmup:Warmup",
        "ft": "autoprune.training.lr.ft:FineTuning",
        "lrw": "autoprune.training.lr.lrw:LRRewinding",
        "slr": "autoprune.training.lr.slr:ScaledRestart",
        "clr": "autoprune.training.lr.clr:CyclicRestart",
        "llr": "autoprune.training.lr.llr:LinearRestart",
        "allr": "autoprune.training.lr.allr:AdaptiveRestart",
        "silo": "autoprune.training.lr.silo:Silo",
        "fixed_peak": "autoprune.training.lr.fixed_peak:FixedPeak",
        "listed": "autoprune.training.lr.listed:Listed",
    },
)

RECIPES: Registry[Any] = Registry(
    "recipe",
    "autoprune.recipes",
    {
        "label_smoothing": "autoprune.training.recipes.label_smoothing:RECIPE",
        "mixup": "autoprune.training.recipes.mixup:RECIPE",
        "cutout": "autoprune.training.recipes.cutout:RECIPE",
        "distill": "autoprune.training.recipes.distill:RECIPE",
        "ema": "autoprune.training.recipes.ema:RECIPE",
        "bn_recalibration": "autoprune.training.recipes.bn_recalibration:RECIPE",
        "optimizer": "autoprune.training.recipes.optimizer:RECIPE",
        "tost": "autoprune.training.recipes.tost:RECIPE",
    },
)
