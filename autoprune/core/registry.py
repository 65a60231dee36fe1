"""Registries: a name, a lazily imported object, and entry points for third parties.

A line is ``"snip": "autoprune.methods.snip:SNIP"``; the module is imported on first use. Third
parties add theirs through the entry-point group named after the registry (``autoprune.methods``).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar, cast

from autoprune.core.errors import ConfigError, unknown_name

T = TypeVar("T")


def load_object(target: str) -> object:
    """Import ``"package.module:ATTRIBUTE"`` and return the attribute."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Registry(Generic[T]):
    """A mapping from names to lazily imported objects.

    Parameters
    ----------
    what : str
        What one entry is called in messages, such as ``"method"``.
    group : str
        The entry-point group that third parties register in.
    builtin : mapping of str to str
        Name to ``"module:attribute"``, in the order they are listed.
    """

    def __init__(self, what: str, group: str, builtin: Mapping[str, str]) -> None:
        self.what, self.group = what, group
        self._builtin = dict(builtin)
        self._loaded: dict[str, T] = {}

    @cached_property
    def _targets(self) -> dict[str, str]:
        targets = dict(self._builtin)
        for point in entry_points(group=self.group):
            if point.name in targets:
                raise ConfigError(
                    f"entry point {point.name!r} in group {self.group!r}",
                    f"must not take the name of another {self.what}",
                    point.value,
                    "rename it in the plug-in, or uninstall the plug-in",
                )
            targets[point.name] = point.value
        return targets

    def lend(self, name: str, entry: T) -> None:
        """Let `get` find an entry in this process, unlisted: for variants made at run time.

        Raises
        ------
        ConfigError
            If the name is a registered one.
        """
        if name in self._targets:
            raise ConfigError(f"{self.what} {name!r}", "must not take a registered name")
        self._loaded[name] = entry

    def names(self) -> list[str]:
        """Return every name, ours first, in the order of registration."""
        return list(self._targets)

    def check(self, name: str, place: str) -> None:
        """Raise `UnknownNameError` with a did-you-mean unless the name is registered."""
        if name not in self._targets:
            raise unknown_name(place, self.what, name, self._targets)

    def get(self, name: str, place: str = "") -> T:
        """Import and return the object behind a name.

        Raises
        ------
        UnknownNameError
            If the name is not registered; the message carries the nearest known name.
        """
        if name not in self._loaded:
            self.check(name, place or self.what)
            self._loaded[name] = cast(T, load_object(self._targets[name]))
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self._targets

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)
