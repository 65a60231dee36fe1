"""What a trial's weights are worth: its mask or architecture trained from scratch beside it.

References
----------
Z. Liu, M. Sun, T. Zhou, G. Huang, T. Darrell, "Rethinking the Value of Network Pruning",
ICLR 2019, arXiv 1810.05270 (Scratch-E: equal epochs; Scratch-B: equal multiply-adds).
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from autoprune.core.config import LRConfig, RecipeConfig, TaskConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import TaskInfo
from autoprune.experiments.answers import compare, dense_accuracy, ends, found_all
from autoprune.experiments.base import Costs, Results, Wanted
from autoprune.methods.base import complete, dense_reference
from autoprune.methods.reach import kind_of
from autoprune.methods.scratch_of import control_of
from autoprune.trial.plan import check_fit, make_plan

SPENT = "log/train_macs"
ARMS = ("retrained", "scratch_e", "scratch_b")
LABELS = {
    "retrained": "the trial itself",
    "scratch_e": "from scratch, equal epochs (E)",
    "scratch_b": "from scratch, equal MACs (B)",
}


@dataclass(frozen=True)
class ScratchOptions:
    """Which trial is asked about.

    Parameters
    ----------
    trial : TrialConfig
        The trial, completed.
    epochs : int
        Its retraining epochs.
    top_epochs : int
        The top rung of its study.
    seeds : tuple of int
        Replicates, at least one; those of the trial's confirmation cost nothing for it again.
    cap : float
        Scratch-B trains at most so many times as long as Scratch-E, >= 1; infinite for no cap.
    study : str
        Whose trial it is.
    """

    trial: TrialConfig
    epochs: int
    top_epochs: int
    seeds: tuple[int, ...]
    cap: float = 4.0
    study: str = ""

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("--seeds", "must be at least 1", 0)
        if not self.cap >= 1.0:
            raise ConfigError("--cap", "must be at least 1", self.cap)


@dataclass
class ScratchDesign:
    """The question (implements `experiments.base.Design`)."""

    options: ScratchOptions
    kind: str = field(default="scratch", init=False)
    measure: tuple[str, ...] = field(default=(), init=False)
    goes_on: bool = field(default=False, init=False)
    _info: TaskInfo | None = field(default=None, init=False)
    _jobs: dict[tuple[str, int], list[Wanted]] = field(default_factory=dict, init=False)

    @property
    def task(self) -> TaskConfig:
        """The task."""
        return self.options.trial.task

    @property
    def top_epochs(self) -> int:
        """The top rung of the trial's study, so that its stages are found again."""
        return self.options.top_epochs

    def identity(self) -> dict[str, Any]:
        """Return everything that decides the jobs."""
        options = self.options
        return {
            "study": options.study,
            "trial": options.trial.trial_id,
            "epochs": options.epochs,
            "top_epochs": options.top_epochs,
            "seeds": list(options.seeds),
            "cap": options.cap if math.isfinite(options.cap) else None,
        }

    def begin(self, info: TaskInfo) -> None:
        """Refuse a trial that cannot be planned, or whose architecture is no mask."""
        self._info = info
        for one in (self._retrained()[0], self._scratch("scratch_e", 1)[0]):
            job = one.job(0)
            check_fit(job.config, info)
            make_plan(job, self.top_epochs, pretrained=info.pretrained)

    # The jobs -----------------------------------------------------------------------------------

    def wanted(self, results: Results, costs: Costs) -> Sequence[Wanted]:
        """Return the trial on all seeds, then E, and B once its MACs are known."""
        wanted = [*self._dense(), *self._retrained()]
        wanted += self._scratch("scratch_e", self._equal_epochs(costs))
        epochs = self._equal_macs(results, costs)
        if epochs is not None:
            wanted += self._scratch("scratch_b", min(epochs, self._most(costs)))
        return list({one.key: one for one in wanted}.values())

    def _dense(self) -> list[Wanted]:
        return self._on_seeds(
            "dense", self.top_epochs, lambda: dense_reference(self.options.trial, "scratch")
        )

    def _retrained(self) -> list[Wanted]:
        return self._on_seeds("retrained", self.options.epochs, lambda: self.options.trial)

    def _scratch(self, name: str, epochs: int) -> list[Wanted]:
        return self._on_seeds(name, epochs, self._control)

    def _control(self) -> TrialConfig:
        """Return the control: the dense run's recipe and schedule, as the paper trains it."""
        options, train = self.options, self.options.trial.train
        recipe = RecipeConfig(label_smoothing=train.label_smoothing)
        control = control_of(
            options.trial,
            options.epochs,
            options.top_epochs,
            lr=LRConfig(name=train.schedule, params={"peak": train.lr}),
            recipe=recipe,
        )
        return complete(control, f"--trial {options.trial.trial_id}")

    def _on_seeds(self, tag: str, epochs: int, make: Any) -> list[Wanted]:
        key = (tag, epochs)
        if key not in self._jobs:
            config = make()
            self._jobs[key] = [
                Wanted(config, epochs, seed, test=True, tag=tag) for seed in self.options.seeds
            ]
        return self._jobs[key]

    def _equal_epochs(self, costs: Costs) -> int:
        """Return the epochs that the trial costs in all, its dense run included.

        Given weights have no run: the dense run's epochs stand for it.
        """
        total = sum(costs(self._retrained()[0]).values())
        if self._known.pretrained:
            total += self.options.trial.train.epochs
        return max(1, round(total))

    def _most(self, costs: Costs) -> int:
        """Return the epochs that the cap allows."""
        most = self._equal_epochs(costs) * self.options.cap
        return math.floor(most + 1e-9) if math.isfinite(most) else sys.maxsize

    def _equal_macs(self, results: Results, costs: Costs) -> int | None:
        """Return the epochs from scratch that cost as many multiply-adds as the trial did.

        Both are counted as they were trained, each layer's by its density; None while the trial
        or Scratch-E is missing. What given weights cost is not known: the dense run's epochs
        stand for it.
        """
        epochs = self._equal_epochs(costs)
        whole = found_all(self._retrained(), results)
        longer = found_all(self._scratch("scratch_e", epochs), results)
        if not whole or not longer:
            return None
        spent = fmean(result.metrics[SPENT] for result in whole)
        each = (fmean(result.metrics[SPENT] for result in longer) - spent) / epochs
        if self._known.pretrained:
            info = self._known
            spent += 3.0 * self.options.trial.train.epochs * info.num_train * info.macs
        return max(epochs, math.floor(spent / each + 1e-9)) if each > 0 else epochs

    @property
    def _known(self) -> TaskInfo:
        assert self._info is not None, "begin() comes first"
        return self._info

    # The answer ---------------------------------------------------------------------------------

    def summary(self, results: Results, costs: Costs) -> dict[str, Any]:
        """Return what is known."""
        options, trial = self.options, self.options.trial
        retrained = found_all(self._retrained(), results)
        epochs, equal = self._equal_epochs(costs), self._equal_macs(results, costs)
        capped = equal is not None and equal > self._most(costs)
        jobs = {"retrained": self._retrained(), "scratch_e": self._scratch("scratch_e", epochs)}
        if equal is not None:
            jobs["scratch_b"] = self._scratch("scratch_b", min(equal, self._most(costs)))
        arms = [self._arm(name, jobs[name], results, costs) for name in ARMS if name in jobs]
        arms = [arm for arm in arms if arm["test_accuracies"]]
        if capped:
            for arm in arms:
                if arm["name"] == "scratch_b":
                    arm["label"] = f"from scratch, {options.cap:g} times E (B, capped)"
        comparisons = self._comparisons(arms)
        return {
            "of_study": options.study,
            "trial": trial.trial_id,
            "data": trial.task.data,
            "model": trial.task.model,
            "method": trial.method,
            "unit_kind": kind_of(trial),
            "sparsity": fmean(r.metrics["sparsity"] for r in retrained) if retrained else None,
            "seeds": list(options.seeds),
            "dense": dense_accuracy(self._dense(), results),
            "epochs_ratio": None if equal is None else equal / epochs,
            "cap": options.cap if math.isfinite(options.cap) else None,
            "capped": capped,
            "arms": arms,
            "comparisons": comparisons,
            "verdict": verdict(comparisons, {arm["name"]: arm["label"] for arm in arms}),
        }

    def _arm(
        self, name: str, jobs: Sequence[Wanted], results: Results, costs: Costs
    ) -> dict[str, Any]:
        found = found_all(jobs, results)
        tests = [result.metrics["test_accuracy"] for result in found]
        vals = [result.metrics["val_accuracy"] for result in found]
        epochs = self._equal_epochs(costs) if name == "retrained" else jobs[0].epochs
        return {
            "name": name,
            "label": LABELS[name],
            "epochs": epochs,
            "test_accuracy": fmean(tests) if tests else None,
            "test_ci95": ends(tests, self._known.num_test) if tests else None,
            "test_accuracies": tests,
            "val_accuracy": fmean(vals) if vals else None,
            "sparsity": fmean(r.metrics["sparsity"] for r in found) if found else None,
            "mask_sha256": [result.mask_sha256 for result in found],
            "status_counts": dict(Counter(result.status for result in found)),
        }

    def _comparisons(self, arms: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        known = {arm["name"]: arm["test_accuracies"] for arm in arms}
        rows = []
        for against in ("scratch_e", "scratch_b"):
            if against in known and "retrained" in known:
                content = compare(known["retrained"], known[against], self._known.num_test)
                rows.append({"name": "retrained", "against": against, **content})
        return rows


def verdict(comparisons: Sequence[dict[str, Any]], labels: Mapping[str, str] = LABELS) -> str:
    """Say in a sentence what the comparisons mean for whoever ships the trial."""
    if not comparisons:
        return "Nothing can be said yet."
    outcomes = {row["against"]: row["outcome"] for row in comparisons}
    if "no interval" in outcomes.values():
        return "One seed gives no interval, so there is no verdict: use more seeds."
    worse = [labels[name] for name, outcome in outcomes.items() if outcome == "worse"]
    better = [name for name, outcome in outcomes.items() if outcome == "better"]
    if worse:
        return (
            "What pruning found here is the architecture: training it "
            f"{' and '.join(worse)} beats the pruned and retrained weights."
        )
    if len(better) == len(outcomes):
        return "The retrained weights are worth keeping: from scratch the same mask does worse."
    if better:
        return (
            "The retrained weights beat training from scratch at equal epochs, but not clearly at "
            "equal multiply-adds."
            if better == ["scratch_e"]
            else "The retrained weights beat training from scratch at equal multiply-adds, but not "
            "clearly at equal epochs."
        )
    return (
        "Within the noise: with these seeds, training the same mask from scratch cannot be told "
        "from keeping the retrained weights."
    )
