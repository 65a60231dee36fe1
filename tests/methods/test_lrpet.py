from __future__ import annotations

import pytest
import torch

from autoprune.core.config import RecipeConfig
from autoprune.core.errors import ConfigError
from autoprune.methods.lrpet import LrpetHook
from autoprune.trial.context import WorkerContext
from autoprune.trial.deploy import compacted
from tests.methods.support import job, of_kind, plan, state


def test_the_final_ranks_are_the_chosen_ones(digits_context: WorkerContext) -> None:
    (last,) = plan(job("lrpet", sparsity=0.8))
    found = state(last, digits_context)
    assert set(found.structure.ranks) == {"fc1.weight", "fc2.weight"}
    for name, rank in found.structure.ranks.items():
        values = torch.linalg.svdvals(found.weights[name].double())
        # Weights are stored in float32, so the rest is rounding: 1e-6 of the largest.
        assert values[rank] < 1e-6 * values[0]
        assert values[rank - 1] > 1e-4 * values[0]


def test_two_thin_layers_compute_the_same(digits_context: WorkerContext) -> None:
    (last,) = plan(job("lrpet", sparsity=0.8))
    found = state(last, digits_context)
    thin = compacted(found, digits_context)
    whole = digits_context.task.build_model(0).eval()
    whole.load_state_dict(found.weights)
    inputs = digits_context.task.data.val.inputs[:64]  # type: ignore[attr-defined]
    with torch.no_grad():
        # Card lrpet: 1e-4 on activations of order 10.
        assert torch.allclose(thin(inputs), whole(inputs), atol=1e-4)
    ranks = found.structure.ranks
    stored = ranks["fc1.weight"] * 364 + ranks["fc2.weight"] * 400 + 1_000
    assert abs(stored / 50_200 - 0.2) < 0.01
    weights = [v for n, v in thin.state_dict().items() if n.endswith("weight")]
    assert sum(v.numel() for v in weights) == stored


def test_projections_are_evenly_spaced_and_the_last_is_the_stage_s() -> None:
    # 4 projections of 100 steps: after 25, 50 and 75; the fourth follows the last step.
    hook = LrpetHook(projections=4, energy_transfer=True, rectify=True)
    assert [step for step in range(1, 101) if hook.due(step, 100)] == [25, 50, 75]


def test_statistics_are_estimated_again_after_projecting(digits_context: WorkerContext) -> None:
    (last,) = plan(job("lrpet"))
    assert last.kind == "recalibrate"
    assert [stage.kind for stage in last.parents] == ["project"]
    assert of_kind(last, "ranks")


def test_averages_and_macs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trial\.recipe\.ema must be 0 for method 'lrpet'"):
        job("lrpet", recipe=RecipeConfig(ema=0.9))
