"""``torch.export``'s archive: the graph and raw weights, run by torch without any model code.

`torch.export.load` unpickles whatever an archive asks it to: sample inputs (first with
``weights_only=True``, then without), weights and constants marked ``use_pickle``, custom objects.
It also evaluates the shape expressions of the graph as Python, imports what the tree of the
inputs names, and lets the graph call any function below ``torch``. So sample inputs are dropped
when an archive is written, and before one is read all of it is checked: raw tensors, the graph
and its configuration only, nothing marked as pickled, shape expressions of symbols, numbers and
arithmetic, plain containers, and calls of tensor operators and arithmetic.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.errors import VerificationError
from autoprune.export.base import FileReport, Runner, file_report, zeros_note
from autoprune.models.graph import capture

_ENTRIES = re.compile(
    r"[^/]+/(data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
    r"|data/sample_inputs/model\.pt|models/model\.json|archive_format|archive_version"
    r"|byteorder|\.data/(version|serialization_id))"
)
_SYMBOL = r"Symbol\('[a-z]+\d+'(?:, (?:positive|nonnegative|integer)=True)*\)"
_FUNCTIONS = (
    "Add|Mul|Pow|Integer|Rational|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|IntTrueDiv|Equality"
    "|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|Eq|Ne|Lt|Le|Gt|Ge"
)
_EXPRESSION = re.compile(rf"(?:{_SYMBOL}|\b(?:{_FUNCTIONS})\(|\b\d+\b|[-+*/(),<>=\s])*")
_CALL = re.compile(
    r"torch\.ops\.(?:aten|prims|higher_order|torchvision)\.[\w.]+|torch\.sym_\w+"
    r"|_operator\.(?:getitem|add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|and_|or_)"
)
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", None})


class PT2Exporter:
    """Writes and reads ``.pt2``."""

    file_name = "model.pt2"
    needs_code = False

    def export(
        self, model: nn.Module, example: Tensor, path: Path, masks: Mapping[str, Tensor]
    ) -> FileReport:
        """Write the archive, without the pickled sample inputs torch adds."""
        program = capture(model, example, "pt2")
        program.example_inputs = None  # torch then writes an empty record
        torch.export.save(program, path)
        return file_report(path, zeros_note(masks))

    def load(self, path: Path) -> Runner:
        """Return the archive's graph as a function."""
        module = load_program(path).module()

        def run(inputs: Tensor) -> Tensor:
            with torch.inference_mode():
                outputs: Tensor = module(inputs)
            return outputs

        return run


PT2 = PT2Exporter()


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Read an archive that `check_archive` finds harmless.

    Raises
    ------
    VerificationError
        If it is not, or cannot be read.
    """
    check_archive(path)
    try:
        return torch.export.load(path)
    except Exception as error:  # torch raises anything on malformed archives
        raise VerificationError(f"{path.name} cannot be read: {error}") from error


def check_archive(path: Path) -> None:
    """Refuse an archive that holds more than raw tensors and a graph.

    Raises
    ------
    VerificationError
        With the first entry, mark or expression that does not belong there.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {info.filename: info.file_size for info in archive.infolist()}
            if len(entries) != len(archive.infolist()):
                raise ValueError("two entries have one name")
            texts = {n: archive.read(n) for n in entries if n.endswith(".json")}
        contents = {name: json.loads(text) for name, text in texts.items()}
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise VerificationError(f"{path.name} is not a readable archive: {error}") from error
    for name, size in entries.items():
        if not _ENTRIES.fullmatch(name) or (name.endswith("/model.pt") and size):
            raise VerificationError(f"{path.name} must hold raw tensors and a graph; got {name!r}")
    try:
        for key, value in (pair for content in contents.values() for pair in _pairs(content)):
            if not _harmless(key, value):
                raise VerificationError(f"{path.name} must compute and nothing else; got {value!r}")
    except (ValueError, TypeError, LookupError) as error:
        raise VerificationError(f"{path.name} holds a malformed graph: {error}") from error


def _harmless(key: str, value: Any) -> bool:
    """Whether torch's loader takes nothing but data from an entry of the graph's JSON."""
    if key == "use_pickle":
        return value is False
    if key == "expr_str":
        return _EXPRESSION.fullmatch(value) is not None
    if key == "nodes":
        return all(_CALL.fullmatch(node["target"]) for node in value)
    if key in {"in_spec", "out_spec"}:
        types = [kind for name, kind in _pairs(json.loads(value)) if name == "type"]
        return _CONTAINERS.issuperset(types)
    return True


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key with its value, at any depth."""
    if isinstance(value, dict):
        yield from value.items()
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, (dict, list)):
            yield from _pairs(item)
