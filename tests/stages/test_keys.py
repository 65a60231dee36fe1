from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from autoprune.core.config import LRConfig, OptimizerConfig, RecipeConfig, TaskConfig
from autoprune.stages.base import KeyContext, Numerics, Stage, closure
from autoprune.stages.init import Init, Pretrained
from autoprune.stages.prune import Mask, Recalibrate, Rewind, Score
from autoprune.stages.train import Cycle, HookSpec, Train

CONTEXT = KeyContext("data", Numerics("cpu", "float32", 1, "2.14"), "sources", "task")
INIT = Init(TaskConfig(), 0)
TRAIN = Train(
    parents=(INIT,),
    length=3.0,
    lr=LRConfig(params={"peak": 0.1}),
    optimizer=OptimizerConfig(),
    seed=0,
)
SCORE = Score(parents=(TRAIN,), score="magnitude", seed=0)
MASK = Mask(parents=(TRAIN, SCORE), allocation="global", sparsity=0.9)

CHANGES: list[tuple[Stage, dict[str, Any]]] = [
    (INIT, {"seed": 1}),
    (INIT, {"label": "reinit"}),
    (INIT, {"task": TaskConfig(model="lenet300")}),
    (INIT, {"task": TaskConfig(width=0.5)}),
    (INIT, {"task": TaskConfig(train_size=100)}),
    (INIT, {"task": TaskConfig(augment="none")}),
    (INIT, {"task": TaskConfig(task_sha256="x")}),
    (INIT, {"task": TaskConfig(checkpoint_sha256="x")}),
    (TRAIN, {"parents": (Init(TaskConfig(), 1),)}),
    (TRAIN, {"parents": (INIT, INIT)}),
    (TRAIN, {"length": 3.5}),
    (TRAIN, {"stop": 0.5}),
    (TRAIN, {"seed": 1}),
    (TRAIN, {"label": "retrain/1"}),
    (TRAIN, {"lr": LRConfig(params={"peak": 0.11})}),
    (TRAIN, {"lr": LRConfig(name="cosine", params={"peak": 0.1})}),
    (TRAIN, {"optimizer": OptimizerConfig(momentum=0.8)}),
    (TRAIN, {"optimizer": OptimizerConfig(nesterov=False)}),
    (TRAIN, {"optimizer": OptimizerConfig(weight_decay=1e-4)}),
    (TRAIN, {"optimizer": OptimizerConfig(batch_size=32)}),
    (TRAIN, {"optimizer": OptimizerConfig(optimizer="adamw")}),
    (TRAIN, {"recipe": RecipeConfig(label_smoothing=0.1)}),
    (TRAIN, {"recipe": RecipeConfig(ema=0.9)}),
    (TRAIN, {"recipe": RecipeConfig(cutout=2)}),
    (TRAIN, {"recipe": RecipeConfig(mixup=0.2)}),
    (TRAIN, {"recipe": RecipeConfig(distill=0.5)}),
    (TRAIN, {"recipe": RecipeConfig(distill_temperature=2.0)}),
    (TRAIN, {"hooks": (HookSpec("a:B"),)}),
    (TRAIN, {"hooks": (HookSpec("a:B", {"n": 1}),)}),
    (TRAIN, {"cycle": Cycle(index=1)}),
    (TRAIN, {"cycle": Cycle(sparsity=0.5)}),
    (TRAIN, {"curve": True}),
    (TRAIN, {"mask_mode": "latent"}),
    (TRAIN, {"augment": False}),
    (SCORE, {"score": "random"}),
    (SCORE, {"seed": 1}),
    (SCORE, {"label": "score/2"}),
    (MASK, {"allocation": "erk"}),
    (MASK, {"sparsity": 0.91}),
    (MASK, {"granularity": "channel"}),
    (MASK, {"of": "macs"}),
    (MASK, {"parents": (SCORE, TRAIN)}),
    (Recalibrate(parents=(TRAIN,)), {"num_batches": 10}),
]


@pytest.mark.parametrize(("stage", "change"), CHANGES, ids=lambda value: str(value)[:60])
def test_any_other_field_is_another_key(stage: Stage, change: dict[str, Any]) -> None:
    assert replace(stage).key(CONTEXT) == stage.key(CONTEXT)
    assert replace(stage, **change).key(CONTEXT) != stage.key(CONTEXT)


def test_no_two_changes_share_a_key() -> None:
    keys = [replace(stage, **change).key(CONTEXT) for stage, change in CHANGES]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "change",
    [
        {"fingerprint": "other"},
        {"sources": "other"},
        {"task_sha256": None},
        {"numerics": Numerics("cuda", "float32", 1, "2.14")},
        {"numerics": Numerics("cpu", "bfloat16", 1, "2.14")},
        {"numerics": Numerics("cpu", "float32", 2, "2.14")},
        {"numerics": Numerics("cpu", "float32", 1, "2.15")},
    ],
    ids=str,
)
def test_another_context_is_another_key(change: dict[str, Any]) -> None:
    assert MASK.key(replace(CONTEXT, **change)) != MASK.key(CONTEXT)
    assert MASK.key(replace(CONTEXT)) == MASK.key(CONTEXT)


def test_a_grandparent_counts() -> None:
    other = replace(SCORE, parents=(replace(TRAIN, seed=1),))
    assert other.key(CONTEXT) != SCORE.key(CONTEXT)


def test_the_kind_counts() -> None:
    task = TaskConfig()
    assert Rewind(parents=(TRAIN, INIT)).key(CONTEXT) != Stage(parents=(TRAIN, INIT)).key(CONTEXT)
    assert Pretrained(task).key(CONTEXT) != Init(task, 0).key(CONTEXT)


def test_keys_are_the_same_in_another_process() -> None:
    code = """
from tests.stages.test_keys import CONTEXT, MASK
print(MASK.key(CONTEXT))
"""
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        )
        assert done.stdout.strip() == MASK.key(CONTEXT)


def test_closure_lists_parents_first_and_each_once() -> None:
    assert closure(MASK) == [INIT, TRAIN, SCORE, MASK]


def test_where_files_lie_is_in_no_key() -> None:
    from autoprune.core.records import Job
    from autoprune.methods.base import complete
    from autoprune.trial.plan import make_plan
    from tests.methods.support import job

    one = job("imp")
    moved = replace(one.config, task=replace(one.config.task, data_dir="/elsewhere"))
    other = Job(0, complete(moved), one.epochs, one.seed, "run")
    keys = [make_plan(j, 3)[-1].key(CONTEXT) for j in (one, other)]
    assert keys[0] == keys[1]
