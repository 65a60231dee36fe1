"""Which units are found, and which are left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from autoprune.models.build import build_model
from autoprune.pruning import groups as groups_module
from autoprune.pruning.groups import find_groups, inspect_groups
from autoprune.testing.nets import settle, tiny_conv, tiny_mlp, tiny_resnet


def members(group):
    return {(m.name, m.dim, m.role) for m in group.members}


def test_every_hidden_layer_of_an_mlp_and_never_its_classes():
    groups = find_groups(tiny_mlp(), torch.zeros(2, 6))
    assert [(g.name, g.num_units) for g in groups] == [("0.weight", 5), ("2.weight", 4)]
    assert members(groups[0]) == {
        ("0.weight", 0, "out"),
        ("0.bias", 0, "out"),
        ("2.weight", 1, "in"),
    }


def test_a_flattened_channel_owns_all_its_positions_and_its_batch_norm():
    groups = {g.name: g for g in find_groups(tiny_conv(), torch.zeros(2, 1, 6, 6))}
    assert list(groups) == ["0.weight", "4.weight", "7.weight"]
    norm = {("1.weight", 0, "out"), ("1.bias", 0, "out")}
    statistics = {("1.running_mean", 0, "out"), ("1.running_var", 0, "out")}
    assert members(groups["0.weight"]) == {
        ("0.weight", 0, "out"),
        ("4.weight", 1, "in"),
        *norm,
        *statistics,
    }
    reader = next(m for m in groups["4.weight"].members if m.role == "in")
    assert reader.size == 24
    # Channel c of a map of 2 x 2 lies at 4 c ... 4 c + 3 of the flattened vector.
    assert reader.index == tuple(tuple(range(4 * c, 4 * c + 4)) for c in range(6))


def test_padded_shortcuts_leave_only_the_inner_convolutions():
    report = inspect_groups(tiny_resnet(), torch.zeros(2, 3, 8, 8))
    assert [g.name for g in report.groups] == ["3.conv1.weight", "4.conv1.weight", "5.conv1.weight"]
    assert report.left_out["8.weight"] == "they are outputs of the model"


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 1, 1)
        self.depthwise = nn.Conv2d(4, 4, 3, 1, 1, groups=4)
        self.point = nn.Conv2d(4, 4, 1)
        self.grouped = nn.Conv2d(4, 6, 1, groups=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.point(self.depthwise(x).relu())
        return self.head(self.grouped(x).mean((2, 3)))


def test_channels_at_one_position_of_all_groups_are_one_unit():
    report = inspect_groups(settle(Residual()), torch.zeros(2, 3, 5, 5))
    groups = {group.name: group for group in report.groups}
    assert {name: group.num_units for name, group in groups.items()} == {
        "stem.weight": 2,
        "grouped.weight": 3,
    }
    index = {(m.name, m.role): m.index for group in report.groups for m in group.members}
    # 2 groups of 2 channels are read, 2 groups of 3 are made.
    assert index["stem.weight", "out"] == index["depthwise.weight", "out"] == ((0, 2), (1, 3))
    assert index["grouped.weight", "in"] == ((0,), (1,))
    assert index["grouped.weight", "out"] == ((0, 3), (1, 4), (2, 5))
    assert index["head.weight", "in"] == ((0, 3), (1, 4), (2, 5))
    assert report.left_out == {"head.weight": "they are outputs of the model"}


class TwoWidths(nn.Module):
    """8 channels, read in groups of 4 and in groups of 2, which have 2 positions in common."""

    def __init__(self, mixed=False):
        super().__init__()
        self.stem, self.other = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 1)
        self.wide = nn.Conv2d(16 if mixed else 8, 8, 1, groups=2)
        self.narrow = nn.Conv2d(8, 8, 1, groups=4)
        self.head = nn.Linear(8, 2)
        self.mixed = mixed

    def forward(self, x):
        y = self.stem(x).relu()
        wide = self.wide(torch.cat([y, self.other(x).relu()], 1) if self.mixed else y)
        return self.head((wide + self.narrow(y)).relu().mean((2, 3)))


def test_groups_of_two_widths_share_their_positions():
    groups = {g.name: g for g in find_groups(settle(TwoWidths()), torch.zeros(2, 3, 5, 5))}
    assert groups["stem.weight"].members[0].index == ((0, 2, 4, 6), (1, 3, 5, 7))
    readers = {m.name: m.index for m in groups["stem.weight"].members if m.role == "in"}
    assert readers == {"wide.weight": ((0, 2), (1, 3)), "narrow.weight": ((0,), (1,))}


def test_groups_that_mix_channels_of_several_layers_stay():
    report = inspect_groups(settle(TwoWidths(mixed=True)), torch.zeros(2, 3, 5, 5))
    reason = "wide groups them with channels of other layers"
    assert report.left_out["stem.weight"] == report.left_out["other.weight"] == reason


def test_groups_of_one_channel_stay():
    layers = (nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1, groups=4), nn.Conv2d(8, 2, 1), nn.Flatten())
    report = inspect_groups(settle(nn.Sequential(*layers)), torch.zeros(2, 1, 3, 3))
    assert [(g.name, g.num_units) for g in report.groups] == [("1.weight", 2)]
    assert report.left_out["0.weight"] == "there is only one"


class DepthwiseConcat(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1)
        self.b = nn.Conv2d(3, 5, 1)
        self.norm = nn.BatchNorm2d(9)
        self.c = nn.Conv2d(9, 6, 1)
        self.depthwise = nn.Conv2d(6, 6, 3, groups=6)
        self.head = nn.Linear(6, 2)

    def forward(self, x):
        x = self.norm(torch.cat([self.a(x), self.b(x)], 1)).relu()
        return self.head(self.depthwise(self.c(x).relu()).mean((2, 3)))


def test_concatenation_shifts_indices_and_depthwise_follows():
    groups = {g.name: g for g in find_groups(settle(DepthwiseConcat()), torch.zeros(2, 3, 5, 5))}
    assert list(groups) == ["a.weight", "b.weight", "c.weight"]
    reader = next(m for m in groups["b.weight"].members if m.role == "in")
    assert (reader.name, reader.size) == ("c.weight", 9)
    assert reader.index == ((4,), (5,), (6,), (7,), (8,))
    assert ("depthwise.weight", 0, "out") in members(groups["c.weight"])


class Mirrored(nn.Module):
    """Reverses its channels where no tracer sees it: removal by index would be wrong."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 4, 1, bias=False)
        self.b = nn.Conv2d(4, 5, 1)
        self.norm = nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(self.norm(self.b(self.a(x).relu().flip(1))).relu().mean((2, 3)))


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_a_coupling_that_is_traced_wrongly_is_dropped_and_the_rest_kept(fill):
    report = inspect_groups(settle(Mirrored()), torch.full((2, 3, 5, 5), fill))
    assert [g.name for g in report.groups] == ["b.weight"]
    assert "differs from the masked model" in report.left_out["a.weight"]


