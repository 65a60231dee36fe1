"""Calling the real command line in this process, with what it prints and its exit code."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from autoprune.cli.main import main
from autoprune.testing.spaces import TINY


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The last line of standard output, which must be all that stands there."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self.out
        return json.loads(lines[0])

    @property
    def said(self) -> str:
        """Standard error with single spaces, as lines may be broken anywhere."""
        return " ".join(self.err.split())


def call(*arguments: object) -> Done:
    """Run ``autoprune ARGUMENTS`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["autoprune", *map(str, arguments)]
    with (
        patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
            code: object = 0
        except SystemExit as error:
            code = error.code
    assert code is None or isinstance(code, int), code
    return Done(code or 0, out.getvalue(), err.getvalue())


def succeed(*arguments: object) -> Done:
    """Run a command that must succeed."""
    done = call(*arguments)
    assert done.code == 0, done.err
    return done


SPACE = TINY


def write_space(folder: Path, text: str = SPACE, name: str = "tiny.yaml") -> Path:
    """Write a space file and return its path."""
    path = folder / name
    path.write_text(text)
    return path


TASK = """\
import torch
from torch import nn


def model():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))


def _data(count, start):
    images = torch.arange(start, start + count * 64).remainder(17).reshape(count, 1, 8, 8).float()
    return images, torch.arange(count) % 3


def train_data():
    return _data(96, 0)


def val_data():
    return _data(48, 5)
"""


def write_task(folder: Path, *edits: tuple[str, str], extra: str = "") -> Path:
    """Write a task file of three classes, with parts of its text replaced or added."""
    text = TASK
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path = folder / "task.py"
    path.write_text(text + extra)
    return path
