"""Whether a model has ReLUs is read off what runs, not off its modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.core.config import TaskConfig
from autoprune.training.task import load_task

TASK = """
import torch
from torch import nn
from torch.nn import functional as F

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(16, 8), nn.Linear(8, 3)
        self.unused = nn.ReLU()
        self.act = {act}

    def forward(self, x):
        return self.last(self.act(self.first(x.flatten(1))))

model = Model

def train_data():
    return torch.arange(24 * 16).float().reshape(24, 1, 4, 4), torch.arange(24) % 3

val_data = train_data
"""


@pytest.mark.parametrize(
    ("act", "relu"),
    [
        ("nn.ReLU()", True),
        ("nn.ReLU6(inplace=True)", True),
        ("F.relu", True),
        ("lambda x: F.relu(x, inplace=True)", True),
        ("torch.relu", True),
        ("lambda x: x.relu()", True),
        (
            "nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation='relu')",
            True,
        ),
        (
            "nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation='gelu')",
            False,
        ),
        ("nn.GELU()", False),
        ("F.gelu", False),
        ("nn.Hardtanh()", False),
        ("torch.tanh", False),
    ],
)
def test_a_relu_is_one_that_runs(act: str, relu: bool, tmp_path: Path) -> None:
    path = tmp_path / "task.py"
    path.write_text(TASK.replace("{act}", act))
    assert load_task(TaskConfig(task_file=str(path))).info.has_relu is relu
