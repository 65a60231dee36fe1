"""A user's task file: which modules belong to it, and the hash of them. Torch-free."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from autoprune.core.canonical import digest, file_sha256
from autoprune.core.config import TaskConfig
from autoprune.core.errors import TaskError


def local_modules(path: Path) -> dict[str, Path]:
    """Find the modules a Python file imports from its own folder, and theirs, and so on.

    Parameters
    ----------
    path : Path
        The task file.

    Returns
    -------
    dict of str to Path
        Dotted module name to file, sorted by name; the task file itself is not among them.

    Raises
    ------
    TaskError
        If a file is missing or is not Python.
    """
    folder = path.resolve().parent
    found: dict[str, Path] = {}
    pending = [("", path.resolve())]
    while pending:
        package, file = pending.pop()
        for name in _imported(file, package):
            for module, target in _resolve(folder, name):
                if module not in found and target != path.resolve():
                    found[module] = target
                    is_package = target.name == "__init__.py"
                    pending.append((module if is_package else module.rpartition(".")[0], target))
    return dict(sorted(found.items()))


def _imported(file: Path, package: str) -> Iterator[str]:
    """Yield every dotted name a file may import, relative ones made absolute."""
    for node in ast.walk(_parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            start = [part for part in parents if part] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            if base:
                yield base
            # "from package import module" names a module, "from module import thing" does not:
            # what is no file is dropped by `_resolve`.
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


def _parse(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes(), str(file))
    except OSError as error:
        raise TaskError(str(file), "cannot be read", remedy=str(error.strerror)) from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        place = f"{file}:{line}" if line else str(file)
        message = getattr(error, "msg", str(error))
        raise TaskError(place, f"is not valid Python: {message}") from error


def _resolve(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """Yield the files in the folder that importing a dotted name runs."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        stem = folder.joinpath(*parts[:depth])
        for target in (stem / "__init__.py", stem.with_suffix(".py")):
            if target.is_file():
                yield ".".join(parts[:depth]), target.resolve()
                break


def task_sha256(path: str | Path) -> str:
    """Hash a task file with the modules it imports from its own folder.

    The folder's place does not enter the hash, the modules' names and bytes do.

    Raises
    ------
    TaskError
        If a file is missing or is not Python.
    """
    file = Path(path)
    modules = local_modules(file)
    return digest([file_sha256(file), {name: file_sha256(at) for name, at in modules.items()}])


def identify(config: TaskConfig) -> TaskConfig:
    """Fill in the hashes of the files a task names.

    Raises
    ------
    TaskError
        If the task file or the checkpoint cannot be read.
    """
    task = None if config.task_file is None else task_sha256(config.task_file)
    checkpoint = None
    if config.checkpoint is not None:
        try:
            checkpoint = file_sha256(Path(config.checkpoint))
        except OSError as error:
            raise TaskError(
                "task.checkpoint", "cannot be read", config.checkpoint, str(error.strerror)
            ) from error
    return replace(config, task_sha256=task, checkpoint_sha256=checkpoint)