class MirroredOnce(nn.Module):
    """Sixteen layers, one of which is read in the wrong order."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(17))

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            x = nn.functional.leaky_relu(layer(x.flip(1) if number == 6 else x), 0.5)
        return x


def test_one_wrong_coupling_among_many_is_found_by_bisection(monkeypatch):
    trials = []
    removes = groups_module._removes

    def counted(*arguments):
        trials.append(removes(*arguments))
        return trials[-1]

    monkeypatch.setattr(groups_module, "_removes", counted)
    report = inspect_groups(settle(MirroredOnce()), torch.zeros(2, 4))
    assert len(report.groups) == 15
    assert "differs from the masked model" in report.left_out["layers.5.weight"]
    assert len(trials) == 9  # all, then two halves of 16, 8, 4 and 2


def test_a_norm_that_starts_at_zero_hides_nothing():
    model = settle(Mirrored())
    nn.init.zeros_(model.norm.weight)
    assert [g.name for g in find_groups(model, torch.ones(2, 3, 5, 5))] == ["b.weight"]


class Peeking(nn.Module):
    """Returns its channels beside its classes, in a way that tracing does not see."""

    def __init__(self):
        super().__init__()
        self.a, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        x = self.a(x)
        return torch.cat([self.head(x), x.detach()], 1)


def test_channels_that_leave_the_model_unseen_stay():
    report = inspect_groups(settle(Peeking()), torch.zeros(2, 3))
    assert report.groups == ()
    assert "differs" in report.left_out["a.weight"]


class Stubborn(nn.Module):
    """Makes a float32 tensor of its own, so it does not run in float64."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.b(self.a(x @ torch.eye(3)).relu())


def test_a_model_that_runs_in_float32_only_has_units():
    assert [g.name for g in find_groups(settle(Stubborn()), torch.zeros(2, 3))] == ["a.weight"]


