"""The comparison of methods: what its numbers mean, and that a stopped run goes on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from benchmarks.methods import __main__ as command
from benchmarks.methods.catalogue import SEEDS, methods, variants
from benchmarks.methods.effects import EFFECTS, above, grows
from benchmarks.methods.pool import Results
from benchmarks.methods.table import Table


def row(label: str, target: float, seed: int, accuracy: float, **more: Any) -> dict[str, Any]:
    metrics = {"test_accuracy": accuracy}
    return {"label": label, "target": target, "seed": seed, "metrics": metrics, **more}


def table(**accuracies: dict[float, tuple[float, ...]]) -> Table:
    return Table(
        [
            row(label, target, seed, value)
            for label, by_target in accuracies.items()
            for target, values in by_target.items()
            for seed, value in enumerate(values)
        ]
    )


def test_a_gap_is_students_in_points() -> None:
    # Differences 1, 2, 3 points: mean 2, deviation 1, t(0.975, 2) = 4.303: 4.303 / sqrt(3) = 2.484.
    gap = table(a={0.9: (0.71, 0.82, 0.93)}, b={0.9: (0.70, 0.80, 0.90)}).gap("a", "b", 0.9)
    assert gap.mean == pytest.approx(2.0)
    assert gap.half == pytest.approx(2.484, abs=1e-3)
    assert str(gap) == "+2.00 ± 2.48"
    assert gap.noise


def test_a_gap_of_one_seed_has_no_end() -> None:
    gap = table(a={0.9: (0.75,)}, b={0.9: (0.50,)}).gap("a", "b", 0.9)
    assert str(gap) == "+25.00 ± inf"
    assert gap.noise


def test_gaps_are_paired_by_seed_and_in_points() -> None:
    # Seeds differ by ten points, the pairs by one each: without pairing the interval would hold 0.
    found = table(a={0.9: (0.71, 0.81, 0.91)}, b={0.9: (0.70, 0.80, 0.90)}).gap("a", "b", 0.9)
    assert found.mean == pytest.approx(1.0)
    assert not found.noise


def test_verdicts_follow_the_numbers() -> None:
    better = {0.9: (0.90, 0.91, 0.92), 0.98: (0.80, 0.81, 0.82)}
    worse = {0.9: (0.89, 0.90, 0.91), 0.98: (0.70, 0.71, 0.72)}
    both = table(a=better, b=worse)
    assert above("a", "b", (0.9, 0.98))(both).seen
    assert not above("b", "a", (0.9, 0.98))(both).seen
    assert grows("a", "b", 0.9, 0.98)(both).seen
    assert not grows("b", "a", 0.9, 0.98)(both).seen
    assert above("a", "a", (0.9,))(both).seen  # level is not below
    assert "within noise" in above("a", "b", (0.9,))(
        table(a={0.9: (0.9, 0.8, 0.7)}, b={0.9: (0.7, 0.8, 0.88)})
    ).text  # fmt: skip


def test_every_variant_is_a_variant_of_a_method_and_labels_are_unique() -> None:
    names = {entry.label for entry in methods()}
    assert {entry.like for entry in variants() if entry.like} <= names
    labels = [entry.label for entry in (*methods(), *variants())]
    assert len(set(labels)) == len(labels)


def test_every_effect_names_measured_labels() -> None:
    rows = [
        row(e.label, t, seed, 0.8, layers={f"fc{n}.weight": 0.1 for n in (1, 2, 3)})
        for e in (*methods(), *variants())
        for t in (0.9, 0.95, 0.98)
        for seed in SEEDS
    ]
    every = Table(rows)
    for effect in EFFECTS:
        assert effect.measure(every).text, effect


def test_a_torn_line_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    Results(file).add({"key": "whole"})
    with file.open("a") as torn:
        torn.write('{"key": "to')
    assert set(Results(file).rows) == {"whole"}


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--quick", "--home", str(tmp_path / "home"), "--out", str(tmp_path)]
    assert command.main(["run", *options, "--methods", "magnitude"]) == 0
    first = capsys.readouterr().out
    assert "magnitude uniform 0.98 seed 2: ok" in first
    assert command.main(["run", *options, "--methods", "magnitude"]) == 0
    assert "seed" not in capsys.readouterr().out  # nothing was trained again
    assert command.main(["report", *options]) == 0
    page = (tmp_path / "docs" / "results" / "methods.md").read_text()
    assert "| magnitude | " in page
    assert "| not measured |" in page
    with (tmp_path / "benchmarks" / "data" / "methods.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {r["label"] for r in rows} == {"dense", "magnitude"} | {
        f"magnitude {name}" for name in ("uniform", "erk", "lamp")
    }
    assert {r["status"] for r in rows} == {"ok"}
