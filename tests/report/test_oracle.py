from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from rich.console import Console, RenderableType

from autoprune.report.oracle import (
    CSV_COLUMNS,
    oracle_csv,
    oracle_table,
    oracle_words,
    rank_trend,
    schedules_table,
)
from autoprune.report.oracle_picture import _figure, oracle_picture
from autoprune.report.words import NONE
from tests.report.experiments import ALLR_REASON, PEAKS, comparison, oracle


def shown(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def words(summary: dict[str, Any]) -> str:
    return "\n".join(oracle_words(summary))


def with_peaks(peaks: list[float], **changes: Any) -> dict[str, Any]:
    """Return a study whose Oracle chose these, each the only one within its tolerance."""
    summary = oracle(len(peaks), **changes)
    for cycle, peak in zip(summary["cycles"], peaks, strict=True):
        cycle |= {"oracle_peak": peak, "interval": [peak, peak]}
    return summary


def test_a_row_per_cycle_says_peaks_interval_and_accuracies() -> None:
    summary = oracle(12)
    summary["cycles"][4] |= {
        "sparsity": 0.672,
        "oracle_peak": 0.0377,
        "interval": [0.0134, 0.0633],
        "silo_peak": 0.0479,
        "inside": True,
        "oracle_accuracy": 0.944,
        "silo_accuracy": 0.951,
    }
    text = shown(oracle_table(summary))
    rows = [line.split() for line in text.splitlines()]
    expected = ["5", "67.2", "%", "0.0377", f"0.0134{NONE}0.0633", "0.0479", "yes", "94.4"]
    assert [*expected, "95.1", "+0.7"] in rows
    assert "n = 3 seeds" in text
    assert "within 0.5 points" in text
    assert "validation" in text


@pytest.mark.parametrize("width", [80, 100])
def test_both_tables_fit_and_cut_nothing(width: int) -> None:
    for table in (oracle_table(oracle(12)), schedules_table(oracle(12))):
        text = shown(table, width)
        assert "…" not in text
        assert max(map(len, text.splitlines())) <= width


def test_a_cycle_whose_silo_is_not_run_yet_has_dashes() -> None:
    summary = oracle(1)
    summary["cycles"][0] |= {"silo_peak": None, "inside": None, "silo_accuracy": None}
    row = next(line for line in shown(oracle_table(summary)).splitlines() if " 20.0 %" in line)
    assert row.split()[-5:] == [NONE, NONE, "96.0", NONE, NONE]


def test_the_schedules_are_shown_at_a_few_cycles_and_the_last() -> None:
    summary = oracle(12)
    summary["schedules"][1] |= {
        "test_accuracy": [0.9] * 11 + [0.8314],
        "test_ci95": [None] * 11 + [[0.8254, 0.8364]],
        "peaks": [None] * 11 + [0.1],
    }
    text = shown(schedules_table(summary))
    assert [f"cycle {i}" in text for i in (4, 8, 12)] == [True] * 3
    assert "83.1 ± 0.6 @ 0.1" in text
    silo = next(line for line in text.splitlines() if line.startswith(" SILO  "))
    assert silo.count("@") == 1
    assert f"left out: ALLR: {ALLR_REASON}" in text


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_last_cycle_is_always_shown(number: int) -> None:
    assert f"cycle {number}" in shown(schedules_table(oracle(number)))


def test_a_schedule_that_is_not_as_far_has_a_dash() -> None:
    summary = oracle(6)
    for key in ("peaks", "val", "test", "val_accuracy", "test_accuracy", "test_ci95"):
        summary["schedules"][4][key] = summary["schedules"][4][key][:2]
    row = next(x for x in shown(schedules_table(summary)).splitlines() if " cosine" in x)
    assert "@" in row
    assert row.split()[-1] == NONE


def test_nothing_finished_is_said() -> None:
    empty = oracle(1, cycles=[], schedules=[], comparisons=[])
    assert "no cycle is finished" in shown(oracle_table(empty))
    assert "no schedule is finished" in shown(schedules_table(empty))
    assert "No cycle is finished" in words(empty)


def test_the_rank_trend_of_five_by_hand() -> None:
    # Order 1..5 is one of 120 permutations and its mirror the other extreme: p = 2 / 120.
    assert rank_trend([1, 2, 3, 4, 5]) == pytest.approx((1.0, 2 / 120))
    # Ranks 1, 2.5, 2.5, 4: covariance 4.5, norms sqrt(5 * 4.5), rho = sqrt(4.5 / 5); of the 24
    # orders the four with the tied pair inside reach it.
    assert rank_trend([1, 2, 2, 3]) == pytest.approx((0.9**0.5, 4 / 24))


def test_exact_and_approximate_trend_agree() -> None:
    values = [0.1, 0.3, 0.2, 0.2, 0.5, 0.3, 0.6, 0.4]
    rho, p_value = rank_trend(values)
    from scipy.stats import spearmanr

    found = spearmanr(range(8), values)
    assert rho == pytest.approx(found.statistic)
    assert p_value == pytest.approx(found.pvalue, abs=0.02)
    assert rank_trend([*values, 0.7])[1] < 0.01


def test_a_rise_a_fall_and_no_trend() -> None:
    rising = words(with_peaks(PEAKS[2:8]))
    assert "rises with sparsity (Spearman's rho +1.00" in rising
    assert "n = 6 cycles, p = 0.0028" in rising
    assert "falls with sparsity" in words(with_peaks(PEAKS[2:8][::-1]))
    mixed = [PEAKS[i] for i in (3, 7, 2, 6, 4, 5)]
    assert "no clear trend" in words(with_peaks(mixed))
    assert "it does not rise" in words(with_peaks([PEAKS[3]] * 6))
    assert "p < 0.001" in words(with_peaks(PEAKS))


def test_too_few_cycles_are_said_to_be_too_few() -> None:
    text = words(with_peaks(PEAKS[2:6]))
    assert "cannot be told from 4 cycles: it takes at least 5" in text
    assert "Spearman" not in text


def test_a_peak_that_fits_every_cycle_is_named() -> None:
    summary = with_peaks([PEAKS[4]] * 6)
    for cycle in summary["cycles"]:
        cycle["interval"] = [PEAKS[2], PEAKS[6]]
    summary["cycles"][0]["interval"] = [PEAKS[1], PEAKS[3]]
    assert "A peak of 0.00282 to 0.00474 lies in the interval of every cycle" in words(summary)
    summary["cycles"][1]["interval"] = [PEAKS[5], PEAKS[6]]
    assert "No peak of the grid lies in the interval of every cycle" in words(summary)


def test_a_peak_at_the_end_of_the_grid_is_a_warning() -> None:
    assert "end of the grid" not in words(with_peaks(PEAKS[1:7]))
    assert "In 2 of 6 cycles the Oracle's peak is an end of the grid" in words(
        with_peaks([PEAKS[0], *PEAKS[2:6], PEAKS[-1]])
    )


def test_how_often_silo_and_its_fit_are_inside() -> None:
    summary = oracle(6)
    for index, cycle in enumerate(summary["cycles"]):
        cycle |= {"inside": index > 1, "interval": [0.02, 0.03]}
    summary["schedules"][2]["peaks"] = [0.02, 0.03, 0.04, 0.05, None, 0.025]
    text = words(summary)
    assert "data) in 4 of 6 cycles" in text
    # Inside are cycles 1, 2 and 6; 5 has no peak.
    assert (
        "SILO, fitted on 3 cycles: inside in 1 of 2 cycles that it was not fitted on, and in 2 of "
        "3 cycles that it was."
    ) in text
    assert "not fitted on" not in words(summary | {"fitted": None})


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.03, "SILO is better than the best fixed peak: +3.0"),
        (-0.03, "SILO is worse than the best fixed peak: -3.0"),
        (0.004, "SILO and the best fixed peak are within noise of each other: +0.4"),
    ],
)
def test_silo_against_the_best_fixed_peak(difference: float, verdict: str) -> None:
    found = [
        comparison("silo", "fixed_peak", 0.9, cycle=2, sparsity=0.36),
        comparison("silo", "fixed_peak", difference, cycle=6, sparsity=0.738),
    ]
    text = words(oracle(6, comparisons=found))
    assert f"At cycle 6 (73.8 % sparsity), {verdict}" in text
    assert "over 2 cycles from 2 on: better" in text
    assert "+90.0" not in text


