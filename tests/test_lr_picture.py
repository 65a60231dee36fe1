"""The picture of the learning-rate schedules in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from autoprune.training.registry import LR_SCHEDULES
from benchmarks.lr_schedules import TITLES, rates
from tests.processes import python

ROOT = Path(__file__).parents[1]


def test_every_schedule_has_a_title() -> None:
    assert list(TITLES) == LR_SCHEDULES.names()


@pytest.mark.parametrize(
    ("name", "peaks"),
    [
        # The dense run's last half starts at .01.
        ("lrw", [0.01, 0.01, 0.01]),
        # max(lost / sqrt(.45), 1/2): .37, .63, .86 of .1.
        ("allr", [0.05, 0.0626, 0.0865]),
        # x = 0, .45, .6975 and S(x) = 0, .268, .985: .04 + .06 S.
        ("silo", [0.04, 0.0561, 0.0991]),
    ],
)
def test_the_peaks_it_shows(name: str, peaks: list[float]) -> None:
    assert [max(cycle) for cycle in rates(name)] == pytest.approx(peaks, abs=1e-4)


def test_the_command_draws_it(tmp_path: Path) -> None:
    out = tmp_path / "img" / "lr.png"
    done = python("-m", "benchmarks.lr_schedules", "--out", str(out), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    with Image.open(out) as drawn, Image.open(ROOT / "docs" / "img" / "lr_schedules.png") as kept:
        assert drawn.size == kept.size
