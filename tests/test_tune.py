from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoprune.core.errors import AutoPruneError, ConfigError, UnknownNameError
from autoprune.tune import run_config, trainable

SMALL: dict[str, Any] = {
    "method": "magnitude",
    "sparsity": 0.9,
    "epochs": 2,
    "train.epochs": 2,
    "task.train_size": 300,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("home"))


def test_a_trial_reports_its_figures(home: str) -> None:
    report = run_config({**SMALL, "lr.peak": 0.1}, home)
    # 50,200 prunable weights of the mlp, a tenth of them kept.
    assert report["sparsity"] == pytest.approx(0.9, abs=1 / 50_200)
    assert report["error"] == pytest.approx(1 - report["val_accuracy"])
    assert report["status"] == "ok"
    assert report["epochs_trained"] == 4


def test_trials_share_their_dense_run_through_the_home(home: str) -> None:
    run_config({**SMALL, "lr.peak": 0.2}, home)
    assert run_config({**SMALL, "lr.peak": 0.05}, home)["epochs_trained"] == 2
    assert run_config({**SMALL, "lr.peak": 0.05}, home)["epochs_trained"] == 0


def test_every_key_reaches_the_trial(home: str) -> None:
    base = run_config(SMALL, home)
    changed = [
        {"sparsity": 0.8},
        {"lr": "cosine"},
        {"lr.peak": 0.3},
        {"allocation": "uniform"},
        {"recipe.label_smoothing": 0.1},
        {"model": "mlp", "task.width": 0.5},
    ]
    trials = {run_config({**SMALL, **change}, home)["trial"] for change in changed}
    assert len(trials | {base["trial"]}) == 1 + len(changed)


def test_the_seed_changes_the_result_and_not_the_trial(home: str) -> None:
    first, again, other = (run_config({**SMALL, "seed": seed}, home) for seed in (0, 0, 1))
    assert first["trial"] == again["trial"] == other["trial"]
    assert first["val_loss"] == again["val_loss"] != other["val_loss"]


def test_a_samplers_numpy_numbers_are_numbers(home: str) -> None:
    drawn = run_config({**SMALL, "sparsity": np.float64(0.9), "epochs": np.int64(2)}, home)
    assert drawn["trial"] == run_config(SMALL, home)["trial"]


def test_bad_keys_are_told(home: str) -> None:
    with pytest.raises(UnknownNameError, match=r"'magnitud'.*did you mean 'magnitude'"):
        run_config({**SMALL, "method": "magnitud"}, home)
    with pytest.raises(ConfigError, match=r"run.sparsity must be less than 1; got 1.5"):
        run_config({**SMALL, "sparsity": 1.5}, home)
    with pytest.raises(ConfigError, match=r"run.magnitude.rouds is not a known key"):
        run_config({**SMALL, "rouds": 3}, home)


def test_the_default_length_is_what_the_method_needs(home: str) -> None:
    rest = {key: value for key, value in SMALL.items() if key != "epochs"}
    assert run_config({**rest, "train.epochs": 1}, home)["epochs_trained"] == 1 + 9


def test_a_failed_trial_raises(home: str) -> None:
    with pytest.raises(AutoPruneError, match=r"failed: "):
        run_config({**SMALL, "method": "rigl"}, home)


@pytest.mark.ray
def test_it_runs_in_a_tuner_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray import tune

    (tmp_path / "start").mkdir()
    monkeypatch.chdir(tmp_path / "start")
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        fixed = {key: value for key, value in SMALL.items() if key != "sparsity"}
        tuner = tune.Tuner(
            trainable(home="home", **fixed),
            param_space={"sparsity": tune.grid_search([0.8, 0.95])},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(tmp_path / "ray"), verbose=0),
        )
        results = tuner.fit()
    finally:
        ray.shutdown()
    assert not results.errors
    found = sorted(round(result.metrics["sparsity"], 3) for result in results)
    assert found == [0.8, 0.95]
    # Relative to where the driver stood, not to the worker's folder.
    assert (tmp_path / "start" / "home" / "store").is_dir()
