"""The README of an exported folder."""

from __future__ import annotations

from string import Template
from typing import Any

from autoprune.export.base import FileReport

_TEXT = Template("""\
# $model, pruned by AutoPrune

$summary

| file | bytes | what it is |
|---|---:|---|
$files
| plan.json | | architecture, what was removed, preprocessing, classes, where the model comes from |
| report.json | | sizes, accuracy, sparsity, speed, and what the proof compares with |
| sample.safetensors | | noise inputs and the outputs they must give |
| SHA256SUMS | | hashes of all other files: `sha256sum -c SHA256SUMS` |

Repeat the proof with `autoprune verify .`, classify images with `autoprune predict . FILE...`.

Inputs are float32 of shape `(N, $shape)`: `(pixels * $scale - mean) / std` with mean `$mean` and
std `$std` by channel. Outputs are logits, one per class, in the order of `classes` in plan.json.
""")

_ONNX = """
## model.onnx with plain onnxruntime

```python
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
inputs = np.zeros((1, $shape), np.float32)  # preprocessed as above
(logits,) = session.run(None, {"input": inputs})
print(logits.argmax(axis=1))
```
"""

_PT2 = """
## model.pt2 with plain torch

```python
import torch

model = torch.export.load("model.pt2").module()
logits = model(torch.zeros(1, $shape))  # preprocessed as above
```

Torch's loader unpickles what a file asks it to; this one holds no pickle, and `autoprune verify`
refuses one that does. Load only files whose origin you trust.
"""

_SAFETENSORS = """
## model.safetensors with torch and safetensors

A tensor with removed entries is stored as one bit per entry and the values that are left.

```python
import json
import math

import torch
from safetensors import safe_open


def load_weights(path):
    weights = {}
    with safe_open(path, "pt") as file:
        shapes = json.loads(file.metadata()["packed"])["shapes"]
        for name in file.keys():
            if not name.endswith(("::mask", "::values")):
                weights[name] = file.get_tensor(name)
        for name, shape in shapes.items():
            bits = file.get_tensor(name + "::mask")[:, None] >> torch.arange(8, dtype=torch.uint8)
            keep = (bits & 1).flatten()[: math.prod(shape)].bool()
            weights[name] = torch.zeros(keep.numel())
            weights[name][keep] = file.get_tensor(name + "::values")
            weights[name] = weights[name].reshape(shape)
    return weights
```
"""

_SMALLER = """
`compact` in plan.json says how the model differs from the dense one. $changes
"""

_TENSORS = """`tensors` are the parameters and \
buffers that lost channels, neurons or heads, with their new shapes."""

_RANKS = """`ranks` are the layers that became two, an `nn.Sequential` of a first layer with \
as many outputs as the rank (no bias) and a second that brings them back to the layer's outputs \
(1x1 where it was a convolution): of layer `conv` the weights are `conv.0.weight` and \
`conv.1.weight`."""

_ATTRIBUTES = """`attributes` are integers of modules that take new values, such as `num_heads`."""

_REBUILD = """
The architecture is AutoPrune's or a public one by name; this builds it as plan.json says:

```python
from autoprune.export.load import load_model

model = load_model(".")
```
"""

_TASK_FILE = """
The architecture is the one in $file, with the shapes in plan.json's `compact`.
"""


_CHANGES = {"tensors": _TENSORS, "ranks": _RANKS, "attributes": _ATTRIBUTES}


def readme(plan: dict[str, Any], report: dict[str, Any], files: list[FileReport]) -> str:
    """Write what is in the folder and how to use each file."""
    names = {file.name for file in files}
    architecture, preprocessing = plan["architecture"], plan["preprocessing"]
    own = architecture["kind"] == "registry"
    parts = [_TEXT.template]
    parts += [_ONNX] if "model.onnx" in names else []
    parts += [_PT2] if "model.pt2" in names else []
    if "model.safetensors" in names:
        parts += [_SAFETENSORS, _REBUILD if own else _TASK_FILE]
        parts += [_SMALLER] if any(plan["compact"].values()) else []
    accuracy = ", ".join(f"{k} {v:.4f}" for k, v in report["own"].items())
    return Template("".join(parts)).substitute(
        model=architecture.get("model") or architecture["file"],
        file=architecture.get("file", ""),
        changes=" ".join(text for key, text in _CHANGES.items() if plan["compact"].get(key)),
        summary=f"{report['sparsity']:.2%} of the prunable weights are removed; {accuracy}.",
        files="\n".join(f"| {f.name} | {f.size_bytes} | {f.note} |" for f in files),
        shape=", ".join(map(str, plan["input_shape"])),
        **{key: preprocessing[key] for key in ("scale", "mean", "std")},
    )
