from __future__ import annotations

import os

import pytest

from autoprune.core.errors import ConfigError
from autoprune.testing.methods import TASK
from autoprune.trial.settings import FIGURES, WorkerSettings, usable_threads


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("1", 1), ("1,4", 1), ("4096", None), ("", None), ("0", None), ("many", None)],
)
def test_a_shared_machine_may_be_asked_for_fewer_threads(
    asked: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = len(os.sched_getaffinity(0))
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert usable_threads() == (cores if expected is None else expected)


def test_figures_are_checked_and_travel() -> None:
    settings = WorkerSettings(TASK, "", "home", measure=tuple(sorted(FIGURES)))
    assert WorkerSettings.from_json(settings.recorded()) == settings
    with pytest.raises(ConfigError, match="unknown figure; got 'top_5'; did you mean 'top5'"):
        WorkerSettings(TASK, "", "home", measure=("train", "top_5"))


def test_what_latencies_are_measured_with_is_on_record() -> None:
    settings = WorkerSettings(TASK, "", "home", threads=3, measure=("latency_ms",))
    expected = {"runtime": "torch", "device": "cpu", "threads": 3, "batch": 1}
    assert settings.recorded()["latency"] == expected
    assert WorkerSettings.from_json(settings.recorded()) == settings
    assert "latency" not in WorkerSettings(TASK, "", "home").recorded()
