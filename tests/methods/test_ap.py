from __future__ import annotations

import pytest
import torch

from autoprune.core.config import TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.ap import ap_select
from autoprune.methods.base import complete


def test_the_quietest_negative_weights_go() -> None:
    # Movements of alive negative weights: a[0] |-1 - -.5| = .5, a[3] |-2 - -1.9| = .1,
    # b[0] |-.3 - .1| = .4. Positive a[1], masked a[2]. Two go: a[3] and b[0].
    trained = {"a": torch.tensor([-1.0, 0.5, -0.1, -2.0]), "b": torch.tensor([-0.3, 4.0])}
    start = {"a": torch.tensor([-0.5, 0.5, -0.1, -1.9]), "b": torch.tensor([0.1, 4.0])}
    masks = {"a": torch.tensor([1, 1, 0, 1]).bool(), "b": torch.tensor([1, 1]).bool()}
    new = ap_select(trained, start, masks, 2)
    assert new["a"].tolist() == [True, True, False, False]
    assert new["b"].tolist() == [False, True]


def test_no_more_than_the_candidates_go() -> None:
    trained = {"a": torch.tensor([-1.0, 0.5, 2.0])}
    start = {"a": torch.zeros(3)}
    new = ap_select(trained, start, {"a": torch.ones(3).bool()}, 3)
    assert new["a"].tolist() == [False, True, True]


def test_zero_is_the_identity() -> None:
    masks = {"a": torch.tensor([True, False])}
    new = ap_select({"a": torch.tensor([-1.0, -1.0])}, {"a": torch.zeros(2)}, masks, 0)
    assert torch.equal(new["a"], masks["a"])


def test_no_preactivation_falls() -> None:
    # Card ap (f)1: with non-negative inputs, removing negative weights only raises outputs.
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(30, 20, generator=generator)
    inputs = torch.rand(50, 20, generator=generator)
    start = {"a": torch.zeros_like(weight)}
    mask = ap_select({"a": weight}, start, {"a": torch.ones_like(weight).bool()}, 100)["a"]
    assert (~mask).sum() == 100
    before, after = inputs @ weight.T, inputs @ (weight * mask).T
    assert bool((after >= before - 1e-6).all())
    assert (after.relu() == 0).float().mean() < (before.relu() == 0).float().mean()


def test_a_share_that_leaves_the_base_nothing_is_refused() -> None:
    config = TrialConfig(method="ap", sparsity=0.1, params={"share": 0.15, "rounds": 3})
    with pytest.raises(ConfigError, match=r"trial\.ap\.share must be at most 0\.0345"):
        complete(config)


@pytest.mark.parametrize("base", ["rigl", "dropnet", "ap"])
def test_only_score_prune_retrain_is_wrapped(base: str) -> None:
    with pytest.raises(ConfigError, match=r"trial\.ap\.base must score, prune and retrain"):
        complete(TrialConfig(method="ap", params={"base": base}))
