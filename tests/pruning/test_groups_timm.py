"""Model families of timm, in small: their units go without a trace, and come back from a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import pytest
import timm
import torch
from timm.models.densenet import DenseNet
from timm.models.mlp_mixer import MlpMixer
from timm.models.regnet import RegNet, RegNetCfg
from timm.models.vgg import VGG
from torch import nn

from autoprune.metrics.layers import prunable_parameters
from benchmarks.families import examine, main


@dataclass(frozen=True)
class Case:
    """A model, its groups of units, those of attention heads, and why other weights stay."""

    build: Callable[[], nn.Module]
    groups: int
    heads: int = 0
    reasons: tuple[str, ...] = ("they are outputs of the model",)


def named(name, **options):
    return partial(timm.create_model, name, num_classes=5, **options)


CHANNELS = (8, 16, 16, 24)
STAGES = {"layers": (1, 1, 1, 1), "channels": CHANNELS}
REGNET = RegNetCfg(depth=5, w0=8, wa=14, wm=2, group_size=4, se_ratio=0.25)
VIT = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 3}
SWIN = {"img_size": 32, "window_size": 2, "embed_dim": 16, "depths": (1, 1), "num_heads": (2, 4)}
UNDER_NORM = "which mixes or fixes them"
STREAM = ("they are outputs of the model", UNDER_NORM)
CASES = {
    # 4 streams, of which the first has the stem, and an inner convolution in each of 4 blocks.
    "resnet": Case(named("resnet18", **STAGES), 9),
    # Stem, 4 streams, and two sides of each grouped convolution.
    "resnext": Case(named("resnext50_32x4d", cardinality=4, base_width=16, **STAGES), 13),
    # Stem, two convolutions in each of 4 layers, and the transition.
    "densenet": Case(partial(DenseNet, 4, (2, 2), num_classes=5), 10),
    "mobilenetv2": Case(named("mobilenetv2_035"), 25),
    "mobilenetv3": Case(named("mobilenetv3_small_050"), 26),
    "efficientnet": Case(named("test_efficientnet"), 13),
    "regnety": Case(partial(RegNet, REGNET, num_classes=5), 20),
    "convnext": Case(named("convnext_atto", depths=(1, 1, 1, 1), dims=CHANNELS), 4, 0, STREAM),
    "vgg": Case(
        partial(VGG, [8, "M", 12, 12, "M"], 5, mlp_ratio=1 / 256, norm_layer=nn.BatchNorm2d), 5
    ),
    "vit": Case(named("vit_tiny_patch16_224", **VIT), 4, 2, STREAM),
    "deit": Case(named("deit_tiny_distilled_patch16_224", **VIT), 4, 2, STREAM),
    "mixer": Case(partial(MlpMixer, 5, 32, num_blocks=2, embed_dim=16), 4, 0, STREAM),
    "swin": Case(
        named("swin_tiny_patch4_window7_224", **SWIN),
        2,
        0,
        (*STREAM, "(WindowAttention): its relative_position_bias_table may belong to single heads"),
    ),
}


@cache
def examined(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return examine(CASES[name].build, (2, 3, 32, 32))


@pytest.mark.parametrize("name", CASES)
def test_half_of_all_units_go_without_a_trace(name):
    found = examined(name)
    # Both models sum the same products, but zeros, in float64.
    assert found.difference < 1e-9
    assert found.effect > 1e-3
    assert found.rebuilt
    assert found.counted
    assert found.holds


@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_made_of_units_or_says_why_not(name):
    case, report = CASES[name], examined(name).report
    heads = [group for group in report.groups if group.counters]
    assert (len(report.groups), len(heads)) == (case.groups, case.heads)
    owned = {m.name for group in report.groups for m in group.members if m.role == "out"}
    prunable = set(prunable_parameters(case.build())[0])
    assert prunable - owned == set(report.left_out)
    for why in case.reasons:
        assert any(why in reason for reason in report.left_out.values())
    assert all(any(why in reason for why in case.reasons) for reason in report.left_out.values())


def test_the_table_has_a_line_for_each_model(capsys):
    assert main(["test_resnet"]) == 0
    head, _, line = capsys.readouterr().out.strip().splitlines()
    assert head.count("|") == line.count("|") == 11
    assert "fc.weight: they are outputs of the model" in line
