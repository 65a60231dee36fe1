from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError
from autoprune.methods import dropnet
from autoprune.methods.dropnet import Drop
from autoprune.pruning.allocations.ranking import alive_counts
from autoprune.pruning.granularities.channel import ChannelGranularity
from autoprune.pruning.view import ModelView, UnitGroup, UnitMember
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.deploy import compacted
from autoprune.trial.plan import check_fit
from autoprune.trial.run import run_job
from tests.methods.support import assert_equal, job, labelled, masked, of_kind, plan, state

# 64 - 15 - 5 - 10: twenty units, which an oracle can try one by one.
NARROW = TaskConfig(data="digits", model="mlp", width=0.05)


@pytest.fixture(scope="module")
def narrow(digits_context: WorkerContext) -> WorkerContext:
    home = digits_context.store.root.parent
    return open_context(NARROW, home=home, top_epochs=TOP, threads=1)


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


def chain(widths: tuple[int, ...]) -> ModelView:
    """Layers of one input each, whose rows are units that nothing reads."""
    weights = {f"{k}.weight": torch.ones(width, 1) for k, width in enumerate(widths)}
    groups = tuple(
        UnitGroup(name, len(w), (UnitMember(name, 0, tuple((u,) for u in range(len(w))), "out"),))
        for name, w in weights.items()
    )
    masks = {name: torch.ones_like(w, dtype=torch.bool) for name, w in weights.items()}
    return ModelView(weights, masks, groups=groups)


@pytest.mark.parametrize(
    ("allocation", "totals"),
    [
        # Card dropnet (f): n - max(1, floor(.2 n)).
        ("global", [384, 308, 247, 198, 159, 128, 103, 83, 67, 54, 44, 36]),
        # By layer, from (64, 64, 128, 128): 52 + 52 + 103 + 103.
        ("uniform", [384, 310]),
    ],
)
def test_the_paper_s_counts(allocation: str, totals: list[int]) -> None:
    view = chain((64, 64, 128, 128))
    generator = torch.Generator().manual_seed(0)
    scores = {g.name: torch.rand(g.num_units, generator=generator) for g in view.groups}
    grain: dict[str, Any] = {"round_to": 1, "floor": 0.0}
    stage = Drop(allocation=allocation, sparsity=0.99, granularity="channel", grain=grain)
    counts = [384]
    for _ in totals[1:]:
        chosen = stage._choose(scores, view, None)  # type: ignore[arg-type] # weights need none
        view = replace(view, masks={n: chosen.masks[n] for n in view.weights})
        alive = alive_counts(ChannelGranularity().pool(scores, view))
        counts.append(sum(alive.values()))
    assert counts == totals
    if allocation == "uniform":
        assert list(alive.values()) == [52, 52, 103, 103]


def test_the_docstring_holds() -> None:
    assert [dropnet.num_dropped(n, 0.5) for n in (1, 2, 3, 100)] == [1, 1, 1, 50]
    assert dropnet.num_dropped(100, 0.29) == 29  # .29 * 100 is a little less in binary


def test_rounds_drop_a_share_and_the_last_meets_the_target(digits_context: WorkerContext) -> None:
    stages = plan(job("dropnet", sparsity=0.8, rounds=3, drop=0.2, round_to=1, allocation="global"))
    units = [state(stage, digits_context).structure.units for stage in stages]
    left = [sum(map(sum, found.values())) for found in units]
    assert left[:2] == [320, 256]
    result = state(stages[-1], digits_context)
    kept = sum(int(result.masks[f"fc{k}.weight"].sum()) for k in (1, 2, 3))
    assert kept / 50_200 == pytest.approx(0.2, abs=0.004)
    # A share that would pass the target stops there.
    (first, _) = plan(job("dropnet", sparsity=0.3, rounds=2, drop=0.9, round_to=1))
    masks = state(of_kind(first, "drop")[0], digits_context).masks
    assert sum(int(masks[f"fc{k}.weight"].sum()) for k in (1, 2, 3)) == pytest.approx(
        0.7 * 50_200, rel=0.01
    )


@pytest.mark.parametrize("metric", ["maximum", "random", "apoz"])
def test_comparators_rank_otherwise(metric: str, digits_context: WorkerContext) -> None:
    (last,) = plan(job("dropnet", sparsity=0.5, rounds=1, metric=metric))
    (score,), (mask,) = of_kind(last, "score"), of_kind(last, "mask")
    found = state(score, digits_context)
    (plain,) = of_kind(plan(job("dropnet", sparsity=0.5, rounds=1))[0], "score")
    quiet = state(plain, digits_context).tensors
    if metric == "maximum":
        assert_equal(found.tensors, {name: -value for name, value in quiet.items()})
    elif metric == "apoz":
        values = torch.cat(list(found.tensors.values()))
        assert values.max() <= 0.0
        assert values.min() >= -1.0
        # A unit that never speaks is always zero, and the first to go in both.
        silent = quiet["score/fc1.weight"] == 0
        assert torch.equal(found.tensors["score/fc1.weight"] == -1, silent)
    for name, flags in state(mask, digits_context).structure.units.items():
        keep, value = torch.tensor(flags).bool(), found.tensors[f"score/{name}"]
        assert value[keep].min() >= value[~keep].max()


