from __future__ import annotations

import torch
from torch import nn

from autoprune.core.records import LayerInfo
from autoprune.metrics.params import count_nonzero, count_params, effective_macs


def test_parameters_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model[0].weight[0] = 0.0
    assert count_params(model) == 24  # 2 x (9 + 3)
    assert count_nonzero(model) == 21
    model[1].weight = model[0].weight
    assert count_params(model) == 15
    assert count_nonzero(model) == 12


def test_effective_macs_weigh_layers_by_density() -> None:
    layers = [LayerInfo("a", (2, 2), "linear", 100), LayerInfo("b", (2, 2), "linear", 10)]
    assert effective_macs(layers, {"a": 0.25}) == 35.0
