"""A task file: a small timm model on a folder of images, one subfolder per class.

`autoprune doctor --task examples/task_timm_folder.py` checks it, `autoprune search --task ...`
searches on it. The images are those `run_task_timm_folder.py` makes; put your own there instead.
"""

from __future__ import annotations

import os
from pathlib import Path

import timm
from torch import nn
from torchvision import transforms
from torchvision.datasets import ImageFolder

IMAGES = Path(os.environ.get("TASK_IMAGES", "digit-images"))
CLASSES = 4

to_bytes = transforms.Compose([transforms.Resize(32), transforms.PILToTensor()])


def model() -> nn.Module:
    return timm.create_model("test_resnet", num_classes=CLASSES)


def train_data() -> ImageFolder:
    return ImageFolder(IMAGES / "train", to_bytes)


def val_data() -> ImageFolder:
    return ImageFolder(IMAGES / "val", to_bytes)
