"""Whole attention heads: what they own, what is patched, and what is refused by name."""

from __future__ import annotations

import json

import pytest
import torch
from timm.layers.attention import Attention, AttentionRope
from torch import nn

from autoprune.metrics.layers import prunable_layers
from autoprune.pruning.accounting import account
from autoprune.pruning.compact import apply_plan, compact, compact_plan
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.groups import inspect_groups
from autoprune.pruning.masks import dense_masks
from autoprune.pruning.reach import find_reach, find_units
from autoprune.pruning.registry import ALLOCATIONS, SCORES
from autoprune.pruning.view import ModelView
from autoprune.testing.nets import settle

SHAPE = (2, 4, 6)


class Block(nn.Module):
    """Reads tokens of 6 channels, and gives their mean two classes."""

    def __init__(self, attention):
        super().__init__()
        self.norm, self.attn, self.head = nn.LayerNorm(6), attention, nn.Linear(6, 2)

    def forward(self, x):
        return self.head((x + self.attn(self.norm(x))).mean(1))


def block(kind=Attention, dim=6, num_heads=3, **options):
    return settle(Block(kind(dim, num_heads=num_heads, **options))).eval()


def heads_of(model):
    report = inspect_groups(model, torch.zeros(SHAPE))
    return next((g for g in report.groups if g.counters), None), report


def test_a_head_owns_its_rows_of_q_k_and_v_and_its_columns_behind():
    group, report = heads_of(block(qkv_bias=True))
    assert (group.name, group.num_units) == ("attn.qkv.weight", 3)
    # 3 heads of 2: q lies in rows 0 to 5, k in 6 to 11, v in 12 to 17.
    rows = ((0, 1, 6, 7, 12, 13), (2, 3, 8, 9, 14, 15), (4, 5, 10, 11, 16, 17))
    columns = ((0, 1), (2, 3), (4, 5))
    assert [(m.name, m.dim, m.role, m.index, m.size) for m in group.members] == [
        ("attn.qkv.weight", 0, "out", rows, 18),
        ("attn.qkv.bias", 0, "out", rows, 18),
        ("attn.proj.weight", 1, "in", columns, 6),
    ]
    assert report.left_out["head.weight"] == "they are outputs of the model"
    assert "differs" in report.left_out["attn.proj.weight"]  # it is added to the input


def masked_and_slim(model, flags):
    group, report = heads_of(model)
    model.double()
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    view = ModelView(weights, dense_masks(weights), groups=report.groups)
    granularity = ChannelGranularity()
    scores = {g.name: torch.ones(g.num_units) for g in report.groups} | {group.name: flags.double()}
    keep = {g.name: g.num_units for g in report.groups} | {group.name: int(flags.sum())}
    masks = granularity.select(granularity.pool(scores, view), keep, view)
    with torch.no_grad():
        for name, mask in masks.masks.items():
            model.get_parameter(name).mul_(mask)
    units = {name: value.int().tolist() for name, value in masks.units.items()}
    return masks, compact(model, units, {}, report.groups), units, report.groups


VARIANTS = {
    "plain": {},
    "bias": {"qkv_bias": True},
    "normed": {"qkv_bias": True, "qk_norm": True, "norm_layer": nn.LayerNorm},
    "gated": {"qkv_bias": True, "gated": True},
    "other width": {"attn_head_dim": 5, "qkv_bias": True},
    "three layers": {"kind": AttentionRope, "qkv_fused": False},
    "one layer": {"kind": AttentionRope},
}


@pytest.mark.parametrize("flags", [(1, 0, 1), (0, 1, 0)])
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("fused", [True, False])
def test_removal_equals_masking_and_a_plan_rebuilds_it(name, flags, fused):
    model = block(**VARIANTS[name])
    model.attn.fused_attn = fused
    _, slim, _, _ = masked_and_slim(model, torch.tensor(flags))
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        expected, got = model(x), slim(x)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)  # the same sums in float64
    width = model.attn.head_dim
    assert (slim.attn.num_heads, slim.attn.attn_dim) == (sum(flags), sum(flags) * width)
    assert (slim.attn.head_dim, slim.attn.scale) == (width, model.attn.scale)
    assert slim.attn.proj.weight.shape == (6, sum(flags) * width)
    plan = json.loads(json.dumps(compact_plan(model, slim)))
    dense = block(**VARIANTS[name]).double()
    dense.attn.fused_attn = fused
    again = apply_plan(dense, plan)
    again.load_state_dict(slim.state_dict())
    with torch.no_grad():
        assert torch.equal(again(x), got)
    assert dense.attn.num_heads == model.attn.num_heads == 3