def test_silo_against_the_fixed_peak_comes_first_and_its_absence_is_said() -> None:
    said = [line for line in oracle_words(oracle(6)) if line.startswith("At cycle")]
    assert len(said) == 3
    assert "SILO and the best fixed peak" in said[0]
    assert "the fitted SILO is better" in said[1]
    assert not any("cycles from" in line for line in said)
    assert "has not been compared" in words(oracle(6, comparisons=[]))


def test_the_cost_and_the_splits_are_said() -> None:
    text = words(oracle(6))
    assert "SILO takes 8.3 % of the whole Oracle's epochs (1 in 12): 108 against 1,296." in text
    assert "(1 in 12)." in words(oracle(6, status="running"))
    assert "epochs" not in words(oracle(6, cost_ratio=None))
    assert "chosen on validation data; the accuracies are read on the test split" in text


def test_the_csv_holds_the_grid_and_every_seed() -> None:
    summary = oracle(2)
    summary["cycles"][0]["interval"] = [PEAKS[3], PEAKS[5]]
    rows = list(csv.DictReader(io.StringIO(oracle_csv(summary))))
    assert tuple(rows[0]) == CSV_COLUMNS
    grid = [row for row in rows if row["part"] == "grid"]
    assert len(grid) == 2 * len(PEAKS)
    assert [row["inside"] for row in grid[:12]] == ["false"] * 3 + ["true"] * 3 + ["false"] * 6
    cell = summary["cycles"][0]["grid"][3]
    assert float(grid[3]["peak"]) == cell["peak"]
    assert float(grid[3]["val_accuracy"]) == cell["val_accuracy"]
    assert grid[-1]["status"] == "diverged"
    assert grid[-1]["val_accuracy"] == ""

    silo = [row for row in rows if row["schedule"] == "silo" and row["cycle"] == "2"]
    assert [row["seed"] for row in silo] == ["", "0", "1", "2"]
    source = summary["schedules"][1]
    assert [float(row["test_accuracy"]) for row in silo[1:]] == source["test"][1]
    assert float(silo[0]["test_accuracy"]) == source["test_accuracy"][1]
    assert [float(silo[0]["test_low"]), float(silo[0]["test_high"])] == source["test_ci95"][1]
    assert silo[1]["test_low"] == ""
    assert not [row for row in rows if row["schedule"] == "allr"]


