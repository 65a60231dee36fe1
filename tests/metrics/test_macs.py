from __future__ import annotations

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn

from autoprune.metrics.layers import prunable_layers, prunable_parameters
from autoprune.metrics.macs import count_macs, layer_macs
from autoprune.models.build import build_model


class Attention(nn.Module):
    """One attention over five tokens of eight features, keys and values of four."""

    def __init__(self, same: bool) -> None:
        super().__init__()
        sizes = {} if same else {"kdim": 4, "vdim": 4}
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **sizes)
        self.same = same

    def forward(self, inputs: Tensor) -> Tensor:
        other = inputs if self.same else inputs[:, :3, :4]
        return self.attention(value=other, key=other, query=inputs)[0]


def test_attention_by_hand() -> None:
    model, example = Attention(same=True), torch.zeros(3, 5, 8)
    # In-projection: 5 tokens x 24 x 8; out: 5 x 8 x 8; products: 2 x 5 x 5 x 8.
    assert layer_macs(model, example) == {
        "attention.in_proj_weight": 960,
        "attention.out_proj.weight": 320,
    }
    assert count_macs(model, example) == 960 + 320 + 400


def test_attention_with_other_keys_by_hand() -> None:
    model, example = Attention(same=False), torch.zeros(2, 5, 8)
    # Queries: 5 x 8 x 8; keys and values: 3 x 8 x 4 each; products: 2 x 5 x 3 x 8.
    assert layer_macs(model, example) == {
        "attention.q_proj_weight": 320,
        "attention.k_proj_weight": 96,
        "attention.v_proj_weight": 96,
        "attention.out_proj.weight": 320,
    }
    assert count_macs(model, example) == 320 + 96 + 96 + 320 + 240
    kinds, _ = prunable_parameters(model)
    assert list(kinds.values()) == ["attention"] * 3 + ["linear"]


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 8, 8), 6 * 4 * 9 * 16),
        (nn.Conv2d(4, 8, 3, groups=4), (4, 8, 8), 8 * 1 * 9 * 36),
        (nn.Conv1d(3, 5, 2), (3, 7), 5 * 3 * 2 * 6),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 5, 5), 4 * 6 * 4 * 25),
        (nn.Linear(4, 6), (9, 4), 4 * 6 * 9),
    ],
)
@pytest.mark.parametrize("batch", [1, 3])
def test_layers_by_hand(layer: nn.Module, shape: tuple[int, ...], macs: int, batch: int) -> None:
    example = torch.zeros(batch, *shape)
    assert layer_macs(layer, example) == {"weight": macs}
    assert count_macs(layer, example) == macs


@pytest.mark.parametrize("name", ["lenet300", "conv4", "resnet20", "vgg16_bn", "resnet18"])
def test_three_counts_agree(name: str) -> None:
    model, example = build_model(name, 10, (3, 32, 32)).eval(), torch.zeros(1, 3, 32, 32)
    analysis = FlopCountAnalysis(model, example).unsupported_ops_warnings(False)
    by_operator = analysis.by_operator()
    counted = count_macs(model, example)
    # fvcore counts multiply-adds too; its norms and pools are left out.
    assert by_operator["conv"] + by_operator["linear"] == counted
    assert sum(layer_macs(model, example).values()) == counted


class Tied(nn.Module):
    """An embedding, a norm, and one matrix used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(3, 4)
        self.first = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.unused = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.second(self.norm(self.first(inputs)))


def test_tied_weights_count_once_and_norms_and_embeddings_not_at_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    layers = prunable_layers(Tied(), torch.zeros(2, 4))
    assert [(layer.name, layer.macs) for layer in layers] == [
        ("first.weight", 32),
        ("unused.weight", 0),
    ]
    assert "second.weight" in caplog.text
    assert prunable_parameters(Tied())[1] == ["second.weight"]


def test_counting_leaves_the_model_as_it_was() -> None:
    model = build_model("resnet20", 10, (3, 8, 8), 0.25)
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    prunable_layers(model, torch.rand(2, 3, 8, 8, generator=torch.Generator()))
    count_macs(model, torch.zeros(2, 3, 8, 8))
    assert modes == [module.training for module in model.modules()]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert torch.backends.mha.get_fastpath_enabled() is fast
