"""What is trained: two nets at two shares of their multiply-adds, DropNet's controls, a wide net.

Targets are shares of the dense multiply-adds that go: 0.5 is 2x, 0.75 is 4x.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

from autoprune.core.config import LRConfig, TaskConfig, TrialConfig
from autoprune.core.errors import BadInput
from autoprune.core.records import Job, TaskInfo
from autoprune.methods.base import METHODS, complete
from autoprune.trial.plan import check_fit, check_steps
from benchmarks.methods.catalogue import Entry, Setting, dense_job, train_config

TARGETS = (0.5, 0.75)
CHOOSER = ("filter_l1", 0.75)
"""Whose validation accuracy with the first seed chooses a setting's one peak, and where."""

SCRATCH = ("scratch_e", "scratch_b")
LATE = ("scratch_b", 0.75)
"""The most expensive line, which runs when all else is done."""

MEASURE = ("before", "size_bytes")
"""What is measured of part A; without the first where nothing was trained before."""

CIFAR = Setting(
    "resnet20",
    TaskConfig(data="cifar10", model="resnet20", width=0.5, train_size=10_000),
    dense=8,
    top=3,
    sparsities=TARGETS,
    peaks=(0.03, 0.1, 0.3),
)
FASHION = Setting(
    "conv4",
    TaskConfig(data="fashion_mnist", model="conv4", width=0.25, train_size=10_000),
    dense=8,
    top=3,
    sparsities=TARGETS,
    peaks=(0.01, 0.03, 0.1),
    lr=0.03,
)
WIDE = Setting(
    "resnet20 wide",
    TaskConfig(data="cifar10", model="resnet20", train_size=1000),
    dense=2,
    top=2,
    sparsities=(0.75,),
    peaks=(0.1,),
    batch_size=32,
    note="Trained for moments: a latency depends on widths, which weights do not change, or, for "
    "what ranks all layers together, hardly.",
)
DROPS = Setting(
    "dropnet",
    TaskConfig(data="fashion_mnist", model="conv4", width=0.25, train_size=10_000),
    dense=3,
    top=27,
    sparsities=(0.98,),
    peaks=(0.03,),
    lr=0.03,
    batch_size=64,
)
ROUNDS = 9


@dataclass(frozen=True)
class Scale:
    """How much is done.

    Parameters
    ----------
    tables, wide, drops : Setting
        Of parts A (several), D and B.
    seeds : tuple of int
        Of part A, and the first ones of B.
    more_seeds : tuple of int
        What B adds when all else is done.
    rounds, draws, calls, repeats : int
        Rounds of B; draws of the two-layer test; calls and repetitions of a latency.
    epoch_s : dict
        Seconds of one epoch on one core, by a setting's name, until a run knows better.
    measured : dict
        Epochs that measuring a job takes as long as: validation and test images pass the net
        forward, twice more before its last training, or after every round.
    deep : str
        Whose multiply-adds are counted in C.
    only, wide_only : tuple of str
        Lines of A, and of D; all by default.
    inline : bool
        Run in one process, and time part A's nets as they are, not exported.
    """

    tables: tuple[Setting, ...] = (FASHION, CIFAR)
    wide: Setting = WIDE
    drops: Setting = DROPS
    seeds: tuple[int, ...] = (0, 1, 2)
    more_seeds: tuple[int, ...] = (3, 4)
    rounds: int = ROUNDS
    draws: int = 20
    calls: int = 50
    repeats: int = 3
    epoch_s: dict[str, float] = field(
        default_factory=lambda: {
            "resnet20": 8.0,
            "conv4": 3.0,
            "resnet20 wide": 3.2,
            "dropnet": 4.0,
        }
    )
    measured: dict[str, float] = field(
        default_factory=lambda: {
            "resnet20": 1.5,
            "conv4": 1.5,
            "resnet20 wide": 1.7,
            "dropnet": 4.5,
        }
    )
    deep: str = "resnet56"
    only: tuple[str, ...] = ()
    wide_only: tuple[str, ...] = ()
    inline: bool = False


def quick() -> Scale:
    """Return what shows in seconds that all of it runs; it says nothing about methods."""
    task = TaskConfig(data="digits", model="conv2", width=0.25, train_size=80)
    tiny = replace(FASHION, task=task, dense=2, top=2, sparsities=(0.5,), batch_size=4)
    return Scale(
        tables=(tiny,),
        wide=replace(tiny, name=WIDE.name, note=WIDE.note, peaks=WIDE.peaks),
        drops=replace(DROPS, task=task, dense=1, top=2, batch_size=4),
        seeds=(0, 1),
        more_seeds=(),
        rounds=2,
        draws=2,
        calls=2,
        repeats=2,
        deep="resnet20",
        only=("filter_l1", "slimming", "random units", "lrpet", *SCRATCH),
        wide_only=("filter_l1",),
        inline=True,
    )


