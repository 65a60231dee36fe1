"""Use an exported folder: refuse it unless its hashes match, then run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from autoprune.core.errors import BadInput, VerificationError
from autoprune.export.base import PLAN, REPORT, Runner
from autoprune.export.integrity import check_sums
from autoprune.export.plan import read_json, rebuild
from autoprune.export.registry import EXPORTERS
from autoprune.pruning.packing import unpack

Array = NDArray[Any]
Predictor = Callable[[Array], NDArray[np.float32]]

CHUNK = 256
"""Inputs per call of a runner."""


def load_predictor(folder: Path | str) -> Predictor:
    """Open an export as a function from raw inputs to class probabilities.

    Parameters
    ----------
    folder : Path or str
        Written by `export_job`; onnx is used if it is there, else pt2, else safetensors.

    Returns
    -------
    callable
        Takes raw pixels ``(N, C, H, W)`` as the training data held them (any number type; they
        are preprocessed here as `plan.json` says) and returns probabilities ``(N, classes)``,
        float32, rows summing to 1.

    Raises
    ------
    VerificationError
        If the folder's hashes do not match, or a file cannot be read.
    BadInput
        If the folder is no export; by the predictor, if inputs have another shape.
    """
    folder = Path(folder)
    check_sums(folder)
    plan = read_json(folder / PLAN)
    run = best_runner(folder)
    shape, prepare = tuple(plan["input_shape"]), preprocessor(plan)

    def predict(raw: Array) -> NDArray[np.float32]:
        if raw.ndim != len(shape) + 1 or raw.shape[1:] != shape or raw.dtype.kind not in "uifb":
            sides = ", ".join(map(str, shape))
            raise BadInput(
                "inputs", f"must be numbers of shape (N, {sides})", f"{raw.dtype} {raw.shape}"
            )
        outputs = run_in_chunks(run, prepare(raw))
        probabilities: NDArray[np.float32] = outputs.softmax(dim=1).numpy()
        return probabilities

    return predict


def load_model(folder: Path | str) -> nn.Module:
    """Rebuild the compact model of a registry architecture, in eval mode on the CPU.

    Raises
    ------
    VerificationError
        If the hashes do not match, there is no `model.safetensors`, or the architecture is a
        user's own.
    """
    folder = Path(folder)
    check_sums(folder)
    path = folder / EXPORTERS.get("safetensors").file_name
    if not path.is_file():
        raise VerificationError(f"{path} is not part of this export")
    return rebuild(read_json(folder / PLAN), unpack(path.read_bytes(), path.name))


def exported_formats(folder: Path) -> list[str]:
    """Return the formats a folder's report lists, in the order of the registry.

    Raises
    ------
    VerificationError
        If the report lists none that is known.
    """
    listed = read_json(folder / REPORT).get("files", {})
    found = [name for name in EXPORTERS if EXPORTERS.get(name).file_name in listed]
    if not found:
        raise VerificationError(f"{folder / REPORT} lists no model file")
    return found


def best_runner(folder: Path) -> Runner:
    """Open the format that runs with the least: onnx, else pt2, else whatever there is."""
    formats = exported_formats(folder)
    name = next((name for name in ("onnx", "pt2") if name in formats), formats[0])
    exporter = EXPORTERS.get(name)
    return exporter.load(folder / exporter.file_name)


def preprocessor(plan: dict[str, Any]) -> Callable[[Array], torch.Tensor]:
    """Return ``(raw * scale - mean) / std`` of a plan, by channel, in float32."""
    settings = plan["preprocessing"]
    shape = (-1, *[1] * (len(plan["input_shape"]) - 1))
    mean, std = (
        torch.tensor(settings[key], dtype=torch.float32).reshape(shape) for key in ("mean", "std")
    )
    scale = float(settings["scale"])

    def prepare(raw: Array) -> torch.Tensor:
        values = torch.from_numpy(np.ascontiguousarray(raw, dtype=np.float32))
        return (values * scale - mean) / std

    return prepare


def run_in_chunks(run: Runner, inputs: torch.Tensor) -> torch.Tensor:
    """Run inputs in batches of at most `CHUNK`, so that memory stays bounded."""
    return torch.cat([run(part) for part in torch.split(inputs, CHUNK)])
