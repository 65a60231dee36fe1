"""Prune weights that were trained elsewhere: no dense training, the checkpoint is the start."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from autoprune.data.assemble import load_data
from autoprune.models.build import build_model
from autoprune.search.single import SingleRun, build_config


def train_elsewhere(path: Path) -> None:
    """Stand in for your own training script, which knows nothing of AutoPrune."""
    data = load_data("digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = build_model("mlp", data.num_classes, data.input_shape)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(10):
            for inputs, targets in data.train.batches(64, order=torch.randperm(data.train.size)):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs), targets).backward()
                optimizer.step()
    save_file(model.state_dict(), path)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "model.safetensors"
    train_elsewhere(checkpoint)
    given = dict.fromkeys(("data", "model", "task_file", "data_dir", "allocation", "lr"))
    config, top = build_config(
        {**given, "method": "imp", "sparsity": 0.9, "of": "weights", "checkpoint": checkpoint},
        {"rounds": 2, "lr.peak": 0.05},
    )
    result = SingleRun(config, top, home=folder / "autoprune-home").run(epochs=4)
    metrics = result.metrics
    print(f"given {metrics['dense_val_accuracy']:.3f}, at 90 % {metrics['val_accuracy']:.3f}")
    print(f"{result.epochs_trained:.0f} epochs, all of them retraining")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
