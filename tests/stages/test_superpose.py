from __future__ import annotations

import pytest
import torch
from torch import Tensor

from autoprune.stages.state import TrialState
from autoprune.stages.superpose import Superpose, blend, strongest
from autoprune.trial.context import WorkerContext


def ticket(*values: float, **log: object) -> TrialState:
    weight = torch.tensor(values, dtype=torch.float32)
    return TrialState({"a": weight}, {"a": weight != 0}, log=dict(log))


def superposed(
    context: WorkerContext, *states: TrialState, shares: tuple[float, ...]
) -> TrialState:
    return Superpose(shares=shares).run(states, context)


def test_the_toy_of_the_card(digits_context: WorkerContext) -> None:
    # Half of [1, 0, 2] and [0, 2, 2] is [.5, 1, 2]; each has two weights, so .5 goes.
    found = superposed(digits_context, ticket(1, 0, 2), ticket(0, 2, 2), shares=(0.5,))
    assert found.weights["a"].tolist() == [0, 1, 2]
    assert found.masks["a"].tolist() == [False, True, True]
    assert found.log["union_density"] == 1.0


def test_growing_shares_make_the_plain_mean() -> None:
    # (3 + 6 + 0 + 7) / 4 = 4 by halves, thirds and quarters.
    average: dict[str, Tensor] = {"a": torch.tensor([3.0])}
    for share, value in zip((1 / 2, 1 / 3, 1 / 4), (6.0, 0.0, 7.0), strict=True):
        average = blend(average, {"a": torch.tensor([value])}, share)
    assert average["a"].item() == pytest.approx(4.0)


def test_equal_tickets_stay_as_they_are(digits_context: WorkerContext) -> None:
    values = [0.1, 0.0, -0.7, 1 / 3, 0.0]
    same = ticket(*values)
    found = superposed(digits_context, same, same, same, same, shares=(1 / 2, 1 / 3, 1 / 4))
    assert torch.equal(found.weights["a"], same.weights["a"])
    assert torch.equal(found.masks["a"], same.masks["a"])
    assert found.log["union_density"] == pytest.approx(3 / 5)


def test_pruning_on_the_way_changes_the_vote(digits_context: WorkerContext) -> None:
    # One of three weights each, the second place in two of three tickets. At once the means are
    # 2/3 and 3.9/3: the second wins. On the way half of [2, 0, 0] and [0, 2, 0] is [1, 1, 0], of
    # which the first is kept (a tie goes to the lower index); then it is 2/3 against 1.9/3.
    first, second, third = ticket(2, 0, 0), ticket(0, 2, 0), ticket(0, 1.9, 0)
    once = superposed(digits_context, first, second, third, shares=(1 / 2, 1 / 3))
    assert once.masks["a"].tolist() == [False, True, False]
    way = superposed(digits_context, first, second, shares=(1 / 2,))
    assert way.masks["a"].tolist() == [True, False, False]
    way = superposed(digits_context, way, third, shares=(1 / 3,))
    assert way.masks["a"].tolist() == [True, False, False]
    # The union remembers every ticket, though the second's weight was pruned on the way.
    assert once.log["union_density"] == way.log["union_density"] == pytest.approx(2 / 3)


def test_the_union_is_over_all_tickets(digits_context: WorkerContext) -> None:
    states = [ticket(3, 0, 0, 0), ticket(0, 2, 0, 0), ticket(0, 0, 1, 0)]
    way = superposed(digits_context, *states[:2], shares=(0.5,))
    way = superposed(digits_context, way, states[2], shares=(1 / 3,))
    assert way.log["union_density"] == pytest.approx(3 / 4)
    assert way.tensors["union/a"].tolist() == [True, True, True, False]


def test_the_count_is_exact_under_ties_over_all_layers() -> None:
    weights = {"a": torch.tensor([0.5, 0.5]), "b": torch.tensor([0.5, 0.0, 0.5])}
    alive = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False, True])}
    chosen = strongest(weights, alive, 3).masks
    # Ties go by layer, then index; the dead entry is no candidate.
    assert chosen["a"].tolist() == [True, True]
    assert chosen["b"].tolist() == [True, False, False]


def test_what_is_not_a_weight_is_averaged_or_the_last_one_s() -> None:
    one = {"bias": torch.tensor([1.0]), "count": torch.tensor(5)}
    other = {"bias": torch.tensor([3.0]), "count": torch.tensor(9)}
    found = blend(one, other, 0.25)
    assert found["bias"].item() == 1.5
    assert found["count"].item() == 9
    assert found["count"].dtype is torch.int64


def test_a_ticket_that_diverged_is_the_result(digits_context: WorkerContext) -> None:
    broken = ticket(float("nan"), 1, 0, status="diverged")
    found = superposed(digits_context, ticket(1, 2, 0), broken, shares=(0.5,))
    assert found is broken


def test_the_log_goes_on_from_the_last_ticket(digits_context: WorkerContext) -> None:
    one, two = ticket(1, 0, train_macs=5.0), ticket(2, 0, train_macs=8.0, mask_updates=3.0)
    found = superposed(digits_context, one, two, shares=(0.5,))
    assert found.log == {"train_macs": 8.0, "mask_updates": 3.0, "union_density": 0.5}
