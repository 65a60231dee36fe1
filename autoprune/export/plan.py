"""``plan.json``: what the model is, so that it can be rebuilt, fed and traced back."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from autoprune.core.canonical import plain
from autoprune.core.errors import VerificationError
from autoprune.core.seeds import global_stream
from autoprune.models.build import build_model
from autoprune.pruning.compact import apply_plan, compact_plan
from autoprune.pruning.packing import Packed

if TYPE_CHECKING:
    from autoprune.core.records import Job
    from autoprune.trial.context import WorkerContext

VERSION = 1
_PACKAGES = ("autoprune", "torch", "onnx", "onnxruntime", "safetensors")


def make_plan(
    job: Job, context: WorkerContext, slim: nn.Module, *, study: str | None, final_key: str
) -> dict[str, Any]:
    """Describe an exported model.

    Parameters
    ----------
    slim : nn.Module
        The compact model.
    study : str or None
        The study it comes from.
    final_key : str
        The stage store's key of the state.
    """
    task, data = job.config.task, context.task.data
    config = plain(job.config)
    for place in ("data_dir", "task_file", "checkpoint"):  # folders of this machine mean nothing
        config["task"][place] = config["task"][place] and Path(config["task"][place]).name
    return {
        "version": VERSION,
        "architecture": _architecture(job, context),
        "compact": compact_plan(context.task.build_model(0), slim),
        "layers": {layer.name: list(layer.shape) for layer in context.task.info.layers},
        "input_shape": list(data.input_shape),
        "preprocessing": data.preprocessing,
        "classes": data.classes,
        "lineage": {
            "study": study,
            "trial": job.trial,
            "config": config,
            "seed": job.seed,
            "epochs": job.epochs,
            "purpose": job.purpose,
            "final_key": final_key,
            "data": task.data,
            "fingerprint": data.fingerprint,
            "packages": {name: version(name) for name in _PACKAGES},
        },
    }


def _architecture(job: Job, context: WorkerContext) -> dict[str, Any]:
    task, info = job.config.task, context.task.info
    if task.task_file is not None:
        name = Path(task.task_file).name
        return {"kind": "task_file", "file": name, "sha256": task.task_sha256}
    return {
        "kind": "registry",
        "model": task.model,
        "width": task.width,
        "num_classes": info.num_classes,
        "input_shape": list(info.input_shape),
    }


def rebuild(plan: dict[str, Any], packed: Packed) -> nn.Module:
    """Build the compact model of a plan in eval mode.

    Raises
    ------
    VerificationError
        If the architecture is a user's own, or the weights do not fit it.
    """
    architecture = plan["architecture"]
    if architecture["kind"] != "registry":
        raise VerificationError(
            f"the architecture is defined in {architecture['file']}: run model.onnx or model.pt2"
        )
    with global_stream(0, "rebuild"):  # the weights it draws are replaced
        dense = build_model(
            architecture["model"],
            architecture["num_classes"],
            tuple(architecture["input_shape"]),
            architecture["width"],
        )
    slim = apply_plan(dense, plan["compact"])
    try:
        slim.load_state_dict(packed.weights)
    except RuntimeError as error:
        raise VerificationError(f"the weights do not fit the plan: {error}") from error
    return slim.eval()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of an export.

    Raises
    ------
    VerificationError
        If it is missing or malformed.
    """
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise VerificationError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise VerificationError(f"{path} must hold a JSON object")
    return content
