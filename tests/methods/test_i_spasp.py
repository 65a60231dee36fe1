"""The method on digits: which units, after which, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from autoprune.core.config import TaskConfig, TrialConfig
from autoprune.core.errors import ConfigError, TaskError
from autoprune.core.seeds import stream_seed, torch_stream
from autoprune.data.taskfile import identify
from autoprune.methods.base import complete
from autoprune.pruning.masks import top_k_mask
from autoprune.pruning.scores.i_spasp import pursue
from autoprune.search.single import SingleRun
from autoprune.trial.plan import check_fit
from tests.methods.support import assert_equal, job, masked, of_kind, plan, state

NAMES = ("fc1", "fc2")


def pursued(context, **settings):
    """The stage that chooses, its state, the mask's and the dense one."""
    (last,) = plan(job("i_spasp", **settings))
    (stage,) = of_kind(last, "pursue")
    dense, counted = (state(parent, context) for parent in stage.parents)
    return stage, state(stage, context), counted, dense


def flags(found, name):
    return torch.tensor(found.structure.units[f"{name}.weight"]).bool()


def hidden(weights, context):
    """Activations of both hidden layers on the images that are drawn, ``(d, B)``, and the readers.

    The mlp's forward pass, written out: float32 as the model's.
    """
    train = context.task.data.train
    seed = stream_seed(0, "score")
    order = torch.randperm(train.size, generator=torch_stream(seed, "score"))[:1280]
    ((inputs, _),) = train.batches(len(order), order=order)
    values, layers = inputs.flatten(1), {}
    for name, reader in zip(NAMES, ("fc2", "fc3"), strict=True):
        layer = weights[f"{name}.weight"], weights[f"{name}.bias"]
        values = torch.nn.functional.linear(values, *layer).relu()
        layers[name] = values.T.double(), weights[f"{reader}.weight"].double()
    return layers


def expected(hidden, weight, keep, **options):
    mass = hidden.sum(1)
    pull = (weight.T @ weight) * mass
    (found,) = pursue(mass, pull, torch.tensor([keep]), **options)
    return found


@pytest.mark.parametrize("prefix", ["pruned", "dense"])
def test_units_are_chosen_layer_by_layer(digits_context, prefix):
    _, found, counted, dense = pursued(digits_context, sparsity=0.9, prefix=prefix)
    seen = dense.weights
    for name in NAMES:
        values, weight = hidden(seen, digits_context)[name]
        keep = int(flags(counted, name).sum())
        assert torch.equal(flags(found, name), expected(values, weight, keep))
        if prefix == "pruned":
            seen = {**seen}
            for last in ("weight", "bias"):
                seen[f"{name}.{last}"] = masked(seen, found.masks)[f"{name}.{last}"]


def test_the_prefix_matters(digits_context):
    pruned, dense = (
        pursued(digits_context, sparsity=0.95, prefix=prefix)[1] for prefix in ("pruned", "dense")
    )
    assert torch.equal(flags(pruned, "fc1"), flags(dense, "fc1"))
    assert not torch.equal(flags(pruned, "fc2"), flags(dense, "fc2"))


def test_counts_are_the_masks_and_weights_the_dense_ones(digits_context):
    _, found, counted, dense = pursued(digits_context, sparsity=0.9)
    for name in NAMES:
        assert flags(found, name).sum() == flags(counted, name).sum()
        assert torch.equal(found.masks[f"{name}.bias"], flags(found, name))
        assert torch.equal(found.masks[f"{name}.weight"].any(1), flags(found, name))
    assert_equal(found.weights, masked(dense.weights, found.masks))
    kept = [
        sum(int(m.sum()) for n, m in s.masks.items() if "weight" in n) for s in (found, counted)
    ]
    assert kept[0] == kept[1]
    assert found.tensors == {}
    # What the mask took is not what this set takes.
    assert found.log["norm_lost"] != counted.log["norm_lost"]
    assert found.log["share_lost"] == counted.log["share_lost"]
    assert found.log["empty_layers"] == 0