def test_the_picture_is_written(tmp_path: Path) -> None:
    oracle_picture(oracle(3, study=r"a$b_$^\frac"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (1800, 1800)
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 100


def lines(axes: Any) -> dict[str, Any]:
    """Return what a panel's legend names, error bars as their line."""
    handles, labels = axes.get_legend_handles_labels()
    return dict(zip(labels, (getattr(h, "lines", (h,))[0] for h in handles), strict=True))


def test_the_panels_show_peaks_accuracies_and_the_grid() -> None:
    summary = oracle(5)
    figure = _figure(summary)
    peaks, accuracy, grid = figure.axes[:3]
    drawn = lines(peaks)
    assert list(drawn) == [
        "the Oracle's interval\n(0.5 points)",
        "Oracle",
        "SILO",
        "SILO, fitted on 3 cycles",
        "best fixed peak, 0.0378",
    ]
    chosen = [cycle["oracle_peak"] for cycle in summary["cycles"]]
    assert drawn["Oracle"].get_ydata().tolist() == chosen
    assert peaks.get_yscale() == "log"
    assert [t.get_text() for t in peaks.get_xticklabels()][:2] == ["1\n20 %", "2\n36 %"]

    drawn = lines(accuracy)
    assert len(drawn) == 8
    assert drawn["cosine"].get_ydata().tolist() == [
        100 * value for value in summary["schedules"][4]["test_accuracy"]
    ]
    shades = grid.collections[0].get_array()
    assert shades.shape == (12, 5)
    assert shades.max() == 0
    assert shades.mask.sum() == 1  # the run that diverged
    for part in ("n = 3 seeds", "95 % interval", "the 12 peaks tried"):
        assert part in figure.get_supxlabel()


def test_what_lies_below_the_view_is_counted() -> None:
    summary = oracle(5)
    summary["schedules"][5]["test_accuracy"][4] = 0.1
    assert "1 points below the view" in _figure(summary).get_supxlabel()


def test_many_cycles_keep_room_for_their_labels() -> None:
    labels = [t.get_text() for t in _figure(oracle(25)).axes[2].get_xticklabels()]
    assert labels[0] == "1\n20 %"
    assert labels[-1] == "25\n99.6 %"
    assert len(labels) == 13


def test_a_study_that_has_hardly_begun_is_drawn() -> None:
    begun = oracle(1, schedules=[], comparisons=[], status="running")
    begun["cycles"][0] |= {"silo_peak": None, "inside": None}
    begun["dense"]["test_accuracy"] = None
    for cell in begun["cycles"][0]["grid"]:
        cell["val_accuracy"] = None
    assert len(_figure(begun).axes) == 3
    assert "no cycle is finished" in _figure(begun | {"cycles": []}).get_supxlabel()
