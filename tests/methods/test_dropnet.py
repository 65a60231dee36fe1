from __future__ import annotations

import torch

from autoprune.trial.context import WorkerContext
from autoprune.trial.deploy import compacted
from tests.methods.support import assert_equal, job, labelled, masked, of_kind, plan, state


def test_units_are_gone_and_nothing_changes(digits_context: WorkerContext) -> None:
    (last,) = plan(job("dropnet", sparsity=0.8, rounds=1))
    found = state(last, digits_context)
    slim = compacted(found, digits_context)
    whole = digits_context.task.build_model(0).eval()
    whole.load_state_dict(found.weights)
    inputs = digits_context.task.data.val.inputs[:64]  # type: ignore[attr-defined]
    with torch.no_grad():
        # Sums of fewer terms are rounded differently: 1e-5 of logits of order 1 to 10.
        assert torch.allclose(slim(inputs), whole(inputs), atol=1e-5)
    left = {name: sum(flags) for name, flags in found.structure.units.items()}
    assert sorted(w.shape[0] for n, w in slim.state_dict().items() if n.endswith("weight")) == [
        10,
        *sorted(left.values()),
    ]
    assert sum(w.numel() for n, w in slim.state_dict().items() if n.endswith("weight")) < 0.21 * (
        50_200
    )


def test_masks_cover_whole_units(digits_context: WorkerContext) -> None:
    (last,) = plan(job("dropnet", sparsity=0.8, rounds=1))
    found = state(last, digits_context)
    flags = torch.tensor(next(iter(found.structure.units.values()))).bool()
    assert torch.equal(found.masks["fc1.weight"].any(dim=1), flags)
    assert torch.equal(found.masks["fc1.bias"], flags)
    assert torch.equal(found.masks["fc2.weight"].any(dim=0), flags)
    assert not found.weights["fc1.bias"][~flags].any()


def test_the_quietest_units_of_each_layer_go(digits_context: WorkerContext) -> None:
    (last,) = plan(job("dropnet", sparsity=0.8, rounds=1))
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    scores = state(score, digits_context).tensors
    for name, flags in state(mask, digits_context).structure.units.items():
        keep = torch.tensor(flags).bool()
        value = scores[f"score/{name}"]
        assert value[keep].min() >= value[~keep].max()


def test_survivors_go_back_to_the_start(digits_context: WorkerContext) -> None:
    last = plan(job("dropnet", sparsity=0.8, rounds=2))[-1]
    weights = state(of_kind(last, "init")[0], digits_context).weights
    starts = [stage.parents[0] for stage in labelled(last, "retrain")]
    units = []
    for start in starts:
        found = state(start, digits_context)
        assert_equal(found.weights, masked(weights, found.masks))
        units.append(found.structure.units)
    for name, flags in units[1].items():  # units never return
        assert all(now <= before for now, before in zip(flags, units[0][name], strict=True))
