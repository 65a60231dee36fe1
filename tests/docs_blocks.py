"""The code blocks of README and docs, so that tests can run what users are told to type."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    language: str
    text: str

    @property
    def name(self) -> str:
        """What a failing test is called."""
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:60]}"


BLOCKS = [
    Block(page, language, text)
    for page in PAGES
    for language, text in _BLOCK.findall(page.read_text(encoding="utf-8"))
]


def blocks(language: str) -> list[Block]:
    """Return the blocks in a language."""
    return [block for block in BLOCKS if block.language == language]


def block_of(page: str, start: str) -> str:
    """Return the block of a page that starts with a line."""
    (found,) = (b.text for b in BLOCKS if b.page == ROOT / page and b.text.splitlines()[0] == start)
    return found
