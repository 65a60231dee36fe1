"""Joining the MLflow mirror with the report's artifacts, which may not know each other."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def artifacts(summary: dict[str, Any]) -> dict[str, Path]:
    """Write a study's page and picture to a temporary folder; return them by artifact name."""
    from autoprune.report.files import write_plot

    folder = Path(tempfile.mkdtemp(prefix="autoprune-"))
    return {name: write_plot(summary, folder / name) for name in ("pareto.html", "front.png")}


@contextmanager
def mirrored(
    home: Path, study: str, tracking_uri: str | None
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Mirror a study while it runs; yields what to call with each journal event."""
    from autoprune.tracking.mirror import Mirror

    with Mirror(home, study, tracking_uri, artifacts=artifacts) as mirror:
        yield mirror.notify


def sync_studies(home: Path, study: str | None, tracking_uri: str | None) -> list[dict[str, Any]]:
    """Mirror one study, or all of a home, as they stand; return where they are."""
    from autoprune.search.study import list_studies
    from autoprune.tracking.mirror import sync

    names = [study] if study else [row["study"] for row in list_studies(home)]
    return [
        {"study": name, **sync(home, name, tracking_uri, artifacts=artifacts)} for name in names
    ]
