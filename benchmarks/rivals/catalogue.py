"""The arms by name, those that matter most first."""

from __future__ import annotations

from autoprune.search.engine import SearchOptions
from autoprune.search.strategies.contextual import Contextual
from benchmarks.rivals.arms import ArmSpec, Asha, Random, Tpe
from benchmarks.rivals.ours import Ours, sampled
from benchmarks.rivals.smac_arm import Smac


def _ours(**options: str) -> SearchOptions:
    return SearchOptions(**options)  # type: ignore[arg-type] # texts only


ARMS: dict[str, ArmSpec] = {
    spec.name: spec
    for spec in (
        ArmSpec("ours", "AutoPrune", lambda b, s, e: Ours(b, s), "ours"),
        ArmSpec(
            "tpe",
            "Optuna, TPE for several objectives, multivariate and grouped",
            lambda b, s, e: Tpe(b, s, multivariate=True, group=True),
            "rival",
            "optuna",
        ),
        ArmSpec(
            "smac_compressed",
            "SMAC3, Hyperband, schedules compressed",
            lambda b, s, e: Smac(b, s, e, cut=False),
            "rival",
            "smac",
        ),
        ArmSpec(
            "smac_cut",
            "SMAC3, Hyperband, schedules cut",
            lambda b, s, e: Smac(b, s, e, cut=True),
            "rival",
            "smac",
        ),
        ArmSpec("asha", "Ray Tune, ASHA on accuracy", lambda b, s, e: Asha(b, s), "rival", "ray"),
        ArmSpec("random", "random", lambda b, s, e: Random(b, s, spread=False), "rival"),
        ArmSpec(
            "random_spread",
            "random, targets spread",
            lambda b, s, e: Random(b, s, spread=True),
            "rival",
        ),
        ArmSpec(
            "tpe_independent",
            "Optuna, TPE for several objectives, as it ships",
            lambda b, s, e: Tpe(b, s),
            "rival",
            "optuna",
        ),
        ArmSpec("ours_cut", "schedules cut", lambda b, s, e: Ours(b, s, cut=True), "ablation"),
        ArmSpec(
            "ours_sampled_targets",
            "targets sampled",
            lambda b, s, e: Ours(b, s, strategy=sampled(s)),
            "ablation",
        ),
        ArmSpec(
            "ours_no_gaps",
            "lifts follow the sequence, no gap is filled",
            lambda b, s, e: Ours(b, s, strategy=Contextual(fill_gaps=False)),
            "ablation",
        ),
        ArmSpec(
            "ours_tpe", "sampler tpe", lambda b, s, e: Ours(b, s, _ours(sampler="tpe")), "ablation"
        ),
        ArmSpec(
            "ours_random",
            "sampler random",
            lambda b, s, e: Ours(b, s, _ours(sampler="random")),
            "ablation",
        ),
        ArmSpec(
            "ours_moasha",
            "strategy moasha",
            lambda b, s, e: Ours(b, s, _ours(strategy="moasha")),
            "ablation",
        ),
        ArmSpec(
            "ours_full",
            "strategy full",
            lambda b, s, e: Ours(b, s, _ours(strategy="full")),
            "ablation",
        ),
        ArmSpec(
            "ours_lifts_half",
            "lifts take half of the epochs",
            lambda b, s, e: Ours(b, s, strategy=Contextual(explore_share=1 / 2)),
            "ablation",
        ),
        ArmSpec(
            "ours_lifts_most",
            "lifts take five sixths of the epochs",
            lambda b, s, e: Ours(b, s, strategy=Contextual(explore_share=1 / 6)),
            "ablation",
        ),
    )
}
RIVALS = tuple(name for name, spec in ARMS.items() if spec.role == "rival")
ABLATIONS = tuple(name for name, spec in ARMS.items() if spec.role == "ablation")