def test_the_oracle_s_first_choice_costs_least(narrow: WorkerContext) -> None:
    (last,) = plan(
        replace(job("dropnet", sparsity=0.5, rounds=1, metric="oracle", task=NARROW, round_to=1))
    )
    (score,) = of_kind(last, "score")
    places = {
        name.removeprefix("score/"): value for name, value in state(score, narrow).tensors.items()
    }
    assert sorted(torch.cat(list(places.values())).tolist()) == list(range(20))
    # By hand: the mean training loss without each unit, under the dense weights.
    model, train = narrow.task.build_model(0).eval(), narrow.task.data.train
    model.load_state_dict(state(score.parents[0], narrow).weights)
    inputs, targets = train.inputs, train.targets  # type: ignore[attr-defined]
    losses = {}
    with torch.no_grad():
        for name, value in places.items():
            layer = model.get_submodule(name.removesuffix(".weight"))
            for unit in range(len(value)):
                held = layer.weight[unit].clone(), layer.bias[unit].clone()
                layer.weight[unit], layer.bias[unit] = 0.0, 0.0
                losses[name, unit] = float(narrow.task.loss(model(inputs), targets))
                layer.weight[unit], layer.bias[unit] = held
    first = next((n, int(v.argmin())) for n, v in places.items() if v.min() == 0)
    assert losses[first] == pytest.approx(min(losses.values()), rel=1e-6)
    # One unit of each layer goes last of all.
    assert {int(value.max()) for value in places.values()} == {18, 19}


def test_an_oracle_of_many_units_is_refused(digits_context: WorkerContext) -> None:
    with pytest.raises(ConfigError, match=r"dropnet\.metric must not be 'oracle'.*one has 400"):
        check_fit(job("dropnet", metric="oracle").config, digits_context.full_info)


def test_re_initialised_rounds_share_the_rewound_masks(digits_context: WorkerContext) -> None:
    usual = plan(job("dropnet", rounds=2))
    fresh = plan(job("dropnet", rounds=2, randominit=True))
    for one, other in zip(usual, fresh, strict=True):
        mine, theirs = state(other, digits_context), state(one, digits_context)
        assert_equal(mine.masks, theirs.masks)
        start = state(other.parents[0], digits_context)
        assert not torch.equal(start.weights["fc1.weight"], theirs.weights["fc1.weight"])
    with pytest.raises(ConfigError, match="randominit must be false with rewind 'reinit'"):
        job("dropnet", randominit=True, rewind="reinit")


def test_searched_knobs_turn_groups_of_units(digits_context: WorkerContext) -> None:
    counts = []
    for knobs in ("0.5,0", "0,0.5"):
        found = run_job(
            job("dropnet", rounds=1, allocation=f"searched:{knobs}", epochs=1), digits_context
        )
        assert found.error == ""
        assert found.metrics["sparsity"] == pytest.approx(0.8, abs=0.01)
        counts.append(found.layers["fc3.weight"])
    assert counts[0] < counts[1]  # the second group's knob keeps more of what fc3 reads
    three = job("dropnet", allocation="searched:0,0,0").config
    with pytest.raises(ConfigError, match=r"at most as many knobs .* groups of units \(2\)"):
        check_fit(three, digits_context.full_info)


@pytest.mark.parametrize(
    ("params", "most"),
    [
        # 8 of 300 and 8 of 100: 64 * 8 + 8 * 8 + 8 * 10 = 656 of 50,200.
        ({}, 0.9869),
        # A tenth, up to whole steps: 32 and 16: 2048 + 512 + 160 = 2,720.
        ({"allocation": "global"}, 0.9458),
        # 30 and 10: 1920 + 300 + 100.
        ({"allocation": "global", "round_to": 1}, 0.9537),
        # 1 and 1: 64 + 1 + 10.
        ({"allocation": "global", "round_to": 1, "floor": 0.0}, 0.9985),
    ],
)
def test_what_steps_and_floors_allow_is_known(
    params: dict[str, Any], most: float, digits_context: WorkerContext
) -> None:
    info = digits_context.full_info
    near = 0.9949 if most > 0.995 else most
    check_fit(job("dropnet", sparsity=near, **params).config, info)
    if most < 0.99:
        message = rf"sparsity must lie in \[0, {most}\] for method 'dropnet' on this model"
        with pytest.raises(ConfigError, match=message):
            check_fit(job("dropnet", sparsity=0.99, **params).config, info)
