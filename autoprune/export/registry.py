"""The registry of export formats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoprune.core.registry import Registry

if TYPE_CHECKING:
    from autoprune.export.base import Exporter

EXPORTERS: Registry[Exporter] = Registry(
    "export format",
    "autoprune.exporters",
    {
        "safetensors": "autoprune.export.formats.safetensors:SAFETENSORS",
        "onnx": "autoprune.export.formats.onnx:ONNX",
        "pt2": "autoprune.export.formats.pt2:PT2",
    },
)