def entries() -> tuple[Entry, ...]:
    """Return all methods of units and of rank, the control, and DropNet's score by itself."""
    found = [METHODS.get(name) for name in METHODS]
    kinds = [m.name for m in found if m.listed and m.kind in ("units", "low_rank")]
    names = [name for name in kinds if name not in SCRATCH]
    one_shot = {"rounds": 1, "rewind": "none"}
    return (
        *(Entry(name, name) for name in names),
        Entry("dropnet one shot", "dropnet", one_shot),
        Entry("random units", "dropnet", {**one_shot, "metric": "random"}),
        *(Entry(name, name, _of_units(name)) for name in SCRATCH),
    )


def _of_units(name: str) -> dict[str, Any]:
    """Return what makes a from-scratch control one of units, where its defaults do not."""
    if name not in METHODS or METHODS.get(name).kind == "units":
        return {}
    return {"base": CHOOSER[0], "allocation": "uniform"}


def usable(
    setting: Setting, found: tuple[Entry, ...], info: TaskInfo
) -> tuple[tuple[Entry, ...], dict[str, str]]:
    """Divide entries into those that can be trained here, and the others with the reason.

    A method that is not registered, does not remove units, does not fit the model or does not
    reach a target is refused in the package's own words.
    """
    fit, refused = [], {}
    for entry in found:
        try:
            for target in setting.sparsities:
                _check(job(setting, entry, target, setting.lr, 0, test=False), info)
        except BadInput as error:
            refused[entry.label] = str(error)
        else:
            fit.append(entry)
    return tuple(fit), refused


def _check(found: Job, info: TaskInfo) -> None:
    check_fit(found.config, info)
    check_steps(found, info)


def job(
    setting: Setting,
    entry: Entry,
    target: float,
    peak: float,
    seed: int,
    *,
    test: bool,
) -> Job:
    """Return one trial; what trains from scratch has the dense run's peak."""
    method = METHODS.get(entry.method)
    config = TrialConfig(
        task=setting.task,
        train=train_config(setting),
        method=entry.method,
        params=entry.params,
        sparsity=target,
        of="macs",
        lr=LRConfig(
            name="linear", params={"peak": setting.lr if method.start == "scratch" else peak}
        ),
    )
    return Job(0, complete(config), setting.top, seed, "run", test=test)


@dataclass(frozen=True)
class Planned:
    """One job that is reported, or chooses the peak."""

    label: str
    target: float
    job: Job


def dense_runs(setting: Setting, seeds: tuple[int, ...], *, test: bool) -> list[Planned]:
    """Return the dense runs, which all others share."""
    jobs = (replace(dense_job(setting, seed), test=test) for seed in seeds)
    return [Planned("dense", 0.0, one) for one in jobs]


def looks(setting: Setting) -> list[Planned]:
    """Return what chooses the peak of all that retrains."""
    name, target = CHOOSER
    entry, target = Entry(name, name), target if target in setting.sparsities else TARGETS[0]
    return [
        Planned("choose", target, job(setting, entry, target, peak, 0, test=False))
        for peak in setting.peaks
    ]


def finals(
    setting: Setting,
    found: tuple[Entry, ...],
    peak: float,
    seeds: tuple[int, ...],
    *,
    test: bool,
) -> Iterator[Planned]:
    """Return what is reported; seeds innermost, so that no two workers train one snapshot."""
    for target in setting.sparsities:
        for entry in found:
            for seed in seeds:
                yield Planned(
                    entry.label,
                    target,
                    job(setting, entry, target, peak, seed, test=test),
                )


RULES: dict[str, dict[str, Any]] = {
    "minimum_layer": {"metric": "minimum", "allocation": "uniform"},
    "random_layer": {"metric": "random", "allocation": "uniform"},
    "maximum": {"metric": "maximum", "allocation": "global"},
}
"""DropNet's rule and two controls, as the paper calls them."""


def drops(scale: Scale, seeds: tuple[int, ...]) -> list[Planned]:
    """Return DropNet's rounds under each rule: rewound, to 2 % of the weights."""
    setting, found = scale.drops, []
    known = {f.name for f in fields(METHODS.get("dropnet").params)}
    exact = {"round_to": 1} if "round_to" in known else {}
    for label, params in RULES.items():
        entry = Entry(label, "dropnet", {"rounds": scale.rounds, **params, **exact})
        config = TrialConfig(
            task=setting.task,
            train=train_config(setting),
            method=entry.method,
            params=entry.params,
            sparsity=setting.sparsities[0],
            lr=LRConfig(name="linear", params={"peak": setting.peaks[0]}),
        )
        for seed in seeds:
            made = Job(0, complete(config), setting.top, seed, "run", test=True)
            found.append(Planned(label, setting.sparsities[0], made))
    return found
