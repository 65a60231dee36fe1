"""ONNX: one self-contained file with a dynamic batch, run by onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from autoprune.core.errors import TaskError, VerificationError
from autoprune.export.base import FileReport, Runner, file_report, zeros_note
from autoprune.export.formats.graph import BATCH, capture

LIMIT_BYTES = 2**31 - 2**20
"""A protobuf message ends at 2 GiB; a little is left for the graph."""

INPUT, OUTPUT = "input", "logits"


class OnnxExporter:
    """Writes and reads ``.onnx``."""

    file_name = "model.onnx"
    needs_code = False

    def export(
        self, model: nn.Module, example: Tensor, path: Path, masks: Mapping[str, Tensor]
    ) -> FileReport:
        """Write the graph with its weights inside."""
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
            found = torch.onnx.export(
                program,
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
        if found is None:
            raise TaskError("model", "cannot be expressed in ONNX", remedy="leave out onnx")
        found.save(path, external_data=False)
        return file_report(path, zeros_note(masks))

    def load(self, path: Path) -> Runner:
        """Open a session on the CPU with as many threads as torch uses."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            session = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no common type
            raise VerificationError(f"{path.name} cannot be read: {error}") from error

        def run(inputs: Tensor) -> Tensor:
            return torch.from_numpy(session.run([OUTPUT], {INPUT: inputs.numpy()})[0])

        return run


ONNX = OnnxExporter()
