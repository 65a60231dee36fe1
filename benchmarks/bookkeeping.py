"""What a method that moves its masks keeps book of between two moves, against a plain masked step.

The schedule is long and only its first steps are timed, before any mask moves. SCL has no such
steps: its masks follow their variables at every one, so nothing is promised for it.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from torch import nn

from autoprune.core.registry import load_object
from autoprune.models.build import build_model
from autoprune.pruning.masks import dense_masks
from autoprune.training.events import Hook
from autoprune.training.hooks.masks import HardMasks
from autoprune.training.hooks.record import RecordCost, RecordLR
from autoprune.training.loop import fit
from benchmarks.common import Row, in_turns, make_loop, random_masks, random_split, ratio

BATCH = 128
SHAPE = (1, 28, 28)
LIMIT = 1.10
SPARSITY = 0.9

REGROW = {"drop_fraction": 0.3, "end": 0.75, "interval": 10**6, "least_updates": 1}
MOVEMENT = {
    "sparsity": SPARSITY, "allocation": "uniform", "score_lr": 0.01, "begin": 0.5, "end": 0.9,
    "schedule": "cubic",
}  # fmt: skip
HOOKS: dict[str, tuple[str, dict[str, Any], float | None]] = {
    "rigl": ("autoprune.training.hooks.regrow:Regrow", {"growth": "gradient", **REGROW}, LIMIT),
    "set": ("autoprune.training.hooks.regrow:Regrow", {"growth": "random", **REGROW}, LIMIT),
    "snfs": ("autoprune.training.hooks.regrow:Regrow", {"growth": "momentum", **REGROW}, LIMIT),
    "movement": ("autoprune.methods.movement:MovementHook", MOVEMENT, LIMIT),
    "platon": (
        "autoprune.methods.platon:PlatonHook",
        {
            "sparsity": SPARSITY, "allocation": "global", "beta1": 0.85, "beta2": 0.95,
            "windows": 1, "schedule": "plateau_cubic",
        },
        LIMIT,
    ),
    "scl": (
        "autoprune.methods.scl:SclHook",
        {
            "sparsity": SPARSITY, "ste": "identity", "norm": "rms", "penalty": 0.1,
            "penalty_lr": 3.0, "mask_lr": 10.0, "start": 0.5, "bound": 1.0, "freeze": 0.75,
        },
        None,
    ),
}  # fmt: skip


def measure(quick: bool = False) -> list[Row]:
    """Time the first steps of a long schedule under each method's hook, in turns."""
    steps = 4 if quick else 100
    model = build_model("lenet300", 10, SHAPE, 0.25 if quick else 1.0)
    split = random_split(steps * BATCH, SHAPE)
    cases = {"plain": partial(_train, copy.deepcopy(model), split, steps, None)}
    for name, (target, settings, _) in HOOKS.items():
        hook = (target, settings)
        cases[name] = partial(_train, copy.deepcopy(model), split, steps, hook)
    times = in_turns(cases, 2 if quick else 15)
    return [
        ratio(f"step between updates / plain masked step, {name}", times, name, "plain", limit)
        for name, (_, _, limit) in HOOKS.items()
    ]


def _train(
    model: nn.Module, split: Any, steps: int, hook: tuple[str, dict[str, Any]] | None
) -> None:
    """Train a few steps of a schedule a thousand times as long, as a stage would."""
    latent = hook is not None and "regrow" not in hook[0]
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    masks = dense_masks(weights) if latent else random_masks(model, SPARSITY)
    loop = make_loop(model, 1000 * steps, masks)
    hooks: list[Hook] = [] if hook is None else [load_object(hook[0])(**hook[1])]  # type: ignore[operator] # a class by path
    hooks += [] if latent else [HardMasks()]
    fit(
        loop, split, lambda progress: 0.01, [*hooks, RecordLR(), RecordCost()],
        batch_size=BATCH, stop=steps, label="benchmark",
    )  # fmt: skip
