"""Joining the MLflow mirror with the report's artifacts and the export, which do not know them."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.tracking.mlflow import Mirror

_LOG = logging.getLogger(__name__)


def make_mirror(home: Path, study: str, tracking_uri: str | None) -> Mirror:
    """Return a study's mirror; a context manager that copies while the study runs.

    Its page and picture are kept in the study's own folder too.
    """
    from autoprune.search.study import study_folder
    from autoprune.tracking.mlflow import Mirror

    folder = study_folder(home, study)

    def artifacts(summary: dict[str, Any]) -> dict[str, Path]:
        from autoprune.report.files import write_plot

        return {name: write_plot(summary, folder / name) for name in ("pareto.html", "front.png")}

    return Mirror(home, study, tracking_uri, artifacts)


def register_champion(mirror: Mirror, trial: str) -> None:
    """Export the pick in a process of its own, and register it; a failure is only told.

    The driver of a search must stay light, and an outage of MLflow must not fail it.
    """
    with tempfile.TemporaryDirectory(prefix="autoprune-") as folder:
        out = Path(folder) / "champion"
        command = [sys.executable, "-m", "autoprune", "export", mirror.study, "--trial", trial]
        options = ["--home", str(mirror.home), "--out", str(out), "--format", "safetensors,onnx"]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:]
            _LOG.warning("no champion in MLflow, its export failed: %s", *reason or ["no message"])
            return
        try:
            mirror.register_champion(out)
        except Exception as error:  # noqa: BLE001 - MLflow's stores raise what they like
            _LOG.warning("no champion in MLflow: %s", error)


def lacks_champion(mirror: Mirror) -> bool:
    """Whether a mirrored study has no registered model; told, and False, if MLflow fails."""
    from autoprune.tracking.keys import has_champion

    try:
        return not has_champion(mirror.ids, mirror.study)
    except Exception as error:  # noqa: BLE001 - MLflow's stores raise what they like
        _LOG.warning("no champion in MLflow: %s", error)
        return False


def sync_study(
    home: Path, study: str, tracking_uri: str | None, say: Callable[[str], object]
) -> dict[str, str | None]:
    """Mirror one study as it stands; return where it is."""
    from autoprune.search.study import read_events
    from autoprune.search.summary import summarize

    mirror = make_mirror(home, study, tracking_uri)
    mirror.sync()
    complete = summarize(read_events(home, study))["status"] == "complete"
    if complete and lacks_champion(mirror):
        say(
            f"note: {study} has no champion in MLflow's registry; the command that ran it "
            "registers one with --resume (which it is depends on its limits)"
        )
    return mirror.ids
