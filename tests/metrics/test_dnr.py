from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.core.errors import TaskError
from autoprune.data.tensors import TensorSplit
from autoprune.metrics.dnr import WatchRelu, dead_neurons
from autoprune.stages.activate import ap_select


def split(inputs: Tensor) -> TensorSplit:
    return TensorSplit(inputs, torch.zeros(len(inputs), dtype=torch.long), torch.zeros(1))


def layer(weight: Tensor, bias: float = 0.0, relu: nn.Module | None = None) -> nn.Sequential:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.fill_(bias)
    return nn.Sequential(linear, relu or nn.ReLU())


def test_rates_by_hand() -> None:
    # Units a = x, b = -x, c = x - 2 (by a second, constant input), d = 0 on the inputs 1, -1, 3.
    # Zeros: at 1: b, c, d; at -1: a, c, d; at 3: b, d. 8 of 12. Only d never fires: 1 of 4.
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [1.0, -2.0], [0.0, 0.0]])
    inputs = torch.tensor([[1.0, 1.0], [-1.0, 1.0], [3.0, 1.0]])
    found = dead_neurons(layer(weight), split(inputs))
    assert (found.rate, found.dead_all) == (8 / 12, 1 / 4)
    assert (found.num_neurons, found.num_samples) == (4, 3)


def test_a_layer_without_weights_and_with_no_positive_bias_is_dead() -> None:
    for bias in (0.0, -1.0):
        found = dead_neurons(layer(torch.zeros(5, 3), bias), split(torch.randn(7, 3)))
        assert (found.rate, found.dead_all) == (1.0, 1.0)
    assert dead_neurons(layer(torch.zeros(5, 3), 1.0), split(torch.randn(7, 3))).rate == 0.0


class Functional(nn.Module):
    """One layer twice, the second time through a function, over token-first outputs if asked."""

    def __init__(self, relu: Callable[[Tensor], Tensor], *, tokens_first: bool = False) -> None:
        super().__init__()
        self.relu, self.tokens_first = relu, tokens_first

    def forward(self, x: Tensor) -> Tensor:
        z = x.view(len(x), 3, 2)
        if self.tokens_first:
            z = z.transpose(0, 1)
        return self.relu(z).flatten()[:2].view(1, 2).expand(len(x), 2)


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "F.relu": functional.relu,
    "torch.relu": torch.relu,
    "method": lambda x: x.relu(),
    "F.relu6": functional.relu6,
    "ReLU6": nn.ReLU6(),
    "ReLU": nn.ReLU(),
    "in place": lambda x: functional.relu(x.clone(), inplace=True),
    "torch.relu_": lambda x: torch.relu_(x.clone()),
    "changed later": lambda x: torch.relu(x).add_(1.0),
}


@pytest.mark.parametrize("name", RELUS)
@pytest.mark.parametrize("tokens_first", [False, True])
def test_every_form_of_relu_is_seen_once(name: str, tokens_first: bool) -> None:
    inputs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    inputs[:, 4] = -1.0
    model = Functional(RELUS[name], tokens_first=tokens_first)
    found = dead_neurons(model, split(inputs), batch_size=20)
    assert found.num_neurons == 6
    assert found.rate == pytest.approx((inputs <= 0).float().mean().item())
    assert found.dead_all == 1 / 6


@pytest.mark.parametrize(
    "other", [nn.GELU(), nn.SiLU(), nn.LeakyReLU(), nn.Hardtanh(), nn.Tanh(), nn.Identity()]
)
def test_what_is_no_relu_is_not_seen(other: nn.Module) -> None:
    seen: list[Tensor] = []
    with WatchRelu(seen.append):
        other(torch.randn(4))
    assert seen == []
    with pytest.raises(TaskError, match="the model must have ReLU units"):
        dead_neurons(layer(torch.ones(2, 2), relu=other), split(torch.ones(3, 2)))


def test_a_shared_relu_counts_at_each_place() -> None:
    # First place: x. Second: -x, of the same module; an entry that fires nowhere is not the
    # same as one that fires in the other place.
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.relu(x) + self.relu(-x)

    found = dead_neurons(Twice(), split(torch.tensor([[1.0, 2.0], [3.0, -1.0]])))
    # Zeros: sample 1: both of place 2. Sample 2: entry 2 of place 1, entry 1 of place 2: 4 of 8.
    # Silent for both: entry 1 of place 2: 1 of 4.
    assert (found.rate, found.dead_all, found.num_neurons) == (4 / 8, 1 / 4, 4)


def test_an_entry_is_a_channel_at_a_position() -> None:
    # 1x1 convolution with weights 1 and -1 on a 1x2 image (1, -2): zeros are channel 0 at
    # position 1 and channel 1 at position 0.
    conv = nn.Conv2d(1, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    images = torch.tensor([[[[1.0, -2.0]]], [[[1.0, -3.0]]]])
    found = dead_neurons(nn.Sequential(conv, nn.ReLU()), split(images))
    assert (found.rate, found.dead_all, found.num_neurons) == (2 / 4, 2 / 4, 4)


def test_batches_do_not_matter_and_an_order_picks_samples() -> None:
    generator = torch.Generator().manual_seed(1)
    model = layer(torch.randn(30, 20, generator=generator))
    inputs = torch.randn(64, 20, generator=generator)
    whole = dead_neurons(model, split(inputs), batch_size=64)
    assert dead_neurons(model, split(inputs), batch_size=7) == whole
    assert 0.0 <= whole.dead_all < whole.rate <= 1.0
    some = torch.tensor([3, 60, 5])
    assert dead_neurons(model, split(inputs), order=some) == dead_neurons(
        model, split(inputs[some])
    )


def test_the_model_is_looked_at_in_eval_mode_and_left_as_it_was() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.9))
    net[3].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    inputs = torch.randn(40, 4)
    state = torch.get_rng_state()
    found = dead_neurons(net, split(inputs), batch_size=9)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [module.training for module in net] == [True, True, True, False]
    assert all(parameter.grad is None for parameter in net.parameters())
    # Fresh running statistics normalise nothing but by sqrt(1 + eps): the linear layer's signs.
    assert found.rate == pytest.approx((net[0](inputs) <= 0).float().mean().item())


@pytest.mark.parametrize("seed", range(5))
def test_removing_negative_weights_wakes_neurons_and_positive_ones_silence_them(seed: int) -> None:
    # The toy check of card ap (f)1: a 20 -> 30 ReLU layer, inputs from U[0, 1), 100 of 600
    # weights removed; the card saw .692 go to .505 (negative) and .890 (positive).
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(30, 20, generator=generator)
    inputs = split(torch.rand(200, 20, generator=generator))
    before = dead_neurons(layer(weight), inputs)
    found = {}
    for sign in (1.0, -1.0):
        # A start that makes the largest weights move least: |w - start| = 10 - |w|.
        start = {"w": sign * weight + 10.0 - weight.abs()}
        mask = ap_select({"w": sign * weight}, start, {"w": weight.isfinite()}, 100)["w"]
        assert int((~mask).sum()) == 100
        assert bool((sign * weight[~mask] < 0).all())
        found[sign] = dead_neurons(layer(weight * mask), inputs)
    assert found[1.0].rate < before.rate - 0.1
    assert found[-1.0].rate > before.rate + 0.1
    assert found[1.0].dead_all <= before.dead_all <= found[-1.0].dead_all
