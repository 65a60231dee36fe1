"""What the cards expect, and whether it was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.methods.table import Gap, Table

ALL = (0.9, 0.95, 0.98)
HIGH = (0.95, 0.98)


@dataclass(frozen=True)
class Finding:
    """What was found of one expectation."""

    seen: bool
    text: str

    @property
    def verdict(self) -> str:
        """Word it."""
        return "seen" if self.seen else "not seen"


@dataclass(frozen=True)
class Effect:
    """One expectation of a card."""

    card: str
    expectation: str
    measure: Callable[[Table], Finding]


def _gaps(table: Table, one: str, other: str, targets: Sequence[float]) -> dict[float, Gap]:
    """Return the differences where both were measured; controls are not, everywhere."""
    both = [t for t in targets if table.has(one, t) and table.has(other, t)]
    if not both:
        raise KeyError(one, other)
    return {target: table.gap(one, other, target) for target in both}


def above(one: str, other: str, targets: Sequence[float] = ALL) -> Callable[[Table], Finding]:
    """Expect `one` above `other`, or at least level with it, on average over the targets."""

    def measure(table: Table) -> Finding:
        gaps = _gaps(table, one, other, targets)
        mean = sum(gap.mean for gap in gaps.values()) / len(gaps)
        noise = all(gap.noise for gap in gaps.values())
        told = "; ".join(f"{gap} at {target:.0%}" for target, gap in gaps.items())
        return Finding(mean >= 0, f"{told}{' (all within noise)' if noise else ''}")

    return measure


def grows(one: str, other: str, low: float, high: float) -> Callable[[Table], Finding]:
    """Expect the lead of `one` over `other` to be larger at the higher sparsity."""

    def measure(table: Table) -> Finding:
        at_low, at_high = table.gap(one, other, low), table.gap(one, other, high)
        told = f"{at_low} at {low:.0%}, {at_high} at {high:.0%}"
        return Finding(at_high.mean > at_low.mean, told)

    return measure


def random_is_worst(table: Table) -> Finding:
    """Expect random pruning of the dense net to end last of what prunes it once and retrains."""
    others = ("magnitude", "imp", "nnrelief", "lq_adaptive", "platon", "movement", "ap")
    told, seen = [], True
    for target in ALL:
        least = min((o for o in others), key=lambda o: table.mean(o, target))
        gap = table.gap("random", least, target)
        seen = seen and gap.mean < 0
        told.append(f"{gap} against {least} at {target:.0%}")
    return Finding(seen, "; ".join(told))


def no_layer_empties(table: Table) -> Finding:
    """Expect SynFlow to keep something in every layer."""
    least = min(
        density
        for t in ALL
        for row in table.rows("synflow", t)
        for density in row["layers"].values()
    )
    return Finding(least > 0, f"least kept share of a layer {least:.4f}")


def after_beats_before(table: Table) -> Finding:
    """Expect pruning after training to beat every score at initialisation."""
    told, seen = [], True
    for target in ALL:
        best = max(("snip", "grasp", "synflow"), key=lambda n: table.mean(n, target))
        gap = table.gap("magnitude", best, target)
        seen = seen and gap.mean > 0
        told.append(f"{gap} against {best} at {target:.0%}")
    return Finding(seen, "; ".join(told))


def scores_beat_densities(table: Table) -> Finding:
    """Expect the best score at initialisation above a random mask with ERK's densities."""
    told, means = [], []
    for target in ALL:
        best = max(("snip", "grasp", "synflow"), key=lambda n: table.mean(n, target))
        gap = table.gap(best, "static", target)
        means.append(gap.mean)
        told.append(f"{gap} for {best} at {target:.0%}")
    return Finding(sum(means) >= 0, "; ".join(told))


def union_is_denser(table: Table) -> Finding:
    """Expect superposed tickets to hold more connections than one of them."""
    told, seen = [], True
    for target in ALL:
        union = table.metric("sup_tickets", target, "log/union_density")
        seen = seen and union > 1 - target
        told.append(f"{union:.4f} against {1 - target:.2f}")
    return Finding(seen, "; ".join(told))


def first_layer_denser(table: Table) -> Finding:
    """Expect NNrelief to keep more of the first layer than of the next."""
    told, seen = [], True
    for target in ALL:
        first, second = (table.density("nnrelief", target, f"fc{n}.weight") for n in (1, 2))
        seen = seen and first > second
        told.append(f"fc1 {first:.3f}, fc2 {second:.3f} at {target:.0%}")
    return Finding(seen, "; ".join(told))


def near_uniform(table: Table) -> Finding:
    """Expect the neuron scope to prune the two large layers about alike, less so the global one."""

    def ratio(label: str) -> float:
        first, second = (table.density(label, 0.98, f"fc{n}.weight") for n in (1, 2))
        return max(first, second) / max(min(first, second), 1e-9)

    own, other = ratio("pqi"), ratio("pqi global")
    return Finding(
        own < other, f"densest / sparsest of fc1, fc2 at 98%: {own:.2f} against {other:.2f}"
    )


