"""What end-to-end tests share."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.support import Done, call

OPTIONS = ("--budget", "6", "--confirm-seeds", "2", "--executor", "inline")


@dataclass(frozen=True)
class Studied:
    """A finished study named ``tiny``: its home, its space file, and what the search printed."""

    home: Path
    space: Path
    done: Done

    @property
    def summary(self) -> dict[str, Any]:
        """What the search printed as JSON."""
        found: dict[str, Any] = self.done.json
        return found

    def __call__(self, command: str, *arguments: object) -> Done:
        """Run a command on this home."""
        return call(command, *arguments, "--home", self.home)


def events_of(home: Path, study: str = "tiny") -> list[dict[str, Any]]:
    """Read a study's journal as it stands."""
    path = home / "studies" / study / "journal.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
