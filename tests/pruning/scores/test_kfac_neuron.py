"""The score of units by curvature, worked by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.pruning.scores.kfac_neuron import KfacNeuron
from autoprune.pruning.view import ModelView, Signal, UnitGroup, UnitMember


def view_of(signal=Signal.UNIT_CURVATURE, dead=(), **found):
    """Show groups by name, each with damage and flatness of its units."""
    groups, masks = [], {}
    for name, (damage, _) in found.items():
        rows = tuple((unit,) for unit in range(len(damage)))
        groups.append(UnitGroup(name, len(damage), (UnitMember(name, 0, rows, "out"),)))
        masks[name] = torch.ones(len(damage), 2) > 0
        masks[name][[unit for group, unit in dead if group == name]] = False
    values = {n: torch.tensor(v, dtype=torch.float64) for n, v in found.items()}
    return ModelView(masks, masks, {signal: values}, tuple(groups))


def scores(view, **params):
    return {name: value.tolist() for name, value in KfacNeuron(**params)(view).items()}


def test_by_hand():
    # Means over all five units: damage (2 + 4 + 0 + 3 + 1) / 5 = 2, flatness 5 / 5 = 1.
    # Damage / 2 - .5 flatness: a: 1 - .5, 2 - 0, 0 - .5; b: 1.5 - 1, .5 - .5. From -.5 to 2 is
    # 2.5: the best of each group goes last, 3.5 higher.
    view = view_of(a=[[2, 4, 0], [1, 0, 1]], b=[[3, 1], [2, 1]])
    found = scores(view, flatness=0.5, min_alive=1)
    assert found == {"a": [0.5, 5.5, -0.5], "b": [4.0, 0.0]}


def test_damage_alone_and_a_net_that_has_none():
    view = view_of(a=[[2, 4, 0], [1, 0, 1]], b=[[3, 1], [2, 1]])
    assert scores(view, flatness=0.0, min_alive=1) == {"a": [1.0, 5.0, 0.0], "b": [4.5, 0.5]}
    zeros = view_of(a=[[0, 0, 0], [0, 0, 0]])
    assert scores(zeros, min_alive=1) == {"a": [1.0, 0.0, 0.0]}


def test_units_that_are_gone_do_not_go_last():
    # Scores 0 - .5 x 2, 0, 1.5 - .5: the dead unit has more than the first.
    view = view_of(dead=[("a", 1)], a=[[0.5, 0, 2.5], [2, 0, 1]])
    one, gone, two = scores(view, flatness=1.0, min_alive=3)["a"]
    assert gone == 0.0
    assert gone < one < two


@pytest.mark.parametrize(("num_units", "last"), [(3, 3), (150, 4), (250, 5), (251, 6)])
def test_four_units_or_two_percent_go_last(num_units, last):
    view = view_of(a=[list(range(num_units)), [0] * num_units])
    found = KfacNeuron()(view)["a"]
    plain = found[: num_units - last]
    # Damage 0 ... n - 1 over its mean is 0 ... 2, and 2 - 0 + 1 higher where it goes last.
    assert (found[num_units - last :] > 2.9).all()
    assert (plain < 2.1).all()
    assert (found.diff() > 0).all()


def test_data_labels_read_their_own_signal():
    score = KfacNeuron(labels="empirical")
    assert score.needs == {Signal.UNIT_CURVATURE_EMPIRICAL}
    view = view_of(Signal.UNIT_CURVATURE_EMPIRICAL, a=[[1, 3], [0, 0]])
    assert score(view)["a"].tolist() == [0.5 + 2.0, 1.5 + 2.0]


numbers = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=8)


@given(a=numbers, b=numbers, scale=st.sampled_from([2.0**-20, 2.0**30]), data=st.data())
def test_order_and_scale_do_not_matter(a, b, scale, data):
    order = data.draw(st.permutations(range(len(a))))
    plain = scores(view_of(a=list(zip(*a, strict=True)), b=list(zip(*b, strict=True))), min_alive=1)
    moved = [(scale * a[unit][0], a[unit][1]) for unit in order]
    other = [(scale * damage, flat) for damage, flat in b]
    found = scores(
        view_of(a=list(zip(*moved, strict=True)), b=list(zip(*other, strict=True))), min_alive=1
    )
    # Sums in another order are rounded differently. Ties: any one of the best goes last.
    assert sorted(found["a"]) == pytest.approx(sorted(plain["a"]), rel=1e-9, abs=1e-9)
    assert found["b"] == pytest.approx(plain["b"], rel=1e-9, abs=1e-9)