def test_heads_are_counted_as_the_weights_they_hold():
    model = block(qkv_bias=True)
    layers = prunable_layers(model, torch.zeros(1, *SHAPE[1:]))
    masks, slim, units, groups = masked_and_slim(model, torch.tensor([1, 0, 1]))
    # Of 108 weights of qkv and 36 of proj a third; the 12 of the head stay.
    assert int(masks.masks["attn.qkv.weight"].sum()) == 72
    assert int(masks.masks["attn.qkv.bias"].sum()) == 12
    assert int(masks.masks["attn.proj.weight"].sum()) == 24
    example = torch.zeros(1, *SHAPE[1:], dtype=torch.float64)
    found = account(model, masks.masks, units, {}, groups, layers, example)
    assert found["sparsity"] == pytest.approx(48 / 156)
    assert found["layers"]["attn.qkv.weight"] == pytest.approx(2 / 3)
    assert found["params"] == sum(p.numel() for p in slim.parameters())
    # A single head in each is the reach: 96 of 156 weights go.
    model = block(qkv_bias=True)
    reach = find_reach(model, layers, find_units(model, layers, SHAPE[1:]))
    assert reach["units"] == pytest.approx(96 / 156)


def test_the_sparsity_that_is_asked_for_is_reached_with_whole_heads():
    model = block(qkv_bias=True)
    _, report = heads_of(model)
    weights = {n: p.detach() for n, p in model.named_parameters() if p.dim() > 1}
    view = ModelView(weights, dense_masks(weights), groups=report.groups)
    granularity, allocate = ChannelGranularity(), ALLOCATIONS.get("global")
    pooled = granularity.pool(SCORES.get("filter_l1")()(view), view)
    assert pooled["attn.qkv.weight"].weights_per_unit == 6 * 6 + 2 * 6
    # Two of three heads are 96 of 156 weights, one is 48.
    counts = {s: granularity.kept_count(pooled, s, allocate, view) for s in (0.0, 0.3, 0.6)}
    assert counts == {0.0: 3, 0.3: 2, 0.6: 1}


class Table(Attention):
    """Adds a bias of its own to each head's scores."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.bias_table = nn.Parameter(torch.zeros(3))


class Interleaved(Attention):
    """Holds q, k and v of a head side by side, which nothing but its forward tells."""

    def forward(self, x):
        tokens = x.shape[:2]
        qkv = self.qkv(x).reshape(*tokens, self.num_heads, 3, self.head_dim)
        q, k, v = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(*tokens, self.attn_dim))


class Torch(nn.MultiheadAttention):
    def __init__(self, dim, num_heads):
        super().__init__(dim, num_heads, batch_first=True)

    def forward(self, x):
        return super().forward(x, x, x, need_weights=False)[0]


class Unstated(Attention):
    """Knows only the number of its heads."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        del self.head_dim

    def forward(self, x):
        tokens, width = x.shape[:2], self.qkv.out_features // 3 // self.num_heads
        qkv = self.qkv(x).reshape(*tokens, 3, self.num_heads, width).permute(2, 0, 3, 1, 4)
        x = nn.functional.scaled_dot_product_attention(*qkv.unbind(0))
        return self.proj(x.transpose(1, 2).reshape(*tokens, self.attn_dim))


@pytest.mark.parametrize(
    ("options", "name", "reason"),
    [
        ({"num_heads": 1}, "qkv.weight", "attn (Attention): there is only one"),
        ({"kind": Table}, "qkv.weight", "attn (Table): its bias_table may belong to single heads"),
        ({"kind": Interleaved}, "qkv.weight", "differs from the masked model"),
        ({"kind": Unstated}, "qkv.weight", "does not store the width of a head as head_dim"),
        ({"kind": Torch}, "in_proj_weight", "attn (Torch): torch ties the width of all heads"),
        (
            {"scale_norm": True, "norm_layer": nn.LayerNorm},
            "qkv.weight",
            "its norm.weight may belong to single heads",
        ),
        (
            {"kind": AttentionRope, "dim": 6, "num_kv_heads": 1, "qkv_fused": False},
            "k_proj.weight",
            "its layers are not those of 3 heads of 2",
        ),
    ],
)
def test_an_attention_that_is_not_understood_stays_whole_and_says_why(options, name, reason):
    group, report = heads_of(block(**options))
    assert group is None
    assert reason in report.left_out[f"attn.{name}"]


def test_a_norm_over_all_heads_is_refused():
    model = block(qk_norm=True, norm_layer=nn.LayerNorm)
    model.attn.q_norm = nn.LayerNorm(6)
    model.attn.forward = lambda x: x
    assert "its q_norm spans all heads" in heads_of(model)[1].left_out["attn.qkv.weight"]


def test_layers_that_do_not_know_heads_are_refused():
    model = block()
    model.attn.kernel = nn.Conv1d(2, 2, 1)
    model.attn.qkv = nn.Identity()
    model.attn.forward = lambda x: x
    reason = heads_of(model)[1].left_out["attn.kernel.weight"]
    assert "its layers are not qkv (or q, k and v) and one that reads the heads" in reason
