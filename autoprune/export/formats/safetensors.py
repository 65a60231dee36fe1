"""Packed safetensors: the small file. Running it needs the architecture, from `plan.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from autoprune.export.base import PLAN, FileReport, Runner, file_report
from autoprune.export.plan import read_json, rebuild
from autoprune.pruning.packing import pack, unpack


class SafetensorsExporter:
    """Weights packed as bitmask and values (`autoprune.pruning.packing`)."""

    file_name = "model.safetensors"
    needs_code = True

    def export(
        self, model: nn.Module, example: Tensor, path: Path, masks: Mapping[str, Tensor]
    ) -> FileReport:
        """Write the packed weights."""
        path.write_bytes(pack(model.state_dict(), masks))
        return file_report(path, "small: a removed weight takes one bit, what is cut away nothing")

    def load(self, path: Path) -> Runner:
        """Rebuild the architecture from the plan beside the file, and fill in its weights."""
        model = rebuild(read_json(path.parent / PLAN), unpack(path.read_bytes(), path.name))

        def run(inputs: Tensor) -> Tensor:
            with torch.inference_mode():
                outputs: Tensor = model(inputs)
            return outputs

        return run


SAFETENSORS = SafetensorsExporter()
