"""ONNX: one self-contained file with a dynamic batch, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from autoprune.export.base import FileReport, Runner, file_report, zeros_note
from autoprune.models.graph import open_onnx, to_onnx


class OnnxExporter:
    """Writes and reads ``.onnx``."""

    file_name = "model.onnx"
    needs_code = False

    def export(
        self, model: nn.Module, example: Tensor, path: Path, masks: Mapping[str, Tensor]
    ) -> FileReport:
        """Write the graph with its weights inside."""
        to_onnx(model, example).save(path, external_data=False)
        return file_report(path, zeros_note(masks))

    def load(self, path: Path) -> Runner:
        """Open a session on the CPU with as many threads as torch uses."""
        return open_onnx(path.read_bytes(), path.name, torch.get_num_threads())


ONNX = OnnxExporter()
