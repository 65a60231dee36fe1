"""nnrelief: its rounds, its three ways with kernels, and whom it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.config import TaskConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.records import LayerInfo, TaskInfo
from autoprune.methods.base import METHODS
from autoprune.testing.methods import TOP
from autoprune.trial.context import WorkerContext, open_context
from autoprune.trial.plan import check_fit
from tests.methods.support import assert_equal, job, kept, masked, of_kind, plan, state


def test_three_rounds_from_the_dense_net() -> None:
    stages = plan(job("nnrelief", sparsity=0.9))
    assert len(stages) == 3
    masks = of_kind(stages[-1], "mask")
    assert [mask.granularity for mask in masks] == ["kernel"] * 3  # type: ignore[attr-defined]
    found = [mask.sparsity for mask in masks]  # type: ignore[attr-defined]
    assert found == pytest.approx([1 - 0.1 ** (1 / 3), 1 - 0.1 ** (2 / 3), 0.9])
    assert not of_kind(stages[-1], "rewind")
    assert len(of_kind(plan(job("nnrelief", rewind="init"))[-1], "rewind")) == 3


@pytest.mark.parametrize(
    ("reduce", "score"),
    [("mean_fro", "nnrelief"), ("fro_mean", "nnrelief_fro_mean"), ("l1", "nnrelief_l1")],
)
def test_the_way_with_kernels_is_a_score(reduce: str, score: str) -> None:
    (last, *_) = plan(job("nnrelief", rounds=1, conv_reduce=reduce))
    assert [found.score for found in of_kind(last, "score")] == [score]  # type: ignore[attr-defined]


def test_survivors_go_on_from_their_values_or_from_the_start(
    digits_context: WorkerContext,
) -> None:
    for rewind in ("none", "init"):
        (last,) = plan(job("nnrelief", rounds=1, rewind=rewind))
        start = state(last.parents[0], digits_context)
        (mask,) = of_kind(last, "mask")
        source = mask.parents[0] if rewind == "none" else of_kind(last, "init")[0]
        weights = state(source, digits_context).weights
        assert_equal(start.weights, masked(weights, start.masks))


def test_a_unit_keeps_its_largest_contributions(digits_context: WorkerContext) -> None:
    # By hand on the dense net: |w| mean|x| of the first layer, whose inputs are the images. The
    # survivors of a row are its largest, and one alpha tells them in every live row.
    (last,) = plan(job("nnrelief", rounds=1, sparsity=0.7))
    (mask,) = of_kind(last, "mask")
    chosen = state(mask, digits_context).masks["fc1.weight"]
    weight = state(mask.parents[0], digits_context).weights["fc1.weight"].double()
    (score,) = of_kind(last, "score")
    assert state(score, digits_context).log["score_passes"] == 1
    train = digits_context.task.data.train
    images = torch.cat([inputs.flatten(1) for inputs, _ in train.batches(500)]).double()
    # The score reads 1,000 of the 1,077 images: means differ by some percent.
    parts = weight.abs() * images.abs().mean(0)
    total = parts.sum(1) + state(mask.parents[0], digits_context).weights["fc1.bias"].abs()
    shares = parts / total[:, None]
    carried = (shares * chosen).sum(1)
    live = carried > 0
    assert live.sum() > 200
    assert carried[live].std() < 0.05
    for row, keep in zip(shares[live], chosen[live], strict=True):
        if keep.any() and not keep.all():
            assert row[keep].min() > 0.8 * row[~keep].max()


def test_dead_pixels_are_the_first_to_go(digits_context: WorkerContext) -> None:
    # Pixels that are blank in every image carry nothing: gone at 25 %, whatever their weights,
    # while of those that are bright in the mean most connections stay.
    (last,) = plan(job("nnrelief", rounds=1, sparsity=0.25))
    chosen = state(of_kind(last, "mask")[0], digits_context).masks["fc1.weight"]
    images = digits_context.task.data.train.inputs.flatten(1)  # type: ignore[attr-defined]
    blank, bright = images.abs().sum(0) == 0, images.mean(0) > 0.3
    assert blank.any()
    assert not chosen[:, blank].any()
    assert chosen[:, bright].float().mean() > 0.9


def test_whole_kernels_on_a_convolution_net(tmp_path_factory: pytest.TempPathFactory) -> None:
    task = TaskConfig(data="digits", model="conv2", width=0.125)
    context = open_context(task, home=tmp_path_factory.mktemp("conv"), top_epochs=TOP)
    (last,) = plan(job("nnrelief", rounds=1, sparsity=0.8, dense_epochs=1, task=task))
    found = state(of_kind(last, "mask")[0], context)
    for name in ("conv1.weight", "conv2.weight"):
        held = found.masks[name].flatten(2).sum(2)
        assert set(held.unique().tolist()) <= {0, 9}
        assert int(held.sum()) > 0
    total = context.task.info.num_prunable
    assert abs(kept(found) - 0.2 * total) <= 4.5  # half a kernel


def test_models_whose_inputs_cannot_be_watched_are_refused_by_name(
    digits_context: WorkerContext,
) -> None:
    info: TaskInfo = digits_context.task.info
    config = job("nnrelief").config
    check_fit(config, info)
    attention = LayerInfo("block.attn.in_proj_weight", (12, 4), "attention", 48)
    unused = LayerInfo("spare.weight", (4, 4), "linear", 0)
    for layer in (attention, unused):
        with pytest.raises(TaskError, match=rf"{layer.name} must .* method 'nnrelief'"):
            check_fit(config, replace(info, layers=(*info.layers, layer)))


def test_only_two_rewinds_are_known() -> None:
    with pytest.raises(ConfigError, match=r"nnrelief\.rewind"):
        job("nnrelief", rewind="reinit")
    assert METHODS.get("nnrelief").min_steps(METHODS.get("nnrelief").params()) <= 150
