from __future__ import annotations

import pytest
import torch

from autoprune.training.events import Event, LoopState
from autoprune.training.hooks.record import RecordCost, RecordLR
from autoprune.training.loop import fit
from tests.training.support import loop, split

# The net of `support` is 6 -> 8 -> 2: 48 and 16 multiply-adds an image. Half of the first layer's
# weights and a quarter of the second's are kept: f_S = 24 + 4, f_D = 64.
SPARSE, DENSE = 28, 64


def masks() -> dict[str, torch.Tensor]:
    first = torch.zeros(8, 6, dtype=torch.bool)
    first[:4] = True
    second = torch.zeros(2, 8, dtype=torch.bool)
    second[:, :2] = True
    return {"0.weight": first, "2.weight": second}


def ready(masks: dict[str, torch.Tensor]) -> LoopState:
    state = loop(masks, num_steps=10)
    state.layer_macs = {"0.weight": 48, "2.weight": 16}
    return state


class DenseAt:
    """Asks for the gradient of masked weights in some steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on(self, event: Event, loop: LoopState) -> None:
        if event is Event.AFTER_BACKWARD and loop.step in self.steps:
            loop.dense_gradient = True


class MoveAt:
    """Empties the first layer at an event of a step."""

    def __init__(self, when: Event, step: int, *, tell: bool = True) -> None:
        self.when, self.step, self.tell = when, step, tell

    def on(self, event: Event, loop: LoopState) -> None:
        if event is self.when and loop.step == self.step:
            loop.masks["0.weight"].fill_(False)
            if self.tell:
                loop.masks_changed()


def cost(masks: dict[str, torch.Tensor], *hooks: object, batch: int = 8, stop: int = 10) -> float:
    record = RecordCost()
    fit(
        ready(masks),
        split(),
        lambda progress: 0.1,
        [*hooks, record],  # type: ignore[list-item] # hooks by shape
        batch_size=batch,
        stop=stop,
        label="t",
    )
    return record.macs


def test_a_masked_step_is_three_sparse_products_an_image() -> None:
    # 10 steps of 8 images.
    assert cost(masks()) == 80 * 3 * SPARSE


def test_without_masks_everything_counts() -> None:
    assert cost({}) == 80 * 3 * DENSE
    # A layer that no mask names is dense: 48 + 4.
    assert cost({"2.weight": masks()["2.weight"]}) == 80 * 3 * (48 + 4)


def test_a_ragged_batch_counts_its_images() -> None:
    # 40 images in batches of 16 are 16, 16 and 8; the loop's epoch is 5 steps, so 3 suffice here.
    assert cost(masks(), batch=16, stop=3) == 40 * 3 * SPARSE


def test_a_dense_gradient_replaces_one_sparse_product_in_its_steps_only() -> None:
    # Steps 2 and 7 of 10: 2 f_S + f_D, the other eight 3 f_S.
    found = cost(masks(), DenseAt(2, 7))
    assert found == 8 * (2 * (2 * SPARSE + DENSE) + 8 * 3 * SPARSE)


@pytest.mark.parametrize("when", [Event.AFTER_BACKWARD, Event.AFTER_STEP])
def test_masks_that_move_in_a_step_count_from_the_next(when: Event) -> None:
    # Steps are counted on before AFTER_STEP, so the fourth step ends with step 4. Four steps with
    # f_S = 28, six with the second layer's 4 only.
    step = 3 if when is Event.AFTER_BACKWARD else 4
    assert cost(masks(), MoveAt(when, step)) == 8 * 3 * (4 * SPARSE + 6 * 4)


def test_masks_that_move_before_a_forward_pass_count_in_it() -> None:
    assert cost(masks(), MoveAt(Event.BEFORE_LOSS, 3)) == 8 * 3 * (3 * SPARSE + 7 * 4)


def test_a_moving_step_with_a_dense_gradient() -> None:
    # What a regrowing method does: step 3 has f_S = 28 forward and backward, a dense gradient,
    # and leaves 4.
    found = cost(masks(), DenseAt(3), MoveAt(Event.AFTER_BACKWARD, 3))
    assert found == 8 * (3 * 3 * SPARSE + (2 * SPARSE + DENSE) + 6 * 3 * 4)


def test_a_step_that_is_skipped_was_computed() -> None:
    class Skip:
        def on(self, event: Event, loop: LoopState) -> None:
            if event is Event.AFTER_BACKWARD:
                loop.skip_step = True

    assert cost(masks(), Skip()) == 80 * 3 * SPARSE


def test_every_step_s_rate_is_recorded() -> None:
    record = RecordLR()
    state = ready(masks())
    fit(state, split(), lambda p: 1 - p, [record], batch_size=8, stop=4, label="t")
    assert record.values == pytest.approx([1.0, 0.9, 0.8, 0.7])
