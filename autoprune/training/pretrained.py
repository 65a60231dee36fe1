"""Pretrained weights: read without running anything, and checked against the model."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from autoprune.core.errors import TaskError, few

REMEDY = "save it as safetensors, or its state_dict() alone"


def load_checkpoint(path: str) -> dict[str, Tensor]:
    """Read a state dict from a safetensors file, or one that torch saved.

    Raises
    ------
    TaskError
        If the file is missing, broken, holds pickled code, or holds no state dict.
    """
    if not Path(path).is_file():
        raise TaskError("task.checkpoint", "names no file", path)
    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not _looks_pickled(path):
            raise TaskError(path, "is no checkpoint", remedy=REMEDY) from error
        raise TaskError(path, "holds pickled code, which is never run", remedy=REMEDY) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise TaskError(path, f"cannot be read as a checkpoint: {error}") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    return state_dict_of(path, value)


def _looks_pickled(path: str) -> bool:
    """Return whether a file begins as a pickle or as the zip file torch puts pickles in."""
    with Path(path).open("rb") as file:
        return file.read(2).startswith((b"\x80", b"PK"))


def state_dict_of(place: str, value: Any) -> dict[str, Tensor]:
    """Return a state dict, or that of a module.

    Raises
    ------
    TaskError
        If it is neither.
    """
    if isinstance(value, nn.Module):
        value = value.state_dict()
    is_weights = isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )
    if not is_weights:
        raise TaskError(place, "must be a state dict: names to tensors", type(value).__name__)
    return {name: tensor.detach().cpu() for name, tensor in value.items()}


def check_fits(place: str, weights: dict[str, Tensor], model: nn.Module) -> None:
    """Check that a state dict has the model's names and shapes, and finite values.

    Raises
    ------
    TaskError
        With the first few keys that are missing, unexpected or of another shape.
    """
    own = model.state_dict()
    problems = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in weights and weights[name].shape != own[name].shape
        ],
        "not finite": [
            name
            for name in own
            if name in weights and not bool(torch.isfinite(weights[name]).all())
        ],
    }
    words = [f"{kind}: {few(names)}" for kind, names in problems.items() if names]
    if words:
        raise TaskError(place, f"does not fit the model; {'; '.join(words)}")
