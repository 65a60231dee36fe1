"""Multi-fidelity strategies: pure functions from a study's state to its next search job."""

from autoprune.core.errors import unknown_name
from autoprune.search.strategies import contextual, full, moasha
from autoprune.search.strategies.base import Strategy, View

STRATEGIES: dict[str, Strategy] = {
    "contextual": contextual.Contextual(),
    "moasha": moasha.propose,
    "full": full.propose,
}


def get_strategy(name: str) -> Strategy:
    """Return a strategy by name.

    Raises
    ------
    UnknownNameError
        With a did-you-mean.
    """
    if name not in STRATEGIES:
        raise unknown_name("--strategy", "strategy", name, STRATEGIES)
    return STRATEGIES[name]


__all__ = ["STRATEGIES", "Strategy", "View", "get_strategy"]
