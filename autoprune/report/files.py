"""A study's picture or page, written where the user wants it."""

from __future__ import annotations

from pathlib import Path

from autoprune.core.errors import ConfigError
from autoprune.report.figures import front_png
from autoprune.report.page import render
from autoprune.report.words import Summary


def check_plot(path: Path) -> str:
    """Return the suffix of a plot's file.

    Raises
    ------
    ConfigError
        If it is neither ``.html`` nor ``.png``.
    """
    suffix = path.suffix.lower()
    if suffix not in {".html", ".png"}:
        raise ConfigError("--plot", "must end in .html or .png", str(path))
    return suffix


def write_plot(summary: Summary, path: Path) -> Path:
    """Write the report page (``.html``) or the front's picture (``.png``).

    Raises
    ------
    ConfigError
        If the suffix is neither, or the file cannot be written.
    """
    suffix = check_plot(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".html":
            path.write_text(render(summary), encoding="utf-8")
        else:
            front_png(summary, path)
    except OSError as error:
        raise ConfigError("--plot", "must be a path that can be written", str(error)) from error
    return path
