"""Train one recorded point again from nothing, and say how far it is from what was recorded."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoprune.core.config import TrialConfig
from autoprune.core.errors import AutoPruneError, StudyError
from autoprune.core.records import Job, JobResult
from autoprune.core.registry import load_object
from autoprune.search.journal import Event
from autoprune.search.state import Record, State
from autoprune.search.study import list_names, read_events
from autoprune.search.summary import median_run
from autoprune.trial.settings import WorkerSettings, made_with

MIN_PREFIX = 4


@dataclass(frozen=True)
class Found:
    """A recorded point: a job, or one round of it (whose masks are not in the journal)."""

    study: str
    job: Job
    val_accuracy: float
    mask_sha256: str | None

    @property
    def standing(self) -> tuple[bool, int]:
        """How much a record says of its trial: confirmed first, then longest."""
        return self.job.purpose == "confirm", self.job.epochs


def replay_trial(
    home: Path, trial: str, study: str | None = None, data_dir: Path | None = None
) -> dict[str, Any]:
    """Rebuild one recorded point in an empty store, as its study would.

    Parameters
    ----------
    home : Path
        Folder of studies.
    trial : str
        A trial's name, or how it starts (at least 4 characters).
    study : str, optional
        Where to look; every study of the home by default.
    data_dir : Path, optional
        The only folder to look for data in; by default where the study found it.

    Returns
    -------
    dict
        ``trial, study, seed, epochs, recorded, rebuilt`` (each ``val_accuracy, mask_sha256``),
        ``deviation`` (rebuilt less recorded validation accuracy), ``same_masks`` (None for a round
        of a longer trial, of which only numbers are recorded) and ``explanation``. Of a confirmed
        trial, the confirmation run of median validation accuracy is rebuilt.

    Raises
    ------
    StudyError
        If no trial, or more than one, is meant.
    AutoPruneError
        If the rebuilt run fails.
    """
    found = find_point(home, trial, study)
    events = read_events(home, found.study)
    result = _rebuild(found.job, settings_of(events, home, data_dir))
    deviation = result.metrics["val_accuracy"] - found.val_accuracy
    same = None if found.mask_sha256 is None else result.mask_sha256 == found.mask_sha256
    changed = _changes(events[0]["settings"])
    return {
        "trial": found.job.trial,
        "study": found.study,
        "seed": found.job.seed,
        "epochs": found.job.epochs,
        "recorded": {"val_accuracy": found.val_accuracy, "mask_sha256": found.mask_sha256},
        "rebuilt": {
            "val_accuracy": result.metrics["val_accuracy"],
            "mask_sha256": result.mask_sha256,
        },
        "deviation": deviation,
        "same_masks": same,
        "explanation": _explain(changed, exact=deviation == 0.0 and same is not False),
    }


def settings_of(
    events: list[Event], home: Path, data_dir: Path | None = None, device: str | None = None
) -> WorkerSettings:
    """Return what a study's workers were told, with home and data where they are now.

    Parameters
    ----------
    device : str, optional
        ``cpu`` or ``cuda`` in place of the study's own, which changes bits.

    Raises
    ------
    StudyError
        If the study ran on a device that this machine does not have.
    """
    settings = WorkerSettings.from_json(events[0]["settings"])
    task = settings.task
    if data_dir is not None:
        task = replace(task, data_dir=str(data_dir.resolve()))
    settings = replace(settings, task=task, home=str(home.resolve()))
    if device is not None and device != settings.device:
        dtype: Any = "bfloat16" if device == "cuda" else "float32"
        return replace(settings, device=device, dtype=dtype)  # type: ignore[arg-type] # resolved
    if settings.device == "cuda" and not list(Path("/proc/driver/nvidia/gpus").glob("*")):
        raise StudyError(
            "study",
            "ran on a device that is not here",
            "cuda",
            "use --device cpu where it is taken",
        )
    return settings


def find_point(home: Path, trial: str, study: str | None, place: str = "TRIAL") -> Found:
    """Return the record that says most of the one trial that is meant.

    Raises
    ------
    StudyError
        At `place`, if no trial, or more than one, is meant.
    """
    names = [study] if study is not None else list_names(home)
    if len(trial) < MIN_PREFIX:
        raise StudyError(place, f"must have at least {MIN_PREFIX} characters", trial)
    found = [
        p for n in names for p in _points(n, read_events(home, n)) if p.job.trial.startswith(trial)
    ]
    trials = sorted({point.job.trial for point in found})
    if not trials:
        raise StudyError(
            place, f"must be in a study of {home}", trial, "`autoprune front STUDY` shows trials"
        )
    if len(trials) > 1:
        raise StudyError(place, "must mean one trial", trial, f"it may be {', '.join(trials[:5])}")
    studies = sorted({point.study for point in found})
    if len(studies) > 1:
        raise StudyError(place, f"is in studies {', '.join(studies)}", trial, "add --study NAME")
    return max(found, key=lambda point: point.standing)


def _points(study: str, events: list[Event]) -> Iterator[Found]:
    """Yield what a study recorded: median confirmations, then every job and round."""
    records = [r for r in State(events).records if r.result.metrics]
    confirmed: dict[str, list[Record]] = {}
    for record in records:
        if record.job.purpose == "confirm":
            confirmed.setdefault(record.job.trial, []).append(record)
            continue
        yield _found(study, record)
        config = record.job.config
        for past in record.result.rounds:
            if config.stop_round is None:
                part: TrialConfig = replace(config, stop_round=past.stop_round)
                job = replace(record.job, config=part)
                yield Found(study, job, past.metrics["val_accuracy"], None)
    for group in confirmed.values():
        median = median_run([record.result for record in group])
        yield _found(study, next(r for r in group if r.result is median))


def _found(study: str, record: Record) -> Found:
    result = record.result
    return Found(study, record.job, result.metrics["val_accuracy"], result.mask_sha256)


def _rebuild(job: Job, settings: WorkerSettings) -> JobResult:
    opener: Any = load_object("autoprune.trial.context:job_runner")
    with tempfile.TemporaryDirectory(prefix="autoprune-") as empty:
        run = opener(replace(settings, home=empty).to_json())
        # The test split was read once, by the study; a rebuilt run does not read it again.
        result = JobResult.from_json(run(replace(job, test=False).to_json()))
    if result.status == "failed":
        raise AutoPruneError(f"replay: {result.error}")
    return result


def _changes(recorded: dict[str, Any]) -> list[str]:
    """Return what decides bits and is not as it was."""
    then = recorded["made_with"]
    now = made_with()
    words = {"torch": "torch", "sources_sha256": "AutoPrune's sources"}
    return [
        f"{words[name]} {then[name][:12]} then, {now[name][:12]} now"
        for name in now
        if then[name] != now[name]
    ]


def _explain(changed: list[str], *, exact: bool) -> str:
    if changed:
        return f"not the same as then: {'; '.join(changed)}; bits may differ"
    same = "device, threads, torch and AutoPrune's sources are the same as then"
    if exact:
        return f"{same}, and so is the result"
    return f"{same}, yet the result differs: another processor or library, or a bug"
