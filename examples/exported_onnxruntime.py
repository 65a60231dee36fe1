"""Use an exported folder where AutoPrune is not installed: numpy and onnxruntime are enough.

Give it a folder of `autoprune export` and a `.npy` file of raw inputs `(N, C, H, W)`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def load(folder: Path) -> tuple[onnxruntime.InferenceSession, dict]:
    plan = json.loads((folder / "plan.json").read_text())
    return onnxruntime.InferenceSession(folder / "model.onnx"), plan


def classify(folder: Path, raw: np.ndarray) -> list[str]:
    session, plan = load(folder)
    recipe = plan["preprocessing"]
    mean, std = (np.reshape(recipe[name], (-1, 1, 1)) for name in ("mean", "std"))
    inputs = ((raw * recipe["scale"] - mean) / std).astype(np.float32)
    (logits,) = session.run(None, {session.get_inputs()[0].name: inputs})
    return [plan["classes"][number] for number in logits.argmax(axis=1)]


if __name__ == "__main__":
    for name in classify(Path(sys.argv[1]), np.load(sys.argv[2])):
        print(name)
