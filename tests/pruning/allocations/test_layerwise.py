"""The rates of the lottery ticket's layer-wise pruning (card lottery_ticket, f3)."""

from __future__ import annotations

import pytest
import torch

from autoprune.pruning.allocations import layerwise
from autoprune.pruning.keep import LayerUnits

LENET = {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}  # 235,200 + 30,000 + 1,000
DENSITIES = [
    *(80.04, 64.06, 51.28, 41.05, 32.87, 26.32, 21.07, 16.88),
    *(13.52, 10.83, 8.68, 6.95, 5.57, 4.47, 3.58, 2.87),
]


def units(alive):
    """Return LeNet's layers with the first so many weights alive."""
    found = {}
    for (name, shape), count in zip(LENET.items(), alive, strict=True):
        scores = torch.full((shape[0] * shape[1],), -torch.inf)
        scores[:count] = 1.0
        found[name] = LayerUnits(scores, (scores > 0).float(), shape)
    return found


def small(*alive):
    return {str(i): LayerUnits(torch.ones(n), torch.ones(n), (1, n)) for i, n in enumerate(alive)}


def test_the_output_layer_loses_half_the_share():
    # A fifth of 235,200 and 30,000 and a tenth of 1,000 go: 188,160 + 24,000 + 900 = 213,060.
    assert layerwise.allocate(units([235_200, 30_000, 1_000]), 213_060) == {
        "fc1": 188_160, "fc2": 24_000, "fc3": 900,
    }  # fmt: skip


def test_sixteen_rounds_of_lenet_have_the_paper_s_densities():
    alive = [235_200, 30_000, 1_000]
    for k, density in enumerate(DENSITIES, start=1):
        real = [235_200 * 0.8**k, 30_000 * 0.8**k, 1_000 * 0.9**k]
        kept = round(sum(real))
        alive = list(layerwise.allocate(units(alive), kept).values())
        assert sum(alive) == kept
        assert 100 * kept / 266_200 == pytest.approx(density, abs=0.005 + 1e-9)
        # One weight per layer and round (card): remainders of counts that were rounded before.
        assert alive == pytest.approx(real, abs=k)


def test_by_hand():
    # 10 + 10 + 4 alive, 13 to keep: share 11 / (24 - 2) = 1/2, so 5 + 5 + 4 (1 - 1/4) = 3.
    assert layerwise.allocate(small(10, 10, 4), 13) == {"0": 5, "1": 5, "2": 3}


def test_what_half_the_rate_cannot_reach_is_met_at_the_full_rate():
    # At half the rate the last of 4 would keep 2 or more and leave nothing to the others: all
    # three keep 2 / 24 of what they have, .83, .83 and .33.
    assert layerwise.allocate(small(10, 10, 4), 2) == {"0": 1, "1": 1, "2": 0}
    assert layerwise.allocate(small(10, 10, 4), 3) == {"0": 1, "1": 1, "2": 1}


def test_a_single_layer_takes_it_all():
    assert layerwise.allocate(small(10), 2) == {"0": 2}
