"""A model's graph with a dynamic batch, which ONNX and pt2 are made of, and ONNX itself."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.core.errors import TaskError, VerificationError

BATCH = torch.export.Dim("batch", min=1)
"""The batch size, left open."""

LIMIT_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB; a little is left for the graph."""

INPUT, OUTPUT = "input", "logits"


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


def to_onnx(model: nn.Module, example: Tensor) -> Any:
    """Express a model in eval mode in ONNX, as torch's `ONNXProgram`.

    Parameters
    ----------
    model : nn.Module
        On the CPU.
    example : Tensor
        Inputs ``(2, ...)``; the batch size of the graph is dynamic.

    Raises
    ------
    TaskError
        If it is too large for one file, cannot be traced, or has no form in ONNX.
    """
    size = sum(v.numel() * v.element_size() for v in model.state_dict().values())
    if size > LIMIT_BYTES:
        raise TaskError(
            "model",
            "must hold less than 2 GB of weights to be one ONNX file",
            size,
            "leave onnx out of --format",
        )
    program = capture(model, example, "onnx")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        try:
            found = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
        except Exception as error:  # torch raises a family of private types
            raise TaskError(
                "model",
                "cannot be expressed in ONNX",
                str(error).strip().splitlines()[0],
                "leave onnx out of --format",
            ) from error
    if found is None:
        raise TaskError("model", "cannot be expressed in ONNX", remedy="leave out onnx")
    return found


def onnx_bytes(model: nn.Module, example: Tensor) -> bytes:
    """Return a model as the content of an ONNX file; see `to_onnx`."""
    content: bytes = to_onnx(model, example).model_proto.SerializeToString()
    return content


def open_onnx(content: bytes, name: str, threads: int) -> Callable[[Tensor], Tensor]:
    """Open a session of onnxruntime on the CPU.

    Parameters
    ----------
    content : bytes
        Of an ONNX file.
    name : str
        What an error calls it.
    threads : int
        Threads within an operation.

    Raises
    ------
    VerificationError
        If onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common type
        raise VerificationError(f"{name} cannot be read: {error}") from error

    def run(inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: inputs.numpy()})[0])

    return run
