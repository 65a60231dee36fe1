from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from autoprune.core.config import LRConfig, TrialConfig
from autoprune.core.errors import ConfigError
from autoprune.core.records import Job, JobResult, LayerInfo, RoundRecord, StageRecord, TaskInfo

INFO = TaskInfo(
    num_train=129,
    num_val=10,
    num_test=10,
    num_classes=3,
    input_shape=(3, 8, 8),
    layers=(LayerInfo("a", (4, 3, 3, 3), "conv", 6912), LayerInfo("b", (3, 4), "linear", 12)),
    params=130,
    macs=6924,
    fingerprint="f",
    reach={"units": 0.9},
)
RESULT = JobResult(
    job=3,
    trial="abc",
    status="ok",
    metrics={"val_accuracy": 1 / 3},
    layers={"a": 0.1},
    rounds=(RoundRecord(1, 1.5, {"sparsity": 0.5}),),
    stages=(StageRecord("k", "train", 3.0, False, 0.25),),
    epochs_trained=3.0,
)


def test_weights_and_steps_are_counted() -> None:
    assert INFO.num_prunable == 4 * 27 + 12
    assert INFO.steps_per_epoch(64) == 3  # 129 = 64 + 64 + 1
    assert INFO.steps_per_epoch(129) == 1


def test_records_survive_json() -> None:
    job = Job(3, TrialConfig(lr=LRConfig(params={"peak": 0.1})), 9, 1, "confirm", True, "dense")
    for value in (INFO, RESULT, job):
        text = json.dumps(value.to_json(), allow_nan=False)
        assert type(value).from_json(json.loads(text)) == value
    assert job.to_json()["trial"] == job.trial == job.config.trial_id


def test_a_broken_record_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"config\.sparsity must be less than 1"):
        Job.from_json({**Job(0, TrialConfig(), 1, 0, "run").to_json(), "config": {"sparsity": 2}})
    with pytest.raises(ValidationError):
        JobResult.from_json({**RESULT.to_json(), "status": "fine"})
