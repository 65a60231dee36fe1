from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, RenderableType

from autoprune.report import sweep as report
from autoprune.report import sweep_picture as pictures
from autoprune.report.words import NONE, TIMES
from tests.report.experiments import (
    FIRST,
    METHODS,
    RATIOS,
    SECOND,
    THIRD,
    comparison,
    descent,
    sweep,
)

SHRINKBENCH = (
    "dataset,model,strategy,compression,size,size_nz,real_compression,flops,flops_nz,speedup,"
    "pre_acc1,pre_acc5,post_acc1,post_acc5,seed,batch_size,epochs,optim,lr,completed_epochs,path"
)


def shown(renderable: RenderableType, width: int = 100, *, styled: bool = False) -> str:
    system = "standard" if styled else None
    console = Console(width=width, force_terminal=styled, color_system=system)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


def words(summary: dict[str, Any]) -> str:
    return "\n".join(report.sweep_words(summary))


def point(summary: dict[str, Any], method: str, ratio: float) -> dict[str, Any]:
    curve = next(c for c in summary["curves"] if c["method"] == method)
    found: dict[str, Any] = next(p for p in curve["points"] if p["compression"] == ratio)
    return found


@pytest.mark.parametrize("width", [70, 80, 100])
def test_every_cell_is_whole_at_every_width(width: int) -> None:
    summary = sweep()
    text = shown(report.sweep_table(summary), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for method in METHODS:
        for ratio in RATIOS:
            accuracy = point(summary, method, ratio)["accuracy"]
            assert f"{100 * accuracy:.1f} ± 0.6" in text
    assert "n = 3 seeds" in text
    assert f"32{TIMES}" in text


def test_a_wide_table_is_one_block_and_a_narrow_one_repeats_its_methods() -> None:
    table = report.sweep_table(sweep())
    assert shown(table, 120).count(FIRST) == 1
    assert shown(table, 80).count(FIRST) == 2
    assert shown(table, 80).count("n = 3 seeds") == 1


def test_the_best_of_a_column_is_bold() -> None:
    summary = sweep()
    point(summary, SECOND, 8.0).update(accuracy=0.95, ci95=[0.94, 0.97])
    text = shown(report.sweep_table(summary), 120, styled=True)
    assert "\x1b[1m95.0 ± 2.0\x1b[0m" in text
    other = point(summary, FIRST, 8.0)["accuracy"]
    assert f"\x1b[1m{100 * other:.1f}" not in text


def test_a_missing_point_and_a_missing_interval() -> None:
    summary = sweep()
    point(summary, THIRD, 64.0).update(accuracy=None, ci95=None, n=0)
    point(summary, FIRST, 64.0).update(accuracy=0.5, ci95=None, n=1)
    text = shown(report.sweep_table(summary), 120)
    assert next(x for x in text.splitlines() if THIRD in x).split()[-1] == NONE
    assert next(x for x in text.splitlines() if FIRST in x).split()[-1] == "50.0"
    assert "n = 0 or 1 or 3 seeds" in text


def test_runs_that_went_wrong_are_counted() -> None:
    summary = sweep()
    summary["rows"][3]["status"] = summary["rows"][4]["status"] = "collapsed"
    summary["rows"][5]["status"] = "diverged"
    said = "3 of 63 runs did not end well: 2 collapsed, 1 diverged"
    assert said in words(summary)
    assert said in shown(report.sweep_table(summary), 400)
    assert "did not end well" not in words(sweep())


@pytest.mark.parametrize(
    ("difference", "verdict"),
    [
        (0.04, f"At 64{TIMES}, {FIRST} is better than {THIRD}: +4.0"),
        (-0.04, f"At 64{TIMES}, {FIRST} is worse than {THIRD}: -4.0"),
        (0.003, f"At 64{TIMES}, {FIRST} and {THIRD} are within noise of each other: +0.3"),
    ],
)
def test_the_highest_ratio_is_said_in_full(difference: float, verdict: str) -> None:
    found = comparison("", THIRD, difference, method=FIRST, compression=64.0)
    text = words(sweep(comparisons=[found]))
    assert verdict in text
    assert f"{FIRST} against" not in text


def test_outcomes_are_counted_over_the_ratios() -> None:
    summary = sweep()
    group = [c for c in summary["comparisons"] if c["against"] == THIRD]
    for found, outcome in zip(group, ["worse", "no interval"], strict=False):
        found["outcome"] = outcome
    group[2]["outcome"] = "within noise"
    assert f"At 64{TIMES}, {FIRST} is better than {THIRD}" in words(summary)
    assert (
        f"{FIRST} against {THIRD}: better at 16{TIMES}, 32{TIMES}, 64{TIMES}; "
        f"within noise at 8{TIMES}; worse at 2{TIMES}; no interval at 4{TIMES}."
    ) in words(summary)


def test_the_checklist_says_what_is_met() -> None:
    text = shown(report.checklist_table(sweep()), 80)
    assert "7 of 9 items" in text
    starts = [line.split()[:2] for line in text.splitlines()]
    assert ["a", NONE] in starts
    assert ["b", "yes"] in starts
    assert ["g", "no"] in starts
    assert "2 seeds" in text
    assert "not met: g; cannot be told from one study: a." in words(sweep())
    assert "no checklist" in shown(report.checklist_table(sweep(checklist=[])))


def test_the_csv_starts_with_shrinkbenchs_columns() -> None:
    summary = descent(3)
    text = report.sweep_csv(summary)
    assert text.splitlines()[0] == (
        f"{SHRINKBENCH},allocation,lr_schedule,sparsity,val_acc1,train_acc1,distance,"
        "distance_alive,distance_pruned,label_noise,status"
    )
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == len(summary["rows"]) == 27
    for found, source in zip(rows, summary["rows"], strict=True):
        assert found["strategy"] == source["method"]
        assert found["label_noise"] == "0.2"
        assert float(found["compression"]) == source["target_compression"]
        for name in ("size_nz", "speedup", "post_acc1", "distance", "seed", "lr"):
            assert float(found[name]) == source[name]
        for name in ("dataset", "path", "allocation", "status"):
            assert found[name] == source[name]


def test_what_was_not_measured_is_an_empty_cell() -> None:
    rows = list(csv.DictReader(io.StringIO(report.sweep_csv(sweep()))))
    assert {row["train_acc1"] for row in rows} == {row["distance"] for row in rows} == {""}


def test_the_phases_are_told_with_their_places() -> None:
    summary = descent()
    summary["phases"][FIRST] |= {
        "dip": {"index": 8, "sparsity": 0.832, "accuracy": 0.752},
        "peak": {"index": 14, "sparsity": 0.956, "accuracy": 0.856},
        "interpolation_threshold": {"index": 7, "sparsity": 0.79, "accuracy": 0.98},
        "depth": 0.048,
        "gain": -0.003,
    }
    text = shown(report.phases_table(summary), 120)
    row = next(line for line in text.splitlines() if line.startswith(f" {FIRST}"))
    assert " ".join(row.split()).endswith("75.2 @ 83.2 % 85.6 @ 95.6 % 79.0 % +4.8 -0.3")
    assert "not reliable" not in row
    assert "n = 3 seeds" in text
    assert f"{SECOND}: training accuracy never falls by more than 1 point" in text
    assert "not reliable" in next(x for x in text.splitlines() if x.startswith(f" {SECOND}"))
    assert "no phases" in shown(report.phases_table(sweep()))
    assert "…" not in shown(report.phases_table(descent()), 80)


def test_a_curve_without_a_dip_has_dashes() -> None:
    summary = descent(5)
    text = shown(report.phases_table(summary), 120)
    row = next(line for line in text.splitlines() if line.startswith(f" {FIRST}"))
    assert row.split()[-7:] == ["no", "descent", *[NONE] * 5]


def test_phases_that_are_not_reliable_are_said_to_be_so() -> None:
    text = words(descent())
    assert f"{FIRST}: test accuracy falls to 4." in text
    assert f"{SECOND}: do not rely on these phases: training accuracy never falls" in text
    assert f"{FIRST}: do not rely" not in text
    assert "Training labels carry 20 % noise, test labels none" in text
    assert "noise, test" not in words(sweep())


def test_nothing_finished_is_said() -> None:
    empty = sweep(curves=[], rows=[], comparisons=[])
    assert "no run is finished" in shown(report.sweep_table(empty))
    assert "No run is finished" in words(empty)


def test_shading_runs_from_halfway_to_halfway() -> None:
    # Levels 0, 1, 2, 3; "light" for two of them ends at 1.5; the ends reach half a step further.
    class Axes:
        def __init__(self) -> None:
            self.spans: list[tuple[float, float]] = []
            self.names: list[str] = []
            self.turned: list[bool] = []

        def axvspan(self, left: float, right: float, **_: Any) -> None:
            self.spans.append((left, right))

        def annotate(self, name: str, *_: Any, rotation: int, **__: Any) -> None:
            self.names.append(name)
            self.turned.append(rotation == 90)

        def set_xlim(self, *_: Any) -> None:
            pass

    first, second = Axes(), Axes()
    labels = ["Light", "Light", "Critical", "Sweet"]
    assert pictures._shade([first, second], np.arange(4.0), labels) == 0.05
    assert first.names == ["light", "critical", "sweet"]
    assert first.spans == second.spans == [(-0.25, 1.5), (1.5, 2.5), (2.5, 3.25)]
    assert not any(first.turned)
    third = Axes()
    assert pictures._shade([third], np.arange(30.0), ["light"] * 29 + ["collapsed"]) > 0.1
    assert third.turned == [False, True]


@pytest.mark.parametrize(
    ("draw", "make", "size"),
    [
        (pictures.sweep_picture, sweep, (2000, 1000)),
        (pictures.descent_picture, descent, (1800, 1440)),
    ],
)
def test_the_pictures_are_written(
    draw: Any, make: Any, size: tuple[int, int], tmp_path: Path
) -> None:
    draw(make(), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == size
        assert len(image.convert("RGB").getcolors(1 << 24) or ()) > 100


def test_both_panels_show_every_method_and_the_dense_level() -> None:
    summary = sweep()
    figure = pictures._sweep_figure(summary)
    for axes, key in zip(figure.axes, ("real_compression", "speedup"), strict=True):
        handles, labels = axes.get_legend_handles_labels()
        assert sorted(labels) == sorted([*METHODS, "dense"])
        line = handles[labels.index(FIRST)].lines[0]
        points = summary["curves"][0]["points"]
        assert line.get_xdata().tolist() == [p[key] for p in points]
        assert line.get_ydata().tolist() == [100 * p["accuracy"] for p in points]
    ticks = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert ticks == [f"{2**e}{TIMES}" for e in range(7)]
    for part in ("n = 3 seeds", "95 % interval", "dense 89.4 % test"):
        assert part in figure.get_supxlabel()


def test_many_methods_have_their_legend_beside_the_panels() -> None:
    summary = sweep()
    summary["curves"] += [
        summary["curves"][0] | {"method": f"m{i}"} for i in range(pictures.MOST_INSIDE - 2)
    ]
    left, right = pictures._sweep_figure(summary).axes
    assert left.get_legend() is None
    assert len(right.get_legend().get_texts()) == pictures.MOST_INSIDE + 2


def test_a_descent_shows_train_and_test_phases_and_distance() -> None:
    summary = descent()
    figure = pictures._descent_figure(summary)
    accuracy, distance = figure.axes
    phases = list(dict.fromkeys(summary["phases"][FIRST]["labels"]))
    assert [text.get_text() for text in accuracy.texts] == phases
    assert len(accuracy.patches) == len(distance.patches) == len(phases) == 4
    assert accuracy.get_ylim()[1] > accuracy.get_yticks().max() == 100
    found = [list(line.get_ydata()) for line in accuracy.lines]
    points = summary["curves"][0]["points"]
    assert [100 * p["train_accuracy"] for p in points] in found
    assert [100 * p["accuracy"] for p in points] in found
    assert distance.lines[0].get_ydata().tolist() == [p["distance"] for p in points]
    assert f"shaded: phases of {FIRST}" in figure.get_supxlabel().replace("\n", " ")
    named = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert named == ["test, clean labels", "train, noisy labels", "dense", *METHODS]
    labels = [t.get_text() for t in distance.get_xticklabels()]
    assert labels[:3] == ["0.0", "36.0", "59.0"]
    assert len(labels) <= pictures.MAX_LABELS


def test_what_was_not_measured_leaves_one_panel_without_shades() -> None:
    summary = descent(8, phases={})
    for curve in summary["curves"]:
        for found in curve["points"]:
            found |= {"distance": None, "train_accuracy": None}
    (axes,) = pictures._descent_figure(summary).axes
    assert not axes.patches
    assert "label noise" not in pictures._descent_figure(sweep()).get_supxlabel()
    doubtful = descent(8)
    doubtful["phases"][FIRST]["reliable"] = False
    assert "not reliable" in pictures._descent_figure(doubtful).get_supxlabel()


def test_no_curve_no_interval_and_dollar_signs_are_drawn(tmp_path: Path) -> None:
    bare = sweep(study=r"a$b_$^\frac")
    bare["dense"]["test_accuracy"] = None
    bare["curves"] = bare["curves"][:1]
    for found in bare["curves"][0]["points"]:
        found |= {"ci95": None, "n": 1}
    bare["curves"][0] |= {"method": "a$b$"}
    pictures.sweep_picture(bare, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
    for draw in (pictures._sweep_figure, pictures._descent_figure):
        assert not draw(bare | {"curves": []}).axes[0].containers
