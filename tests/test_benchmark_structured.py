"""The comparison of methods of units: it runs, goes on where it was, and says what it measured."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import pytest

from autoprune.methods.base import METHODS
from benchmarks.methods.pool import Results
from benchmarks.structured import catalogue, counts, pursuit
from benchmarks.structured.__main__ import main
from benchmarks.structured.catalogue import Entry, Scale
from benchmarks.structured.cost import Bill, stages_of
from benchmarks.structured.expected import drop_findings, pursuit_findings
from benchmarks.structured.found import Found, spread
from benchmarks.structured.run import Run


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("structured")
    assert main(["run", "--quick", "--home", str(folder / "home"), "--out", str(folder)]) == 0
    return folder


def numbers(folder: Path) -> list[dict[str, str]]:
    with (folder / "benchmarks" / "data" / "structured.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_part_is_on_the_page(done: Path) -> None:
    page = (done / "docs" / "results" / "structured.md").read_text()
    assert "Not measured" not in page
    assert "nan" not in page
    for words in (
        "| filter_l1 |",
        "| random units |",
        "| lrpet |",
        "Not here: slimming (",
        "n = 2",
    ):
        assert words in page
    assert {row["part"] for row in numbers(done)} == {"A", "B", "C", "D"}
    assert (done / "docs" / "img" / "structured.png").stat().st_size > 10_000


def test_targets_are_reached_shares_of_the_multiply_adds(done: Path) -> None:
    macs = {
        (row["label"], row["seed"]): float(row["value"])
        for row in numbers(done)
        if row["part"] == "A" and row["what"] == "macs"
    }
    for (label, seed), found in macs.items():
        if label != "dense":
            assert found / macs["dense", seed] == pytest.approx(0.5, abs=0.05), label


def test_latencies_are_beside_the_dense_net(done: Path) -> None:
    rows = [row for row in numbers(done) if row["what"] == "p50_ms/32" and row["part"] == "D"]
    assert {row["label"] for row in rows} == {"dense", "filter_l1"}
    assert all(float(row["value"]) > 0 for row in rows)


def test_a_second_run_trains_and_times_nothing(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (done / "home" / "quick.jsonl").read_text()
    assert main(["run", "--quick", "--home", str(done / "home"), "--out", str(done)]) == 0
    assert (done / "home" / "quick.jsonl").read_text() == before
    assert "0 epochs" in capsys.readouterr().out


def test_a_late_start_starts_nothing(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    run = Run(catalogue.quick(), results, tmp_path, time.monotonic() - 1.0)
    assert not run.go("B")
    assert not [row for row in results.rows.values() if "metrics" in row]


def test_a_bad_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--parts", "A,E"])
    assert "--parts must be some of A,B,C,D; got A,E" in capsys.readouterr().err


def test_lrpet_counts_are_the_papers() -> None:
    dense, split = counts.measure("resnet56", (0.57,))
    assert dense["macs"] / 1e6 == pytest.approx(125.49, abs=0.005)
    assert split["macs"] / 1e6 == pytest.approx(56.06, abs=0.005)
    assert split["weights"] / 1e6 == pytest.approx(0.394, abs=0.0005)


def test_i_spasp_on_two_random_layers() -> None:
    found = pursuit_findings({**pursuit.measure(4)})
    assert [one.seen for _, one in found] == [True, True, True], found


def test_a_stage_that_two_jobs_share_costs_once(tmp_path: Path) -> None:
    setting = catalogue.FASHION
    one, other = (
        catalogue.Planned(
            name, 0.5, catalogue.job(setting, Entry(name, name), 0.5, 0.1, 0, test=True)
        )
        for name in ("filter_l1", "filter_l2")
    )
    assert sum(stages_of(one.job, setting.top).values()) == setting.dense + setting.top
    bill = Bill(Results(tmp_path / "none.jsonl"))
    assert bill.epochs([one, other], setting.top) == setting.dense + 2 * setting.top


def test_every_method_of_units_or_rank_is_a_line_and_the_control_too() -> None:
    labels = [entry.label for entry in catalogue.entries()]
    kinds = {name for name in METHODS if METHODS.get(name).kind != "weights"}
    assert kinds <= set(labels)
    assert {"random units", "scratch_e", "scratch_b"} <= set(labels)
    assert len(set(labels)) == len(labels)


def test_drops_remove_a_fifth_of_the_units_a_round() -> None:
    scale = Scale()
    kept = (1.0 - scale.drops.sparsities[0]) ** (0.5 / scale.rounds)  # weights go with the square
    assert kept == pytest.approx(0.8, abs=0.01)


def drop_row(label: str, seed: int, accuracies: list[float], alive: list[float]) -> dict[str, Any]:
    every = [{"test_accuracy": value} for value in accuracies]
    key, rest = f"{label}/{seed}", {"label": label, "target": 0.98, "seed": seed, "alive": alive}
    return {"key": key, "status": "ok", "rounds": every[:-1], "metrics": every[-1], **rest}


def test_verdicts_on_dropnet_follow_the_numbers(tmp_path: Path) -> None:
    results = Results(tmp_path / "made_up.jsonl")
    lines = {"minimum_layer": [0.8, 0.5], "random_layer": [0.8, 0.4], "maximum": [0.8, 0.1]}
    for label, accuracies in lines.items():
        for seed in (0, 1):
            results.add(drop_row(label, seed, [a + 0.01 * seed for a in accuracies], [0.5, 0.14]))
    # A run that was stopped has a further seed of one rule, which has no partner.
    results.add(drop_row("minimum_layer", 2, [0.1, 0.1], [0.5, 0.14]))
    jobs = [[key, key.partition("/")[0], 0.98] for key in results.rows]
    results.add({"key": "wanted/dropnet", "jobs": jobs})
    found = Found(results, "dropnet")
    assert [one.seen for _, one in drop_findings(found)] == [True, True]
    assert drop_findings(found)[0][1].text == "+10.00 ± 0.00 with 0.140 of the units"


def test_an_interval_is_students() -> None:
    # Deviation 1 of three values: t(0.975, 2) = 4.303, / sqrt(3) = 2.484.
    assert spread([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert spread([1.0]) == "1.00"