def cheaper_than_dense(table: Table) -> Finding:
    """Expect GaP's training to cost between RigL's and a dense run's multiply-adds."""
    gap, rigl, dense = (
        table.metric(label, target, "log/train_macs")
        for label, target in (("gap_cyclic", 0.95), ("rigl", 0.95), ("scl", 0.95))
    )
    return Finding(rigl < gap < dense, f"{gap:.2e} against {rigl:.2e} (rigl) and {dense:.2e} (scl)")


EFFECTS = (
    Effect("sparsity_schedules", "random scores end last", random_is_worst),
    Effect(
        "sparsity_schedules", "global above uniform", above("magnitude", "magnitude uniform", HIGH)
    ),
    Effect(
        "sparsity_schedules",
        "LAMP above uniform",
        above("magnitude lamp", "magnitude uniform", HIGH),
    ),
    Effect(
        "sparsity_schedules", "ERK above uniform", above("magnitude erk", "magnitude uniform", HIGH)
    ),
    Effect(
        "sparsity_schedules", "soft movement above hard", above("movement soft", "movement", HIGH)
    ),
    Effect("imp", "iterative above one-shot", above("imp", "magnitude")),
    Effect("imp", "its lead grows with sparsity", grows("imp", "magnitude", 0.9, 0.98)),
    Effect(
        "lottery_ticket",
        "ticket above re-initialisation",
        above("lottery_ticket", "lottery_ticket reinit", HIGH),
    ),
    Effect(
        "lottery_ticket",
        "that lead grows with sparsity",
        grows("lottery_ticket", "lottery_ticket reinit", 0.95, 0.98),
    ),
    Effect(
        "lottery_ticket",
        "ticket above its mask shuffled within layers",
        above("lottery_ticket", "lottery_ticket shuffle", HIGH),
    ),
    Effect("ap", "Lite above its control (share 0)", above("ap", "ap lite, share 0", HIGH)),
    Effect(
        "ap",
        "Pro above its control (share 0, trained twice)",
        above("ap pro", "ap pro, share 0", HIGH),
    ),
    Effect("rigl", "RigL above static", above("rigl", "static")),
    Effect("rigl", "that lead grows with sparsity", grows("rigl", "static", 0.9, 0.98)),
    Effect("rigl", "SET above static", above("set", "static")),
    Effect("rigl", "RigL not below SET", above("rigl", "set")),
    Effect("rigl", "RigL: ERK above uniform", above("rigl", "rigl uniform", HIGH)),
    Effect("rigl", "static: ERK above uniform", above("static", "static uniform", HIGH)),
    Effect("gap", "cyclic GaP not below RigL at equal epochs", above("gap_cyclic", "rigl")),
    Effect("gap", "cyclic above parallel", above("gap_cyclic", "gap_parallel")),
    Effect("gap", "training MACs between RigL's and dense ones", cheaper_than_dense),
    Effect("sup_tickets", "above plain RigL", above("sup_tickets", "rigl")),
    Effect("sup_tickets", "that lead grows with sparsity", grows("sup_tickets", "rigl", 0.9, 0.98)),
    Effect("sup_tickets", "the union of tickets is denser than one", union_is_denser),
    Effect("scl", "identity above clipped straight-through", above("scl", "scl clip", HIGH)),
    Effect("scl", "normalised above plain mask gradients", above("scl", "scl norm none", HIGH)),
    Effect("scl", "not below magnitude", above("scl", "magnitude")),
    Effect(
        "platon", "uncertainty helps (against beta2 = 1)", above("platon", "platon beta2 1", HIGH)
    ),
    Effect("platon", "not below magnitude", above("platon", "magnitude")),
    Effect("connection_importance", "the first layer stays denser", first_layer_denser),
    Effect("lq_compressibility", "neuron scope prunes layers more alike", near_uniform),
    Effect("lq_compressibility", "neuron scope above global", above("pqi", "pqi global", HIGH)),
    Effect(
        "pruning_at_init",
        "SNIP above a random mask (uniform)",
        above("snip", "static uniform", HIGH),
    ),
    Effect(
        "pruning_at_init",
        "GraSP above a random mask (uniform)",
        above("grasp", "static uniform", HIGH),
    ),
    Effect(
        "pruning_at_init",
        "SynFlow above a random mask (uniform)",
        above("synflow", "static uniform", HIGH),
    ),
    Effect("pruning_at_init", "the best of them above a random mask by ERK", scores_beat_densities),
    Effect("pruning_at_init", "SynFlow empties no layer", no_layer_empties),
    Effect("pruning_at_init", "pruning after training above all of them", after_beats_before),
    Effect(
        "rethinking", "retrained above scratch (single weights)", above("magnitude", "scratch_e")
    ),
    Effect("tost", "SNIP's mask: ToST above plain training", above("snip tost", "snip", HIGH)),
    Effect(
        "tost",
        "SNIP's mask: ToST above label smoothing alone",
        above("snip tost", "snip label smoothing", HIGH),
    ),
    Effect(
        "tost", "SNIP's mask: that lead grows with sparsity", grows("snip tost", "snip", 0.95, 0.98)
    ),
    Effect(
        "tost",
        "SNIP's mask: ToST without rescaling above plain training",
        above("snip tost without rescaling", "snip", HIGH),
    ),
    Effect("tost", "random mask: ToST above plain training", above("static tost", "static", HIGH)),
)
"""In the order of the cards; each reads the LeNet-300-100 table."""
