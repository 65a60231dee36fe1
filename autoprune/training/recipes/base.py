"""How a recipe introduces itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """An entry of `autoprune list recipes`.

    Parameters
    ----------
    name, reference : str
        Registry name; authors, venue and arXiv id.
    description : str
        What it does, and when not to use it.
    space : mapping
        Fields of `RecipeConfig` that switch it on, with their search ranges.
    """

    name: str
    reference: str
    description: str
    space: Mapping[str, Any]