class WideSum(nn.Module):
    """Adds to a concatenation: each of its parts makes some of the units only."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 4), nn.Linear(3, 2), nn.Linear(6, 2)
        self.wide = nn.Linear(3, 6)

    def forward(self, x):
        return self.head((torch.cat([self.a(x), self.b(x)], 1) + self.wide(x)).relu())


def test_channels_of_which_a_layer_has_a_part_are_a_group_of_their_own():
    report = inspect_groups(settle(WideSum()), torch.zeros(2, 3))
    assert [(g.name, g.num_units) for g in report.groups] == [("a.weight", 4), ("b.weight", 2)]
    wide = [m.index for g in report.groups for m in g.members if m.name == "wide.weight"]
    assert wide == [((0,), (1,), (2,), (3,)), ((4,), (5,))]
    assert list(report.left_out) == ["head.weight"]


class Scaled(nn.Module):
    """A branch that hardly shows, as those of networks with layer scales start."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(3, 4), nn.Linear(4, 3), nn.Linear(3, 2)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.head(x + self.scale * self.b(self.a(x).relu().flip(1)))


def test_a_small_layer_scale_hides_nothing():
    model = settle(Scaled())
    nn.init.constant_(model.scale, 1e-6)
    assert find_groups(model, torch.zeros(2, 3)) == ()


def test_activations_with_one_slope_for_all_do_not_matter():
    model = settle(nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2)))
    (group,) = find_groups(model, torch.zeros(2, 3))
    assert {m.name for m in group.members} == {"0.weight", "0.bias", "2.weight"}


def test_a_single_unit_cannot_go():
    model = settle(nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 2)))
    report = inspect_groups(model, torch.zeros(2, 3))
    assert report.groups == ()
    assert report.left_out["0.weight"] == "there is only one"


def test_shared_weights_stay():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    report = inspect_groups(settle(model), torch.zeros(2, 4))
    assert report.groups == ()
    assert "shared with another layer" in report.left_out["2.weight"]


def test_transposed_convolutions_stay():
    layers = (nn.Conv2d(1, 4, 1), nn.ConvTranspose2d(4, 4, 2), nn.Conv2d(4, 2, 1), nn.Flatten())
    report = inspect_groups(settle(nn.Sequential(*layers)), torch.zeros(2, 1, 3, 3))
    assert report.groups == ()
    assert "1 (ConvTranspose2d)" in report.left_out["0.weight"]


def test_frozen_layers_are_found_and_the_model_is_untouched():
    model = tiny_conv().requires_grad_(False).train()
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    assert len(find_groups(model, torch.zeros(2, 1, 6, 6))) == 3
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert torch.equal(state, torch.get_rng_state())


def test_a_model_that_cannot_be_traced_has_no_units(caplog):
    import torchvision

    model = torchvision.models.shufflenet_v2_x0_5(weights=None, num_classes=4)
    assert find_groups(model, torch.zeros(2, 3, 32, 32)) == ()
    assert "cannot be traced" in caplog.text


def test_models_of_torchvision_and_timm():
    import timm
    import torchvision

    image = torch.zeros(2, 3, 32, 32)
    resnet = torchvision.models.resnet18(weights=None, num_classes=4)
    # Four stages: two inner convolutions each, and one group per residual stream.
    assert len(find_groups(resnet, image)) == 12
    mobile = torchvision.models.mobilenet_v2(weights=None, num_classes=4)
    # 16 expanded widths, 7 residual streams, the stem and the last convolution.
    assert len(find_groups(mobile, image)) == 25
    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, depth=2, num_classes=4
    )
    names = [g.name for g in find_groups(vit, image)]
    assert names == [
        f"blocks.{n}.{part}.weight" for n in (0, 1) for part in ("attn.qkv", "mlp.fc1")
    ]


# Every hidden layer; of a residual net only the first convolution of each of its 3 n blocks.
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("mlp", 2),
        ("lenet300", 2),
        ("conv2", 4),
        ("conv4", 6),
        ("conv6", 8),
        ("resnet20", 12),
        ("vgg16_bn", 13),
    ],
)
def test_our_own_models(name, count):
    model = build_model(name, 10, (3, 32, 32), width=0.25)
    groups = find_groups(model, torch.zeros(2, 3, 32, 32))
    assert len(groups) == count
    owned = {m.name for g in groups for m in g.members if m.role == "out"}
    last = [n for n, p in model.named_parameters() if p.dim() > 1][-1]
    assert last not in owned
