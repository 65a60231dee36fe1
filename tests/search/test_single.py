from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.errors import AutoPruneError, ConfigError, StudyError, UnknownNameError
from autoprune.search.single import SingleRun, build_config

NOTHING = (
    "method",
    "data",
    "model",
    "task_file",
    "checkpoint",
    "data_dir",
    "lr",
    "allocation",
    "sparsity",
)


def given(**options: Any) -> dict[str, Any]:
    base: dict[str, Any] = dict.fromkeys(NOTHING)
    return {**base, "method": "magnitude", "sparsity": 0.9, "of": "weights", **options}


SHORT = {"train.epochs": 2, "lr.peak": 0.1}


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """Run on one core: the tests beside us have the others."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)} if os.getpid() % 2 else {max(cores)})
    yield
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)


def test_the_shipped_space_fills_in() -> None:
    config, top = build_config(given(), {})
    assert (config.task.data, config.task.model, top) == ("digits", "mlp", 9)
    assert (config.train.epochs, config.lr.name) == (20, "linear")
    assert config.params == {"allocation": "global", "granularity": "weight"}


def test_settings_go_where_they_say() -> None:
    config, _ = build_config(
        given(method="imp", allocation="lamp"),
        {
            "rounds": 5,
            "lr.peak": 0.2,
            "recipe.mixup": 0.3,
            "train.epochs": 4,
            "task.width": 0.5,
            "task.label_noise": 0.2,
        },
    )
    assert (config.task.label_noise, config.task.label_noise_kind) == (0.2, "symmetric")
    assert config.params["rounds"] == 5
    assert config.params["allocation"] == "lamp"
    assert config.lr.params["peak"] == 0.2
    assert (config.recipe.mixup, config.train.epochs, config.task.width) == (0.3, 4, 0.5)


@pytest.mark.parametrize(
    ("options", "settings", "kind", "message"),
    [
        ({"method": "sinp"}, {}, UnknownNameError, r"run\.method names .* did you mean 'snip'"),
        ({"allocation": "globl"}, {}, UnknownNameError, r"magnitude\.allocation .*'global'"),
        ({"lr": "linaer"}, {}, UnknownNameError, r"run\.lr names .* did you mean 'linear'"),
        (
            {},
            {"task.label_noise": 1.0},
            ConfigError,
            r"^run\.task\.label_noise must be less than 1; got 1\.0$",
        ),
        ({"sparsity": 1.0}, {}, ConfigError, r"run\.sparsity must be less than 1; got 1\.0"),
        ({"sparsity": -0.1}, {}, ConfigError, r"run\.sparsity must be greater than or equal to 0"),
        ({}, {"x.y": 1}, ConfigError, r"--set x\.y must start with lr\., recipe\., train\. or tas"),
        ({}, {"round": 3}, ConfigError, r"run\.magnitude\.round is not a known key"),
        ({}, {"lr.peek": 3}, ConfigError, r"run\.lr\.linear\.peek is not a known key.*'peak'"),
        ({}, {"train.schedule": "silo"}, ConfigError, r"train\.schedule must be a schedule with a"),
    ],
)
def test_bad_options(
    options: dict[str, Any], settings: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        build_config(given(**options), settings)


def single(home: Path, method: str = "magnitude", **settings: Any) -> SingleRun:
    config, _ = build_config(given(method=method), {**SHORT, **settings})
    return SingleRun(config, 2, home=home)


def test_a_run_reads_the_test_split_and_knows_its_dense_net(tmp_path: Path) -> None:
    run = single(tmp_path)
    entry = run.entry(run.run())
    assert entry["status"] == "ok"
    assert entry["sparsity"] == pytest.approx(0.9)
    assert 0.8 < entry["dense_val_accuracy"] <= 1
    assert 0 < entry["test_accuracy"] <= 1
    assert (entry["epochs_trained"], entry["epochs_reused"]) == (4.0, 0.0)
    again = run.entry(run.run())
    assert (again["epochs_trained"], again["epochs_reused"]) == (0.0, 4.0)
    assert again["mask_sha256"] == entry["mask_sha256"]


def test_a_trial_from_scratch_trains_a_dense_reference(tmp_path: Path) -> None:
    found = single(tmp_path, "snip").run()
    assert found.metrics["dense_val_accuracy"] > 0.8
    assert found.epochs_trained == 2 * (1 + 2 / 2) + 2


def test_more_epochs_where_the_method_needs_them(tmp_path: Path) -> None:
    # 50 rounds ask for 500 steps of 17 an epoch.
    assert single(tmp_path, "imp", rounds=50).epochs == 30
    assert single(tmp_path).epochs == 2


def test_too_few_epochs_are_refused(tmp_path: Path) -> None:
    run = single(tmp_path, "imp", rounds=5)
    for epochs in (0, 2):
        with pytest.raises(ConfigError, match=r"--epochs must be at least 3 for method 'imp'"):
            run.run(epochs)


def test_a_run_that_fails_says_why(tmp_path: Path) -> None:
    run = single(tmp_path)
    run.context.task.__dict__["own_loss"] = lambda outputs, targets: 1 / 0
    with pytest.raises(AutoPruneError, match="run: ZeroDivisionError") as caught:
        run.run()
    assert not isinstance(caught.value, ValueError)  # exit 1, not 2


def test_a_plan_that_is_refused_is_bad_input(tmp_path: Path) -> None:
    config, _ = build_config(given(method="imp", lr="lrw"), {"train.epochs": 1, "rounds": 1})
    with pytest.raises(ConfigError, match="must not be 'lrw' for cycles longer"):
        SingleRun(config, 2, home=tmp_path).run()


def test_a_full_disk_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = single(tmp_path)
    assert run.context

    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StudyError, match=r"store .* must be writable and have room"):
        run.run()
