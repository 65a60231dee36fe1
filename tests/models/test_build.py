from __future__ import annotations

import pytest
import torch

from autoprune.core.errors import ConfigError, UnknownNameError
from autoprune.core.seeds import global_stream
from autoprune.metrics.layers import prunable_layers
from autoprune.metrics.macs import count_macs
from autoprune.metrics.params import count_params
from autoprune.models.build import build_model
from autoprune.models.registry import MODELS

# Worked by hand. mlp: 64*300 + 300*100 + 100*10; lenet300: 784*300 + 30,000 + 1,000.
# conv2: 9*(3*64 + 64*64) = 38,592, then 64*16*16*256 + 256*256 + 256*10 = 4,262,400.
# conv4 adds 9*(64*128 + 128*128); conv6 adds 9*(128*256 + 256*256) to that.
# resnet: 9*(3*16 + 2n*16*16 + 16*32 + (2n-1)*32*32 + 32*64 + (2n-1)*64*64) + 640.
# vgg16_bn: 9*(3*64 + 64^2 + 64*128 + 128^2 + 128*256 + 2*256^2 + 256*512 + 5*512^2) + 5,120.
# MACs: each 3x3 weight once per output pixel.
GOLDEN = {
    "mlp": ((1, 8, 8), 50_200, 50_610, 50_200),
    "lenet300": ((1, 28, 28), 266_200, 266_610, 266_200),
    "conv2": ((3, 32, 32), 4_300_992, 4_301_642, 43_780_608),
    "conv4": ((3, 32, 32), 2_425_024, 2_425_930, 98_306_560),
    "conv6": ((3, 32, 32), 2_261_184, 2_262_602, 153_881_088),
    "resnet20": ((3, 32, 32), 268_336, 269_722, 40_551_040),
    "resnet32": ((3, 32, 32), 461_872, 464_154, 68_862_592),
    "resnet56": ((3, 32, 32), 848_944, 853_018, 125_485_696),
    "vgg16_bn": ((3, 32, 32), 14_715_584, 14_724_042, 313_201_664),
}


def build(name: str, shape: tuple[int, ...], classes: int = 10, width: float = 1.0):
    with global_stream(0, "init"):
        return build_model(name, classes, shape, width)


@pytest.mark.parametrize("name", GOLDEN)
def test_weights_parameters_and_macs(name: str) -> None:
    shape, prunable, params, macs = GOLDEN[name]
    model, example = build(name, shape), torch.zeros(1, *shape)
    layers = prunable_layers(model, example)
    assert sum(layer.num_weights for layer in layers) == prunable
    assert count_params(model) == params
    assert count_macs(model, example) == macs
    assert sum(layer.macs for layer in layers) == macs


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("shape", [(1, 8, 8), (2, 9, 11), (4, 33, 40)])
@pytest.mark.parametrize("width", [0.05, 0.5])
def test_any_channels_size_classes_and_width(
    name: str, shape: tuple[int, ...], width: float
) -> None:
    model = build(name, shape, 7, width)
    outputs = model(torch.ones(3, *shape))
    assert outputs.shape == (3, 7)
    outputs.sum().backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    assert all(gradient is not None for gradient in gradients)


def test_width_scales_the_channels() -> None:
    assert build("resnet20", (3, 32, 32), width=0.5).layer3[0].conv1.weight.shape == (32, 16, 3, 3)
    assert build("mlp", (1, 8, 8), width=2.0).fc2.weight.shape == (200, 600)


def test_option_a_subsamples_and_pads_both_sides() -> None:
    block = build("resnet20", (3, 32, 32)).layer2[0]
    inputs = torch.arange(16 * 16.0).reshape(1, 16, 4, 4)
    found = block.shortcut(inputs)
    assert found.shape == (1, 32, 2, 2)
    assert torch.equal(found[:, 8:24], inputs[:, :, ::2, ::2])
    assert found[:, :8].abs().sum() == 0
    assert found[:, 24:].abs().sum() == 0
    assert not list(block.shortcut.parameters())


def test_initial_weights_have_their_rules_deviation() -> None:
    dense = build("lenet300", (1, 28, 28)).fc1.weight
    # Glorot: sqrt(2 / (784 + 300)) = 0.04295; 235,200 draws leave a relative error of 0.15 %.
    assert dense.std().item() == pytest.approx(0.04295, rel=0.01)
    conv = build("resnet20", (3, 32, 32)).layer3[1].conv1.weight
    # He: sqrt(2 / (9 * 64)) = 0.05893; 36,864 draws: 0.4 %.
    assert conv.std().item() == pytest.approx(0.05893, rel=0.02)


@pytest.mark.parametrize("name", ["resnet10t", "mnasnet0_5"])
def test_timm_and_torchvision_models_by_name(name: str) -> None:
    shape = (3, 32, 32)
    assert build(name, shape, 5).eval()(torch.zeros(2, *shape)).shape == (2, 5)


def test_timm_takes_channels_and_the_image_size() -> None:
    model = build("vit_tiny_patch16_224", (1, 32, 32), 4)
    assert model.eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


def test_an_unknown_name_gets_a_suggestion_from_all_three() -> None:
    near = {
        "lenet30": "lenet300",
        "vit_tny_patch16_224": "vit_tiny_patch16_224",
        "mnasnet05": "mnasnet0_5",
    }
    for name, known in near.items():
        with pytest.raises(UnknownNameError, match=f"did you mean '{known}'"):
            build_model(name, 10, (3, 32, 32))


def test_width_is_for_our_own_models() -> None:
    with pytest.raises(ConfigError, match=r"task\.width"):
        build_model("resnet18", 10, (3, 32, 32), 0.5)
