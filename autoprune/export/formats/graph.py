"""A model's graph with a dynamic batch, which ONNX and pt2 are made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from autoprune.core.errors import TaskError

BATCH = torch.export.Dim("batch", min=1)
"""The batch size, left open."""


def capture(model: nn.Module, example: Tensor, format_name: str) -> torch.export.ExportedProgram:
    """Trace a model in eval mode with its batch size left open.

    Raises
    ------
    TaskError
        If torch cannot trace it, or only for one batch size.
    """
    try:
        with torch.no_grad():
            return torch.export.export(model, (example,), dynamic_shapes=({0: BATCH},))
    except Exception as error:  # torch raises a family of private types
        raise TaskError(
            "model",
            f"must be traceable with any batch size to be exported as {format_name}",
            str(error).strip().splitlines()[0],
            "rewrite the forward pass without decisions on values, or give --format safetensors",
        ) from error
