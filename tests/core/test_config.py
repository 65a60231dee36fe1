from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from autoprune.core.config import (
    LRConfig,
    RecipeConfig,
    TaskConfig,
    TrainConfig,
    TrialConfig,
    parse,
)
from autoprune.core.errors import ConfigError
from autoprune.methods.base import complete
from autoprune.training.lr.step import Step


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TrialConfig, {"sparsity": 1.0}, "x.sparsity must be less than 1; got 1.0"),
        (
            TrialConfig,
            {"sparsity": -0.1},
            "x.sparsity must be greater than or equal to 0; got -0.1",
        ),
        (TrialConfig, {"of": "flops"}, "x.of must be 'weights' or 'macs'; got 'flops'"),
        (TrialConfig, {"stop_round": 0}, "x.stop_round must be greater than or equal to 1; got 0"),
        (TrialConfig, {"train": {"epochs": 0}}, "x.train.epochs must be greater than or equal to"),
        (TrainConfig, {"momentum": 1.0}, "x.momentum must be less than 1"),
        (TrainConfig, {"epoch": 3}, "x.epoch is not a known key; did you mean 'epochs'?"),
        (RecipeConfig, {"distill": 1.5}, "x.distill must be less than or equal to 1; got 1.5"),
        (TaskConfig, {"width": 0}, "x.width must be greater than 0; got 0"),
        (
            TrialConfig,
            {"task": {"label_noise": 1.0}},
            "x.task.label_noise must be less than 1; got 1.0",
        ),
        (
            TaskConfig,
            {"label_noise": -0.1},
            "x.label_noise must be greater than or equal to 0; got -0.1",
        ),
        (
            TaskConfig,
            {"label_noise_kind": "flip"},
            "x.label_noise_kind must be 'symmetric', 'exact' or 'pairflip'; got 'flip'",
        ),
        (TaskConfig, {"label_noise_seed": -1}, "x.label_noise_seed must be greater than or equal"),
        (Step, {"first": 0.9, "second": 0.5}, "x first must be <= second = 0.5, not 0.9; got"),
    ],
)
def test_a_value_that_breaks_its_rule(kind: type, values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(kind, values, "x")
    assert str(caught.value).startswith(message)
    assert "alue error" not in str(caught.value)


def test_configurations_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        TrialConfig().sparsity = 0.5  # type: ignore[misc]


def test_where_files_lie_is_not_part_of_a_trial_s_name() -> None:
    base = TrialConfig(task=TaskConfig(task_sha256="t", checkpoint_sha256="c"))
    moved = replace(
        base, task=replace(base.task, data_dir="/a", task_file="/b.py", checkpoint="/c.pt")
    )
    assert moved.trial_id == base.trial_id
    assert len(base.trial_id) == 10


@pytest.mark.parametrize(
    "changed",
    [
        TrialConfig(sparsity=0.91),
        TrialConfig(method="imp"),
        TrialConfig(of="macs"),
        TrialConfig(params={"allocation": "erk"}),
        TrialConfig(lr=LRConfig(name="cosine")),
        TrialConfig(recipe=RecipeConfig(ema=0.9)),
        TrialConfig(train=TrainConfig(lr=0.2)),
        TrialConfig(task=TaskConfig(model="lenet300")),
        TrialConfig(task=TaskConfig(task_sha256="t")),
        TrialConfig(task=TaskConfig(label_noise=0.2)),
        TrialConfig(task=TaskConfig(label_noise_kind="exact")),
        TrialConfig(task=TaskConfig(label_noise_seed=1)),
        TrialConfig(stop_round=1),
    ],
    ids=lambda config: config.trial_id,
)
def test_everything_else_is(changed: TrialConfig) -> None:
    assert changed.trial_id != TrialConfig().trial_id


def test_keys_that_came_later_change_no_name() -> None:
    # Recorded before a task had noise.
    assert TrialConfig().trial_id == "eefd541675"
    given = TaskConfig(train_size=100, model="conv2", data_dir="/x")
    assert TrialConfig(task=given, method="imp", params={"rounds": 3}).trial_id == "74e14b679a"


def test_a_completed_trial_has_one_name() -> None:
    # Left out, spelt out, or as a whole number: the same trial.
    left_out = complete(TrialConfig(method="ap", lr=LRConfig(name="silo")))
    spelt_out = complete(
        TrialConfig(
            method="ap",
            params={"share": 0.02, "rounds": 3},
            lr=LRConfig(name="silo", params={"beta": 5}),
        )
    )
    assert left_out == spelt_out
    assert left_out.trial_id == spelt_out.trial_id
    assert complete(left_out) == left_out


def test_retraining_follows_the_dense_run_where_it_says_nothing() -> None:
    train = TrainConfig(optimizer="adamw", momentum=0.8, batch_size=32)
    assert RecipeConfig().optimizer_config(train).optimizer == "adamw"
    own = RecipeConfig(batch_size=16, nesterov=False, weight_decay=0.0).optimizer_config(train)
    assert (own.batch_size, own.nesterov, own.weight_decay, own.momentum) == (16, False, 0.0, 0.8)
    assert {f.name for f in fields(own)} <= {f.name for f in fields(train)}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_json_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"train\.lr must be a finite number"):
        parse(TrainConfig, {"lr": value}, "train")
