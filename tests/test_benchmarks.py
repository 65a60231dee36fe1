"""The benchmarks run at tiny sizes; what they say there means nothing, that they run does."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from autoprune.core.records import JobResult
from benchmarks import __main__ as command
from benchmarks.common import Row, in_turns, ratio
from benchmarks.epoch import bare_epoch
from benchmarks.ray_jobs import Queue, overhead
from tests.processes import python

ROOT = Path(__file__).parents[1]


def _table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_turns_alternate_and_the_first_does_not_count() -> None:
    calls: list[str] = []
    times = in_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_ratio_is_of_medians() -> None:
    # medians 3 and 2
    row = ratio("r", {"a": [1.0, 3.0, 9.0], "b": [2.0, 2.0, 5.0]}, "a", "b", 1.4)
    assert row.value == 1.5
    assert row.count == 3
    assert row.holds is False


@pytest.mark.parametrize(
    ("unit", "limit", "holds"), [("ms", 6.0, True), ("share", 6.0, False), ("ms", None, None)]
)
def test_shares_must_not_fall_below_and_the_rest_not_rise_above(unit, limit, holds) -> None:
    assert Row("x", 5.0, unit, limit, 1).holds is holds


def test_overhead_is_what_is_left_of_the_workers_time() -> None:
    # Two workers from 10 s (the first job ends at 12 after 2 s) to 14 s: 8 s, of which 6 are work.
    results = [(12.0, 2.0), (13.0, 2.5), (14.0, 1.5)]
    queue = Queue([])
    queue.results = [
        (end, JobResult(n, "t", "ok", wall_s=wall)) for n, (end, wall) in enumerate(results)
    ]
    beyond, busy = overhead(queue, "data")
    assert busy.value == pytest.approx(0.75)
    assert beyond.value == pytest.approx(2000 / 3)


def test_the_bare_loop_learns() -> None:
    stream = torch.Generator().manual_seed(0)
    inputs = torch.randn(512, 4, generator=stream)
    targets = (inputs[:, 0] > 0).long()
    model = torch.nn.Linear(4, 2)
    for _ in range(20):
        bare_epoch(model, inputs, targets)
    assert (model(inputs).argmax(1) == targets).float().mean() > 0.9


@pytest.mark.slow
@pytest.mark.ray
def test_quick_prints_and_appends_every_measurement(tmp_path: Path) -> None:
    out = tmp_path / "data" / "results.csv"
    done = python("-m", "benchmarks", "--quick", "--out", str(out), cwd=ROOT)
    assert done.returncode == 0, done.stderr
    table = _table(out)
    starts = (
        "masked step / dense step, lenet300", "masked step / dense step, resnet20",
        "torch.nn.utils.prune / dense, lenet300", "epoch / bare tensor loop",
        "step between updates / plain masked step, platon",
        "epoch / torchvision DataLoader", "engine per decision", "ray beyond training per job",
        "ray workers busy", "autoprune --help", "torch and timm in the Ray driver",
    )  # fmt: skip
    for start in starts:
        assert any(name.startswith(start) for name in table), start
    for name, row in table.items():
        assert name in done.stdout
        assert float(row["value"]) >= 0
        assert row["torch"] == torch.__version__.partition("+")[0]
        assert int(row["cores"]) >= 1
    assert float(table["torch and timm in the Ray driver"]["value"]) == 0
    limits = {name: row["limit"] for name, row in table.items()}
    assert limits["masked step / dense step, lenet300"] == "1.08"


def test_another_run_is_appended(tmp_path: Path) -> None:
    out = tmp_path / "results.csv"
    for _ in range(2):
        assert command.main(["--quick", "engine", "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 3


@pytest.mark.slow
def test_the_gpu_script_runs_on_a_cpu(tmp_path: Path) -> None:
    out = tmp_path / "gpu.csv"
    size = "--device cpu --size 64 --batch-size 4 --width 0.25"
    count = "--processes 2 --jobs 1 --repetitions 1 --no-compile"
    done = python(
        "-m", "benchmarks.gpu", *size.split(), *count.split(), "--out", str(out), cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    table = _table(out)
    assert float(table["epoch plain, resnet20/noise x 64, float32"]["value"]) > 0
    assert float(table["jobs per hour, 2 processes"]["value"]) > 0


def test_the_gpu_script_needs_no_ray_optuna_mlflow_or_torch_pruning() -> None:
    names = ("ray", "optuna", "mlflow", "torch_pruning", "sklearn")
    code = f"import sys; sys.modules.update(dict.fromkeys({names})); import benchmarks.gpu"
    done = python("-c", code, cwd=ROOT)
    assert done.returncode == 0, done.stderr
