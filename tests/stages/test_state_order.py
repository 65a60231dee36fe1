"""The order of a state's tensors survives the store: rules that break ties by layer rest on it."""

from __future__ import annotations

from pathlib import Path

import torch

from autoprune.stages.state import TrialState
from autoprune.stages.store import Store


def test_tensors_come_back_in_their_order(tmp_path: Path) -> None:
    names = [f"{n}.weight" for n in ("fc2", "conv10", "fc1", "conv9", "a", "z", "m", "fc3")]
    weights = {name: torch.full((2,), float(i)) for i, name in enumerate(names)}
    masks = {name: torch.ones(2, dtype=torch.bool) for name in reversed(names)}
    scores = {f"score/{name}": torch.zeros(3) for name in names}
    Store(tmp_path).put("ab12", TrialState(weights, masks, tensors=scores))
    found = Store(tmp_path).get("ab12")  # another store: nothing is in memory
    assert found is not None
    assert list(found.weights) == names
    assert list(found.masks) == names[::-1]
    assert list(found.tensors) == list(scores)
    assert torch.equal(found.weights["conv9.weight"], weights["conv9.weight"])
