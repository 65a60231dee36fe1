"""AutoPrune: search over ways to prune a network, and export the best result.

Names are imported on first use, so that ``import autoprune`` stays light.

Examples
--------
>>> import autoprune
>>> request = autoprune.SearchRequest(space="digits")
>>> request.num_workers >= 1
True
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from autoprune.core.config import TaskConfig, TrialConfig
    from autoprune.core.errors import AutoPruneError, BadInput
    from autoprune.search.engine import SearchOptions
    from autoprune.search.session import SearchRequest, load_summary
    from autoprune.search.session import search as run_search

__version__ = "0.1.0"

_HOMES = {
    "AutoPruneError": "autoprune.core.errors:AutoPruneError",
    "BadInput": "autoprune.core.errors:BadInput",
    "SearchOptions": "autoprune.search.engine:SearchOptions",
    "SearchRequest": "autoprune.search.session:SearchRequest",
    "TaskConfig": "autoprune.core.config:TaskConfig",
    "TrialConfig": "autoprune.core.config:TrialConfig",
    "load_summary": "autoprune.search.session:load_summary",
    "run_search": "autoprune.search.session:search",
}

__all__ = [
    "AutoPruneError",
    "BadInput",
    "SearchOptions",
    "SearchRequest",
    "TaskConfig",
    "TrialConfig",
    "__version__",
    "load_summary",
    "run_search",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from autoprune.core.registry import load_object

        return load_object(_HOMES[name])
    raise AttributeError(f"module 'autoprune' has no attribute {name!r}")