def test_more_than_half_are_the_loudest_and_the_log_says_so(digits_context):
    _, found, _, dense = pursued(digits_context, sparsity=0.5)
    assert found.log["i_spasp_degenerate"] == 1.0
    values, _ = hidden(dense.weights, digits_context)["fc1"]
    keep = int(flags(found, "fc1").sum())
    assert 150 < keep < 250
    assert torch.equal(flags(found, "fc1"), top_k_mask(values.sum(1), keep))
    assert pursued(digits_context, sparsity=0.9)[1].log["i_spasp_degenerate"] == 0.0


def test_options_reach_the_selection(digits_context):
    options = {"iterations": 1, "candidates": 3, "sign": "abs"}
    _, found, _, dense = pursued(digits_context, sparsity=0.95, **options)
    values, weight = hidden(dense.weights, digits_context)["fc1"]
    keep = int(flags(found, "fc1").sum())
    assert torch.equal(flags(found, "fc1"), expected(values, weight, keep, **options))
    assert not torch.equal(flags(found, "fc1"), expected(values, weight, keep))


def test_passes_over_images_are_counted(digits_context):
    # One for the counts, then one, or one per group.
    assert pursued(digits_context, sparsity=0.9)[1].log["score_passes"] == 3
    assert pursued(digits_context, sparsity=0.9, prefix="dense")[1].log["score_passes"] == 2


def test_a_share_of_macs_is_what_is_counted():
    config = replace(job("i_spasp", sparsity=0.7).config, of="macs")
    (last,) = plan(replace(job("i_spasp"), config=complete(config)))
    (stage,) = of_kind(last, "pursue")
    assert stage.parents[1].of == "macs"
    assert stage.parents[1].granularity == stage.granularity == "inner_channel"


def test_what_the_model_does_not_reach_is_refused(digits_context):
    info = replace(
        digits_context.task.info, reach={"inner_channel": 0.87654, "inner_channel_macs": 0.5}
    )
    check_fit(job("i_spasp", sparsity=0.87).config, info)
    with pytest.raises(ConfigError, match=r"must lie in \[0, 0\.8765\] .*on this model.*got 0\.9"):
        check_fit(job("i_spasp", sparsity=0.9).config, info)
    with pytest.raises(ConfigError, match=r"must be at least 0\.5 of the dense multiply-adds"):
        check_fit(replace(job("i_spasp", sparsity=0.6).config, of="macs"), info)
    none = replace(info, reach={"inner_channel": 0.0})
    with pytest.raises(TaskError, match="a single layer reads"):
        check_fit(job("i_spasp", sparsity=0.5).config, none)


RESIDUAL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.into = nn.Linear(6, 8), nn.Linear(8, 4)
        self.back, self.head = nn.Linear(4, 8), nn.Linear(8, 2)
        self.relu = nn.ReLU()

    def forward(self, x):
        x = self.stem(x)
        return self.head(self.relu(x + self.back(self.relu(self.into(x)))))

def model():
    return Net()

def train_data():
    x = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()

def val_data():
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    return x, (x[:, 0] > 0).long()
"""


def test_one_trial_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "own.py").write_text(RESIDUAL)

    def run(method, sparsity):
        task = identify(TaskConfig(task_file=str(tmp_path / "own.py")))
        config = TrialConfig(task=task, method=method, sparsity=sparsity)
        return SingleRun(complete(config), 10, home=tmp_path / "home")

    # 128 weights, of which three of the four inner units hold 16 each: 48 / 128.
    with pytest.raises(ConfigError, match=r"must lie in \[0, 0\.375\] .*on this model"):
        run("i_spasp", 0.5).check()
    run("dropnet", 0.5).check()
    found = run("i_spasp", 0.375).run().metrics
    assert found["sparsity"] == 0.375
    # Gone for good: three rows of nine and three columns of eight, of 150 weights and biases.
    assert found["params"] == 150 - 3 * 9 - 3 * 8
