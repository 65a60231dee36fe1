"""Reads space files: strict YAML, found by path or by the name of a shipped space."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from autoprune.core.errors import ConfigError, did_you_mean


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc] # the base class is untyped
    """Safe YAML that refuses a key given twice; ``5e-4`` is a number there and ``2:4`` is text."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise yaml.MarkedYAMLError(None, None, "a key is a list", key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(
                    None, None, f"the key {key!r} stands here twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


# YAML 1.1 wants a dot and a sign in an exponent; everybody writes 5e-4.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


# YAML 1.1 reads 2:4 as minutes and seconds, 124; a pattern is meant.
for _first in "0123456789":
    _StrictLoader.yaml_implicit_resolvers.setdefault(_first, []).insert(
        0, ("tag:yaml.org,2002:str", re.compile(r"^\d+(:[0-5]?\d)+$"))
    )


def read_scalar(text: str) -> Any:
    """Read one value as a space file would.

    Raises
    ------
    yaml.YAMLError
        If it is malformed.

    Examples
    --------
    >>> read_scalar("5e-4"), read_scalar("2:4"), read_scalar("true")
    (0.0005, '2:4', True)
    """
    return yaml.load(text, _StrictLoader)


def read_yaml(path: Path) -> Mapping[str, Any]:
    """Read one mapping from a YAML file.

    Raises
    ------
    ConfigError
        With file and line, when the file cannot be read, is malformed, gives a key twice or does
        not hold a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(str(path), f"cannot be read ({reason})") from None
    try:
        content = yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{line}", f"is malformed YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(str(path), f"is malformed YAML: {error}") from None
    if not isinstance(content, Mapping):
        raise ConfigError(f"{path}, line 1", "must hold a mapping of keys to values", content)
    return content


def shipped_folders() -> list[Path]:
    """Return where shipped spaces lie: in the package (a wheel), else beside it (a checkout)."""
    package = Path(__file__).resolve().parents[1]
    folders = [package / "search_spaces", package.parent / "search_spaces"]
    return [folder for folder in folders if folder.is_dir()]


def list_spaces() -> list[str]:
    """Return the names of the shipped spaces, sorted."""
    return sorted({file.stem for folder in shipped_folders() for file in folder.glob("*.yaml")})


def find_space(path_or_name: str | Path) -> Path:
    """Return the file a path or the name of a shipped space means.

    Raises
    ------
    ConfigError
        When there is neither, with a did-you-mean.
    """
    path = Path(path_or_name)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise ConfigError(str(path), "is not a file", remedy="give a space file or a name")
        return path
    for folder in shipped_folders():
        if (file := folder / f"{path_or_name}.yaml").is_file():
            return file
    raise ConfigError(
        "space",
        "must be a YAML file or a shipped name",
        str(path_or_name),
        did_you_mean(str(path_or_name), list_spaces()),
    )
