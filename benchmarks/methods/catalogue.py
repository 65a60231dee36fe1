"""What is trained: tasks, methods, variants that a card expects an effect of, and peaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig, TrainConfig, TrialConfig
from autoprune.core.records import Job
from autoprune.methods.base import METHODS, complete

SEEDS = (0, 1, 2)
CHOICE = 0.95
"""The sparsity at which a peak is chosen on validation, with the first seed."""


@dataclass(frozen=True)
class Setting:
    """A task with its epochs.

    Parameters
    ----------
    name : str
        What tables call it.
    dense, top : int
        Epochs of the dense run, and of retraining; a from-scratch trial trains for their sum.
    lr : float
        The dense run's peak.
    note : str
        What a reader of its table has to know.
    sparsities, peaks : tuple of float
        What is measured, and among which peaks a method's is chosen.
    batch_size : int
        Images in a step.
    """

    name: str
    task: TaskConfig
    dense: int
    top: int
    sparsities: tuple[float, ...]
    peaks: tuple[float, ...]
    lr: float = 0.1
    note: str = ""
    batch_size: int = 128


LENET = Setting(
    "lenet300",
    TaskConfig(data="fashion_mnist", model="lenet300"),
    dense=8,
    top=6,
    sparsities=(0.9, 0.95, 0.98),
    peaks=(0.03, 0.1, 0.3),
)
CONV = Setting(
    "conv4",
    TaskConfig(data="fashion_mnist", model="conv4", width=0.25, train_size=10_000),
    dense=4,
    top=3,
    sparsities=(0.95,),
    peaks=(0.03,),
    lr=0.03,
    note="This net has no norms and these trials train for 7 epochs of 79 steps. A line at 10.00 "
    "is chance: nets under a random mask of this density do not begin to learn in that time, so "
    "the table does not compare the methods that start from one (static, set, snfs, rigl, "
    "sup_tickets, random), and what rewinds to early weights has an epoch a round.",
)
SETTINGS = {setting.name: setting for setting in (LENET, CONV)}


@dataclass(frozen=True)
class Entry:
    """One line of the comparison.

    Parameters
    ----------
    label : str
        Unique name.
    like : str
        Label whose chosen peak it takes, so that a variant and what it is a variant of differ in
        one thing; by default its own is chosen.
    sparsities : tuple of float
        Where it is measured; everywhere by default.
    """

    label: str
    method: str
    params: dict[str, Any] = field(default_factory=dict)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    like: str = ""
    sparsities: tuple[float, ...] = ()


MASKS: dict[str, dict[str, Any]] = {"scratch_e": {"base": "magnitude", "allocation": "global"}}
"""Methods that remove single weights with these parameters."""


def methods() -> tuple[Entry, ...]:
    """Return every listed method that removes single weights, with its defaults."""
    found = ((name, METHODS.get(name)) for name in METHODS)
    return tuple(
        Entry(n, n, MASKS.get(n, {}))
        for n, m in found
        if m.listed and (m.kind == "weights" or n in MASKS)
    )


TOST = RecipeConfig(tost_soft=0.5, tost_skip=0.5, tost_rescale=60, label_smoothing=0.1)


def variants() -> tuple[Entry, ...]:
    """Return the controls and ablations that the cards expect an effect of."""

    def of(
        method: str,
        what: str,
        recipe: RecipeConfig | None = None,
        at: tuple[float, ...] = (0.98,),
        **params: Any,
    ) -> Entry:
        return Entry(f"{method} {what}", method, params, recipe or RecipeConfig(), method, at)

    def chosen(method: str, what: str, **params: Any) -> Entry:
        return Entry(f"{method} {what}", method, params, sparsities=(0.98,))

    return (
        of("magnitude", "uniform", allocation="uniform"),
        of("magnitude", "erk", allocation="erk"),
        of("magnitude", "lamp", allocation="lamp"),
        chosen("rigl", "uniform", allocation="uniform"),
        chosen("static", "uniform", allocation="uniform"),
        of("lottery_ticket", "reinit", at=(0.95, 0.98), control="reinit"),
        of("lottery_ticket", "shuffle", control="shuffle"),
        of("ap", "lite, share 0", share=0.0),
        of("ap", "pro", variant="pro"),
        of("ap", "pro, share 0", variant="pro", share=0.0),
        of("scl", "clip", ste="clip"),
        of("scl", "norm none", norm="none"),
        of("platon", "beta2 1", beta2=1.0),
        of("pqi", "global", scope="global"),
        of("movement", "soft", form="soft"),
        of("snip", "label smoothing", RecipeConfig(label_smoothing=0.1)),
        of("snip", "tost", TOST, at=(0.95, 0.98)),
        of("snip", "tost without rescaling", replace(TOST, tost_rescale=0)),
        of("static", "tost", TOST),
    )


def entries(setting: Setting) -> tuple[Entry, ...]:
    """Return all that is measured on a task: methods, and on the larger table variants, too."""
    return (*methods(), *(variants() if setting.name == "lenet300" else ()))


def dense_job(setting: Setting, seed: int) -> Job:
    """Return the dense run."""
    config = TrialConfig(
        task=setting.task, train=train_config(setting), method="dense", sparsity=0.0
    )
    return Job(0, complete(config), setting.top, seed, "run", test=True)


def job(
    setting: Setting, entry: Entry, sparsity: float, peak: float, seed: int, *, test: bool
) -> Job:
    """Return one trial; the test split is read by those that are reported."""
    config = TrialConfig(
        task=setting.task,
        train=train_config(setting),
        method=entry.method,
        params=entry.params,
        sparsity=sparsity,
        lr=LRConfig(name="linear", params={"peak": peak}),
        recipe=entry.recipe,
    )
    return Job(0, complete(config), setting.top, seed, "run", test=test)


def train_config(setting: Setting) -> TrainConfig:
    """Return the dense run."""
    return TrainConfig(
        epochs=setting.dense,
        lr=setting.lr,
        schedule="linear",
        weight_decay=5e-4,
        batch_size=setting.batch_size,
    )


def choices(setting: Setting, entries: tuple[Entry, ...]) -> Iterator[tuple[Entry, Job]]:
    """Return the jobs that choose each entry's peak, if it does not take another's."""
    for entry in (e for e in entries if not e.like):
        for peak in setting.peaks:
            yield entry, job(setting, entry, CHOICE, peak, SEEDS[0], test=False)


def finals(
    setting: Setting, entries: tuple[Entry, ...], peaks: dict[str, float]
) -> Iterator[tuple[Entry, Job]]:
    """Return the jobs that are reported."""
    for entry in entries:
        peak = peaks[entry.like or entry.label]
        for sparsity in entry.sparsities or setting.sparsities:
            for seed in SEEDS:
                yield entry, job(setting, entry, sparsity, peak, seed, test=True)


def quick(setting: Setting) -> Setting:
    """Return a setting that shows in seconds that all runs; it says nothing about methods."""
    return replace(
        setting,
        task=TaskConfig(data="digits", model="mlp" if setting is LENET else "conv2", width=0.25),
        dense=2,
        top=6,
        peaks=setting.peaks[:2],
    )
