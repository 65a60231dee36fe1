from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from autoprune.core.config import TaskConfig
from autoprune.core.errors import TaskError
from autoprune.training.doctor import examine
from tests.data.conftest import idx_bytes


def test_everything_a_search_rests_on_is_there(tmp_path: Path) -> None:
    found = examine(TaskConfig(data="digits", model="mlp"), tmp_path / "home" / "deep", "cpu")
    assert found["versions"]["torch"] == version("torch")
    assert found["machine"]["device"] == "cpu"
    assert found["machine"]["gpu"] is None
    assert found["machine"]["free_disk_bytes"] > 0
    assert found["data"]["digits"] == "comes with scikit-learn"
    assert found["task"]["prunable"] == 50_200
    assert found["task"]["macs"] == 50_200
    assert [layer["weights"] for layer in found["layers"]] == [19_200, 30_000, 1_000]
    assert found["task"]["warnings"] == []
    assert [group["units"] for group in found["groups"]] == [300, 100]
    reach = {row["kind"]: row for row in found["removable"]}
    kinds = ["weights", "units", "low_rank", "units read by one layer", "units in multiples of 8"]
    assert list(reach) == kinds
    # Fewer than 8 units are multiples of 8, too, where an eighth of the group is as many: 8 each.
    assert reach["units in multiples of 8"]["sparsity"] == pytest.approx(
        1 - (64 * 8 + 8 * 8 + 8 * 10) / 50_200
    )
    # One unit of each layer stays: 64 + 1 + 10 of 50,200 weights, each multiplied once.
    assert reach["units"]["sparsity"] == pytest.approx(1 - 75 / 50_200)
    assert reach["units"]["macs_removed"] == pytest.approx(1 - 75 / 50_200)
    # Rank 1: 64 + 300 and 300 + 100; the classifier stays whole.
    assert reach["low_rank"]["macs_removed"] == pytest.approx(1 - 1764 / 50_200)
    assert reach["weights"] == {"kind": "weights", "sparsity": None, "macs_removed": 0.0}
    assert "latency" not in found
    assert not (tmp_path / "home").exists()
    json.dumps(found, allow_nan=False)


def test_data_is_found_without_being_read(tmp_path: Path) -> None:

    for stem in ("train", "t10k"):
        # Truncated files: whoever read them would complain.
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros(3, np.uint8))[:5])
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(b"")
    found = examine(TaskConfig(data="digits", data_dir=str(tmp_path)), tmp_path, "cpu")["data"]
    assert found["fashion_mnist"] == str(tmp_path)
    assert found["cifar10"].startswith("missing: unpack the Python version")
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in ("test_batch", "batches.meta", *(f"data_batch_{n}" for n in range(1, 6))):
        (batches / name).write_bytes(b"")
    again = examine(TaskConfig(data="digits", data_dir=str(tmp_path)), tmp_path, "cpu")["data"]
    assert again["cifar10"] == str(batches)
    assert again["cifar100"].startswith("missing: ")


def test_what_methods_will_miss_is_said(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 2))

def train_data():
    return torch.randn(60, 4), torch.arange(60) % 2

def val_data():
    return torch.randn(20, 4), torch.arange(20) % 2
"""
    )
    warnings = examine(TaskConfig(task_file=str(file)), tmp_path, "cpu")["task"]["warnings"]
    assert "no ReLU in the model: method ap does not apply" in warnings
    # 32 + 16 of 32 + 8 + 16 + 16 + 2 = 74 parameters are prunable: 35 % are not.
    assert any(warning.startswith("35% of the parameters") for warning in warnings)


def test_a_task_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError):
        examine(TaskConfig(task_file=str(tmp_path / "missing.py")), tmp_path, "cpu")


def test_it_needs_no_ray_or_mlflow() -> None:
    code = "import sys, autoprune.training.doctor; print({'ray', 'mlflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
