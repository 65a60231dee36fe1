from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.layers.attention import Attention
from torch import Tensor, nn

from autoprune.metrics.layers import prunable_layers
from autoprune.models.build import build_model
from autoprune.pruning import anatomy as anatomy_module
from autoprune.pruning.anatomy import UNTRACED, anatomy
from autoprune.pruning.groups import GroupReport


def look(model: nn.Module, *shape: int) -> dict[str, Any]:
    return anatomy(model, prunable_layers(model, torch.zeros(2, *shape)), shape)


class Wrapper(nn.Module):
    """Attention whose projection is a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads = 2
        self.qkv = nn.Parameter(torch.randn(8, 24))
        self.out = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (x @ self.qkv).chunk(3, dim=-1)
        return self.out(nn.functional.scaled_dot_product_attention(q, k, v))


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.own = Wrapper()
        self.torchs = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.own(x)
        return self.head(self.torchs(x, x, x)[0].mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.two.weight = self.one.weight
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.two(torch.relu(self.one(x)))))


def test_a_plain_net_comes_apart_whole() -> None:
    found = look(build_model("mlp", 10, (1, 8, 8), 1.0), 1, 8, 8)
    groups = found["groups"]
    assert [g["units"] for g in groups] == [300, 100]
    assert [len(g["make"]) for g in groups] == [1, 1]
    assert groups[0]["read"] == groups[1]["make"]  # the second layer reads the first
    assert list(found["units_stay"].values()) == ["they are outputs of the model"]
    assert found["not_prunable"] == [{"what": "biases", "params": 410}]
    assert (found["tied"], found["attention"]) == ([], [])


def test_attention_that_hides_its_weights_is_not_understood() -> None:
    found = look(Attending(), 5, 8)
    own, torchs = found["attention"]
    assert (own["name"], own["heads"], own["understood"]) == ("own", 2, False)
    assert "own.qkv" in own["note"]
    assert (torchs["type"], torchs["understood"]) == ("MultiheadAttention", True)
    assert {"what": "own.qkv (Wrapper)", "params": 192} in found["not_prunable"]
    stays = found["units_stay"]
    assert stays["torchs.in_proj_weight"] == "attention's projections keep their shape"
    assert "head.weight" in stays


def test_heads_that_can_go_are_told_from_those_that_stay() -> None:
    torchs = look(Attending(), 5, 8)["attention"][1]
    assert torchs["note"].startswith("single weights can go; heads stay: they are heads of torchs")
    model = nn.Sequential(Attention(6, num_heads=3), nn.Flatten(), nn.Linear(24, 2))
    assert look(model, 4, 6)["attention"][0]["note"] == "single weights and whole heads can go"


def test_tied_weights_are_listed_together() -> None:
    found = look(Tied(), 6)
    assert found["tied"] == [["one.weight", "two.weight"]]
    assert {"what": "norms", "params": 12} in found["not_prunable"]


def test_a_net_that_cannot_be_traced_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy_module, "inspect_groups", lambda model, example: GroupReport())
    found = look(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), 4)
    assert found["groups"] == []
    assert found["units_stay"] == {"0.weight": UNTRACED, "1.weight": UNTRACED}


def test_layers_of_a_group_stand_in_the_model_s_order() -> None:
    groups = look(build_model("resnet20", 10, (1, 8, 8), 0.25), 1, 8, 8)["groups"]
    made = {group["name"]: group["make"][0] for group in groups}
    for stem in ("conv1", "layer2.0.conv2", "layer3.0.conv2"):  # what they are told apart by
        assert made[f"{stem}.weight"] == stem
