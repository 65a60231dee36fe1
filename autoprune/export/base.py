"""What an exporter promises, and what an export reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from autoprune.core.canonical import file_sha256

Runner = Callable[[Tensor], Tensor]
"""Preprocessed float32 inputs ``(N, C, H, W)`` on the CPU to logits ``(N, classes)``."""

PLAN, REPORT, SAMPLE, README = "plan.json", "report.json", "sample.safetensors", "README.md"


@dataclass(frozen=True)
class FileReport:
    """One file of an export.

    Parameters
    ----------
    name, sha256 : str
        File name; hash of its bytes.
    size_bytes : int
        Size on disk.
    note : str
        Whether the file is small or only holds zeros, in words.
    """

    name: str
    size_bytes: int
    sha256: str
    note: str


def file_report(path: Path, note: str) -> FileReport:
    """Describe a file that was just written."""
    return FileReport(path.name, path.stat().st_size, file_sha256(path), note)


def zeros_note(masks: Mapping[str, Tensor]) -> str:
    """Say of a format without sparse tensors whether its file is small or only holds zeros."""
    if all(bool(mask.all()) for mask in masks.values()):
        return "small where units or rank were removed: those are gone"
    return "as large as its dense shapes: removed weights are stored as zeros"


@dataclass(frozen=True)
class ExportReport:
    """A finished export.

    Parameters
    ----------
    path : str
        The folder.
    content : dict
        What `report.json` holds.
    checks : list of str
        What the verifying process checked.
    """

    path: str
    content: dict[str, Any]
    checks: list[str]


class Exporter(Protocol):
    """Writes a model to one file, and runs such a file.

    Raises `TaskError` where the format cannot express the model.
    """

    @property
    def file_name(self) -> str:
        """Name of the file in an exported folder."""
        ...

    @property
    def needs_code(self) -> bool:
        """Whether running the file needs the code that builds the architecture."""
        ...

    def export(
        self, model: nn.Module, example: Tensor, path: Path, masks: Mapping[str, Tensor]
    ) -> FileReport:
        """Write a model.

        Parameters
        ----------
        model : nn.Module
            On the CPU, in eval mode; compact, removed entries exactly 0.
        example : Tensor
            Inputs ``(2, ...)``; the batch size of the file is dynamic.
        path : Path
            The file to write.
        masks : mapping
            Bool masks of the compact model's sparse tensors, for formats that store them.
        """
        ...

    def load(self, path: Path) -> Runner:
        """Return a function that runs the file; nothing is unpickled.

        Raises
        ------
        VerificationError
            If the file cannot be read.
        """
        ...
