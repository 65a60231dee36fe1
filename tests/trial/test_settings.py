from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.errors import ConfigError, StudyError
from autoprune.testing.methods import TASK
from autoprune.trial.settings import (
    FIGURES,
    WorkerSettings,
    check_place,
    home_id,
    usable_threads,
)


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


def test_a_worker_elsewhere_must_be_as_the_driver(tmp_path: Path) -> None:
    settings = WorkerSettings(TASK, "", str(tmp_path))
    sent = settings.sent()
    assert WorkerSettings.from_json(sent) == settings
    assert settings.sent() == sent
    check_place(sent, "node")
    check_place(settings.to_json(), "node")  # what was not sent is not compared
    made: dict[str, Any] = {"torch": "1.0.0", "sources_sha256": sent["made_with"]["sources_sha256"]}
    with pytest.raises(StudyError, match=r"worker on node must run the driver's torch \(1\.0\.0\)"):
        check_place({**sent, "made_with": made}, "node")
    made = {**sent["made_with"], "sources_sha256": "0" * 64}
    with pytest.raises(StudyError, match=r"AutoPrune's sources \(000000000000\)"):
        check_place({**sent, "made_with": made}, "node")


def test_a_worker_that_sees_another_home_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    sent = WorkerSettings(TASK, "", str(home)).sent()
    first = home_id(home)
    assert sent["home_id"] == first == home_id(home)
    shutil.rmtree(home)
    with pytest.raises(StudyError, match=r"see the driver's home at .*; got 'no such home'"):
        check_place(sent, "node")
    assert not home.exists()
    assert home_id(home) != first
    with pytest.raises(StudyError, match="worker on node must see the driver's home"):
        check_place(sent, "node")
