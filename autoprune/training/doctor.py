"""What `autoprune doctor` finds out: machine, versions, data and model."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from autoprune.core.config import TaskConfig
from autoprune.core.errors import DataError
from autoprune.core.records import TaskInfo
from autoprune.data.registry import DATA
from autoprune.training.probe import full_info
from autoprune.training.task import load_task

PACKAGES = (
    "autoprune", "torch", "torchvision", "timm", "optuna", "ray", "mlflow", "scikit-learn",
    "torch-pruning", "moocore", "safetensors", "onnx", "onnxruntime",
)  # fmt: skip


def examine(
    config: TaskConfig, home: Path, device: str, *, latency: bool = False
) -> dict[str, Any]:
    """Look at everything a search will rest on.

    Parameters
    ----------
    home : Path
        Its disk is looked at; it need not exist.
    device : str
        Resolved.
    latency : bool
        Also time the dense model in every runtime; making its ONNX file takes seconds.

    Returns
    -------
    dict
        ``versions, machine, data, task, layers``; the keys of `anatomy`; ``removable``: the
        greatest shares of weights and of multiply-adds that each kind of pruning removes;
        ``latency`` and ``latency_left_out``, see `RuntimeReport`.

    Raises
    ------
    BadInput
        If the task cannot be loaded; the message is the one a search would give.
    """
    from autoprune.pruning.anatomy import anatomy

    task = load_task(config)
    info, model = full_info(task), task.build_model(0).eval()
    layers = [
        {**asdict(layer), "shape": list(layer.shape), "weights": layer.num_weights}
        for layer in info.layers
    ]
    return {
        "versions": {name: _version(name) for name in PACKAGES},
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "memory_bytes": psutil.virtual_memory().total,
            "free_disk_bytes": shutil.disk_usage(_existing(home)).free,
            "device": device,
            "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        },
        "data": {
            name: _found(name, config.data_dir)
            for name in ("digits", "fashion_mnist", "cifar10", "cifar100")
        },
        "task": {
            "data": config.task_file or config.data,
            "model": config.task_file or config.model,
            "input_shape": list(info.input_shape),
            "num_classes": info.num_classes,
            "num_train": info.num_train,
            "num_val": info.num_val,
            "num_test": info.num_test,
            "params": info.params,
            "prunable": info.num_prunable,
            "macs": info.macs,
            "reach": info.reach,
            "pretrained": info.pretrained,
            "warnings": [*info.warnings, *_advice(info)],
        },
        "layers": layers,
        **anatomy(model, info.layers, info.input_shape),
        "removable": _removable(info),
        **(_speed(model, info) if latency else {}),
    }


def _removable(info: TaskInfo) -> list[dict[str, Any]]:
    """Return how far each kind of pruning goes; single weights have no limit of the model's.

    Units down to one of each group, and in the multiples that methods keep to by default.
    """
    from autoprune.pruning.grain import ROUND_TO, Grain, greatest

    kinds = {"units": "units", "low_rank": "low_rank", "inner_channel": "units read by one layer"}
    rows = {
        "weights": (None, 0.0),
        **{kind: (info.reach[key], info.reach[f"{key}_macs"]) for key, kind in kinds.items()},
    }
    if info.units:
        rule = Grain(ROUND_TO)
        rows[f"units in multiples of {ROUND_TO}"] = (
            greatest(info.layers, info.units, rule),
            greatest(info.layers, info.units, rule, "macs", info.macs_elsewhere),
        )
    return [
        {"kind": kind, "sparsity": sparsity, "macs_removed": macs}
        for kind, (sparsity, macs) in rows.items()
    ]


def _speed(model: nn.Module, info: TaskInfo) -> dict[str, Any]:
    from autoprune.metrics.runtimes import side_by_side  # its graphs take a second to import

    report = side_by_side({"dense": model}, info.input_shape, onnx={})
    return {"latency": report.rows, "latency_left_out": report.left_out}


def _advice(info: TaskInfo) -> list[str]:
    advice = []
    if not info.has_relu:
        advice.append("no ReLU in the model: method ap does not apply")
    if info.reach["units"] == 0.0:
        advice.append("no removable channels were found: methods of kind units do not apply")
    if info.num_prunable < 0.9 * info.params:
        share = 1 - info.num_prunable / info.params
        advice.append(f"{share:.0%} of the parameters are not prunable (norms, biases, embeddings)")
    return advice


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _existing(path: Path) -> Path:
    path = path.resolve()
    return path if path.exists() else _existing(path.parent)


def _found(name: str, data_dir: str | None) -> str:
    """Say where a data set's files lie, without reading them, or how to get them."""
    source = DATA.get(name)
    if source.where is None:
        return source.remedy
    try:
        return str(source.where(Path(data_dir) if data_dir else None))
    except DataError as error:
        return f"missing: {error.remedy}"
