"""What runs after the search: finalists on fresh seeds, and the baselines they must beat."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autoprune.core.canonical import plain
from autoprune.core.config import LRConfig, Scalar, TrialConfig, parse
from autoprune.core.errors import BadInput
from autoprune.core.records import Job, Purpose
from autoprune.methods.base import complete
from autoprune.search.front import Point, fill, spread
from autoprune.search.journal import Event
from autoprune.search.profile import BANDS, TOLERANCE
from autoprune.space import Space

MAX_FINALISTS = 12
BASELINE_SPARSITIES = (0.8, 0.9, 0.95, 0.98)
BASELINES: tuple[tuple[str, float, dict[str, Scalar]], ...] = (
    ("magnitude", 1.0, {}),
    ("magnitude", 3.0, {}),
    ("random", 1.0, {}),
    ("scratch_e", 1.0, {"base": "magnitude", "allocation": "global"}),
)
"""Methods, their peak over the dense run's, and their parameters."""

_LOG = logging.getLogger(__name__)

Cost = Callable[["Planned"], float]


@dataclass(frozen=True)
class Planned:
    """A job to issue after the search, not numbered yet.

    Parameters
    ----------
    config : TrialConfig
        The trial, always at the top rung.
    seed : int
        A confirmation seed.
    purpose : str
        ``confirm`` or ``baseline``.
    tag : str
        The baseline's name.
    """

    config: TrialConfig
    seed: int
    purpose: Purpose
    tag: str = ""

    def job(self, number: int, epochs: int) -> Job:
        """Return it as a job, which reads the test split once."""
        return Job(number, self.config, epochs, self.seed, self.purpose, True, self.tag)


def confirm_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Return the seeds of the confirmation, none of which the search used.

    Examples
    --------
    >>> confirm_seeds(0, 3)
    (1, 2, 3)
    """
    return tuple(seed + 1 + i for i in range(count))


def finalists(front: Sequence[Point]) -> list[TrialConfig]:
    """Return at most 12 trials of the front, so ordered that any beginning is spread over it.

    The first point at or above each sparsity band is among them, the rest fills the gaps.
    """
    once = list({p.config.trial_id: p for p in reversed(front)}.values())[::-1]
    reductions = [1.0 - 10.0 ** (3.0 * p.values[1]) for p in once]
    bands = [
        min(above, key=reductions.__getitem__)
        for band in BANDS
        if (above := [i for i, r in enumerate(reductions) if r >= band - TOLERANCE])
    ]
    rows = [p.values for p in once]
    chosen = fill(rows, list(dict.fromkeys(bands)), MAX_FINALISTS)
    return [once[chosen[i]].config for i in spread([rows[c] for c in chosen], len(chosen))]


def baselines(space: Space) -> list[tuple[str, TrialConfig]]:
    """Return the baselines of a study, the dense model first.

    One-shot magnitude and random pruning retrain with a linear schedule whose peak is the dense
    run's (magnitude also at three times it: whichever validates better is the baseline);
    ``scratch_e`` trains the magnitude mask from a fresh initialisation, as long as dense and
    retrained together.
    """
    train = space.base_train()
    found = [("dense", TrialConfig(task=space.task, train=train, method="dense", sparsity=0.0))]
    for method, factor, params in BASELINES:
        lr = LRConfig(name="linear", params={"peak": train.lr * factor})
        for sparsity in BASELINE_SPARSITIES:
            if space.targets.low <= sparsity <= space.targets.high:
                config = TrialConfig(
                    task=space.task,
                    train=train,
                    method=method,
                    params=params,
                    sparsity=sparsity,
                    of=space.targets.of,
                    lr=lr,
                )
                found.append((method, config))
    return [(name, done) for name, config in found if (done := _completed(name, config))]


def _completed(name: str, config: TrialConfig) -> TrialConfig | None:
    """Complete a baseline, or leave it out where the task does not allow it."""
    try:
        return complete(config, f"baseline {name}")
    except BadInput as error:
        _LOG.warning("no baseline %s at sparsity %g: %s", name, config.sparsity, error)
        return None


def groups(
    chosen: Sequence[TrialConfig],
    references: Sequence[tuple[str, TrialConfig]],
    seeds: Sequence[int],
) -> list[list[Planned]]:
    """Return what is to run, most wanted first; a group is one trial on all seeds."""
    dense, *rest = [
        [Planned(config, seed, "baseline", name) for seed in seeds] for name, config in references
    ]
    return [dense, *([Planned(c, seed, "confirm") for seed in seeds] for c in chosen), *rest]


def affordable(wanted: Sequence[list[Planned]], cost: Cost, epochs: float) -> list[list[Planned]]:
    """Return the first groups that fit into so many epochs, the first two in any case."""
    kept, spent = [], 0.0
    for index, group in enumerate(wanted):
        spent += sum(cost(planned) for planned in group)
        if index >= 2 and spent > epochs:
            break
        kept.append(group)
    return kept


def event(kept: Sequence[list[Planned]], epochs: int) -> Event:
    """Return the journal's event: finalists and baselines, with everything a replay needs."""
    rows = [
        {
            "trial": group[0].config.trial_id,
            "config": plain(group[0].config),
            "purpose": group[0].purpose,
            "tag": group[0].tag,
        }
        for group in kept
    ]
    return {
        "event": "confirm",
        "finalists": [row for row in rows if row["purpose"] == "confirm"],
        "baselines": [row for row in rows if row["purpose"] == "baseline"],
        "seeds": [planned.seed for planned in kept[0]],
        "epochs": epochs,
    }


def queue(chosen: Event) -> list[Planned]:
    """Return the jobs that a ``confirm`` event calls for, in order of issue."""
    rows = [*chosen["baselines"][:1], *chosen["finalists"], *chosen["baselines"][1:]]
    return [
        Planned(parse(TrialConfig, row["config"], "config"), seed, row["purpose"], row["tag"])
        for row in rows
        for seed in chosen["seeds"]
    ]
