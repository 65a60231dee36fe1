"""Export a point of a study's front."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoprune.core.config import TrialConfig, parse
from autoprune.core.errors import StudyError
from autoprune.core.records import Job
from autoprune.export.folder import FORMATS, check_request, export_job
from autoprune.search.journal import Event
from autoprune.search.pick import Limits, pick
from autoprune.search.replay import settings_of
from autoprune.search.state import State
from autoprune.search.study import read_events
from autoprune.search.summary import summarize
from autoprune.trial.context import WorkerContext

_FIGURES = (
    *("trial", "method", "kind", "sparsity", "val_accuracy", "val_ci95"),
    *("test_accuracy", "test_ci95", "seeds", "seeds_used"),
)


def export_from_study(
    home: Path,
    study: str,
    out: Path,
    *,
    trial: str | None = None,
    limits: Limits | None = None,
    formats: Sequence[str] = FORMATS,
    device: str = "cpu",
    data_dir: Path | None = None,
) -> dict[str, Any]:
    """Export a front's point: the confirmation run of median validation accuracy.

    Parameters
    ----------
    home : Path
        Folder of studies and the store.
    trial : str, optional
        A trial of the front, or how its name starts; otherwise `limits` choose.
    limits : Limits, optional
        See `autoprune.search.pick.pick`; the knee without any.
    device : str
        Resolved. A study that ran on the CPU is exported on the CPU, from its stored states; one
        that ran on a GPU, where there is none, is computed again on the CPU with other bits.
    data_dir : Path, optional
        The only folder to look for data in; by default where the study found it.

    Returns
    -------
    dict
        The content of `report.json`, and ``path``, ``study``, ``trial`` and ``checks``.

    Raises
    ------
    BadInput
        If there is no such study, trial or point, or `export_job` refuses.
    VerificationError
        If the written files are not the model.
    """
    events = read_events(home, study)
    summary = summarize(events)
    entry = (
        pick(summary["front"], summary["dense"], limits)
        if trial is None
        else _named(summary["front"], trial)
    )
    job = _job(events, entry)
    check_request(out, formats, job)  # before the data is loaded
    recorded = events[0]["settings"].get("device", "cpu")
    settings = settings_of(events, home, data_dir, device if recorded == "cuda" else "cpu")
    figures = {key: entry[key] for key in _FIGURES if key in entry}
    report = export_job(
        job, WorkerContext(settings), out, formats=formats, figures=figures, study=study
    )
    return {
        "path": report.path,
        "study": study,
        "trial": entry["trial"],
        **report.content,
        "checks": report.checks,
    }


def _named(front: Sequence[dict[str, Any]], trial: str) -> dict[str, Any]:
    """Return the one entry whose trial's name starts so."""
    found = [entry for entry in front if trial and entry["trial"].startswith(trial)]
    if len(found) != 1:
        rule = "must name one trial of the front" + (", and names several" if found else "")
        known = ", ".join(entry["trial"] for entry in front)
        raise StudyError("--trial", rule, trial, f"it holds {known or 'none'}")
    return found[0]


def _job(events: list[Event], entry: dict[str, Any]) -> Job:
    """Return the job behind an entry; a round of a longer trial is the job stopped there."""
    job = State(list(events)).jobs[entry["median_job"]]
    return replace(job, config=parse(TrialConfig, entry["config"], "front"))
