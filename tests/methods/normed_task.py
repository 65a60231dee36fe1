"""A task file: digits, and a small net with batch norms."""

from __future__ import annotations

import torch
from sklearn.datasets import load_digits
from torch import nn

digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(digits.target)


def model():
    """Weights 144 + 4,608 + 1,280 = 6,032."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def train_data():
    return images[:1200], labels[:1200]


def val_data():
    return images[1200:1500], labels[1200:1500]


def test_data():
    return images[1500:], labels[1500:]
