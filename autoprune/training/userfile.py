"""Run a user's task file; whatever it raises becomes one clear message."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from autoprune.core.errors import BadInput, TaskError
from autoprune.data.taskfile import local_modules

REQUIRED = ("model", "train_data", "val_data")


class UserFile:
    """An imported task file.

    Raises
    ------
    TaskError
        If it is missing, is not Python, raises on import, or lacks a function.
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path).resolve()
        modules = local_modules(self.path)
        for name in modules:
            # Another task file's module of the same name, or an older version of this one.
            sys.modules.pop(name, None)
        with self.blame("on import"):
            self._module = self._import()
        for name in REQUIRED:
            if self.function(name) is None:
                raise TaskError(
                    str(self.path), f"must define {name}()", remedy=f"add a function {name}()"
                )

    def _import(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("autoprune_task_file", self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    def function(self, name: str) -> Callable[..., Any] | None:
        """Return a function of the file, wrapped so that it blames its own line, or None."""
        function = getattr(self._module, name, None)
        if not callable(function):
            return None

        def call(*arguments: Any) -> Any:
            with self.blame(f"in {name}()"):
                return function(*arguments)

        return call

    @contextmanager
    def blame(self, where: str) -> Iterator[None]:
        """Let the file import its neighbours, and name its line when it raises.

        Raises
        ------
        TaskError
            In place of whatever is raised inside; `BadInput` passes as it is.
        """
        folder = str(self.path.parent)
        sys.path.insert(0, folder)
        try:
            yield
        except BadInput:
            raise
        except (Exception, SystemExit) as error:
            frames = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in frames if Path(frame.filename).parent == self.path.parent]
            place = f"{own[-1].filename}:{own[-1].lineno}" if own else str(self.path)
            raise TaskError(place, f"raised {type(error).__name__} {where}: {error}") from error
        finally:
            sys.path.remove(folder)
