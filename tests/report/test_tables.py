from __future__ import annotations

from typing import Any

import pytest
from rich.console import Console, RenderableType

from autoprune.report import tables
from tests.report import synthetic


def shown(renderable: RenderableType, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return synthetic.summary()


@pytest.mark.parametrize("width", [80, 100])
def test_the_front_fits_and_cuts_no_number_or_trial(summary: dict[str, Any], width: int) -> None:
    text = shown(tables.front_table(summary), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for entry in summary["front"]:
        low, _ = entry["test_ci95"]
        accuracy = entry["test_accuracy"]
        assert f"{100 * accuracy:.1f} ± {100 * (accuracy - low):.1f}" in text
        assert f"{100 * entry['sparsity']:.1f} %" in text
        assert entry["trial"] in text


def test_the_front_names_its_columns_and_its_n(summary: dict[str, Any]) -> None:
    text = shown(tables.front_table(summary))
    for name in (
        "sparsity",
        "val acc",
        "test ±95 %",
        "MACs",
        "method",
        "lr",
        "alloc",
        "trial",
    ):
        assert name in text
    assert "n = 3 seeds" in text
    assert f"dense {100 * summary['dense']['test_accuracy']:.1f} % test" in text


def test_long_names_wrap_at_80_columns_and_stay_whole_at_100(summary: dict[str, Any]) -> None:
    long = {"method": "gap_parallel", "lr_schedule": "fixed_peak", "allocation": "uniform_plus"}
    wide = summary | {"front": [summary["front"][0] | long]}
    assert all(name in shown(tables.front_table(wide), 100) for name in long.values())
    assert summary["front"][0]["trial"] in shown(tables.front_table(wide), 80)


def test_an_unconfirmed_front_has_dashes_for_test(summary: dict[str, Any]) -> None:
    bare = {"test_accuracy": None, "test_ci95": None, "seeds": 1}
    text = shown(tables.front_table(summary | {"front": [summary["front"][0] | bare]}))
    assert " – " in text  # noqa: RUF001
    assert "n = 1 seed;" in text


def test_no_front_is_said(summary: dict[str, Any]) -> None:
    assert "no point on the front" in shown(tables.front_table(summary | {"front": []}))
    assert "no confirmed point" in shown(tables.profile_table(summary | {"profile": []}))


def test_the_profile_has_a_line_per_band(summary: dict[str, Any]) -> None:
    text = shown(tables.profile_table(summary))
    for row in summary["profile"]:
        assert f"{100 * row['band']:.0f} %" in text
        assert row["trial"] in text


def test_markup_in_names_is_shown_as_it_is() -> None:
    rows = [{"study": "a[red]b", "status": "complete", "bytes": 2_500_000, "wall_s": 75.0}]
    text = shown(tables.studies_table(rows))
    assert "a[red]b" in text
    assert "2.50MB" in text
    assert "1 min 15 s" in text
    assert "no studies" in shown(tables.studies_table([]))


def test_a_list_wraps_the_long_column_and_keeps_names_whole() -> None:
    rows = [{"name": "lottery_ticket", "reference": "word " * 40, "kind": "weights"}]
    text = shown(tables.list_table(rows), 80)
    assert "lottery_ticket" in text
    assert text.count("word") == 40
    assert max(map(len, text.splitlines())) <= 80


def test_a_forecast_words_its_numbers_by_their_suffix() -> None:
    text = shown(
        tables.forecast_table(
            {
                "num_jobs": 100,
                "wall_s": 3725.0,
                "store_bytes": 1.5e9,
                "shares": {"units": 0.25},
                "phases": [{"name": "lift", "jobs": 33, "wall_s": 60.0}],
            }
        )
    )
    for words in ("jobs", "1 h 02 min", "1.50GB", "units 0.25", "lift", "1 min 00 s"):
        assert words in text


def test_a_trial_is_told_in_percent(summary: dict[str, Any]) -> None:
    entry = summary["front"][0]
    result = entry | {
        "status": "ok",
        "dense_val_accuracy": 0.9,
        "epochs_trained": 29.0,
        "wall_s": 31.2,
    }
    text = shown(tables.trial_table(result), 80)
    assert f"trial {entry['trial']}" in text
    assert f"{100 * entry['sparsity']:.1f} %" in text
    assert "90.0 %" in text
    assert "29 trained" in text


def test_a_trial_that_never_saw_the_test_set_shows_no_test(summary: dict[str, Any]) -> None:
    entry = {k: v for k, v in summary["front"][0].items() if not k.startswith(("test_", "lat"))}
    assert "test acc" not in shown(tables.trial_table(entry))


def test_an_export_shows_its_files_without_hashes() -> None:
    report = {
        "files": {"model.onnx": {"size_bytes": 1_070_000, "sha256": "ab" * 32, "note": "zeros"}},
        "sparsity": 0.9,
        "own": {"test_accuracy": 0.9512},
        "front": None,
        "dense_size_bytes": 4_000_000,
    }
    text = shown(tables.export_table(report), 80)
    assert "abab" not in text
    assert "sha256" not in text
    for words in ("model.onnx", "1.07MB", "90.0 %", "test accuracy 95.1 %", "4.00MB", "zeros"):
        assert words in text


def test_a_doctor_shows_a_block_per_section() -> None:
    blocks = tables.doctor_tables(
        {"ok": True, "versions": {"torch": "2.14"}, "model": {"layers": [{"name": "fc", "n": 3}]}}
    )
    text = "".join(shown(block, 80) for block in blocks)
    for words in ("doctor", "yes", "versions", "2.14", "layers", "fc"):
        assert words in text


ROW = {"runtime": "onnxruntime", "device": "cpu", "threads": 1, "batch": 32, "calls": 50}
TIMES = {"dense_p50_ms": 12.34, "dense_p90_ms": 15.0, "pruned_p50_ms": 6.17, "pruned_p90_ms": 7.0}


@pytest.mark.parametrize("width", [80, 120])
def test_latencies_stand_side_by_side(width: int) -> None:
    text = shown(tables.latency_table([{**ROW, **TIMES, "speedup": 2.0}]), width)
    for words in ("onnxruntime cpu", "12.3 (15)", "6.17 (7)", "2.00"):
        assert words in text
    assert "…" not in text


@pytest.mark.parametrize("width", [80, 120])
def test_a_doctor_says_what_cannot_be_pruned_and_why(width: int) -> None:
    names = [f"stage{i}.block{j}.conv" for i in range(4) for j in range(3)]
    found = {
        "layers": [
            {
                "name": f"{n}.weight",
                "shape": [64, 64, 3, 3],
                "kind": "conv",
                "weights": 36864,
                "macs": 147456,
            }
            for n in names
        ],
        "groups": [{"name": f"{names[0]}.weight", "units": 64, "make": names, "read": names[:2]}],
        "units_stay": {f"{n}.weight": "they are outputs of the model" for n in names},
        "rank_stays": ["fc.weight"],
        "tied": [["one.weight", "two.weight"]],
        "attention": [],
        "not_prunable": [{"what": "norms", "params": 1376}],
        "removable": [
            {"kind": "weights", "sparsity": None, "macs_removed": 0.0},
            {"kind": "low_rank", "sparsity": 0.974, "macs_removed": 0.958},
        ],
        "latency": [{**ROW, **{k: v for k, v in TIMES.items() if k.startswith("dense")}}],
        "latency_left_out": {},
    }
    text = "".join(shown(block, width) for block in tables.doctor_tables(found))
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for words in (
        "64x64x3x3",
        "and 9 more",
        "they are outputs",
        "one.weight = two.weight",
        "low rank",
        "97.4 %",
        "95.8 %",
        "12.3 (15)",
        "1,376",
    ):
        assert words in flat
    assert "attention" not in flat


def test_a_forecast_names_what_each_kind_buys_and_what_is_left_out() -> None:
    found = {
        "study": "s",
        "objectives": ["accuracy", "macs"],
        "kinds": [{"kind": "units", "methods": 2, "most": 0.971, "buys": "smaller and faster"}],
        "left_out": {"magnitude": "masks stay", "imp": "masks stay", "ap": "no ReLU"},
    }
    text = " ".join(shown(tables.forecast_table(found), 80).split())
    for words in ("97.1 %", "smaller and faster", "magnitude, imp (masks stay); ap (no ReLU)"):
        assert words in text


def test_a_front_shows_the_objective_it_was_searched_for(summary: dict[str, Any]) -> None:
    how = {"runtime": "torch", "device": "cpu", "threads": 1, "batch": 1}
    timed = {**summary, "objectives": ["accuracy", "latency_ms"], "latency": how}
    text = shown(tables.front_table(timed), 80)
    assert "MACs " not in text.splitlines()[2]
    assert "latency: torch, cpu, 1 thread, batch 1" in text
    assert f"{summary['front'][0]['latency_ms']:.3g}" in text
    assert "reduction of latency" in shown(tables.profile_table(timed))
    small = shown(tables.front_table({**summary, "objectives": ["accuracy", "params"]}), 80)
    assert f"{summary['front'][0]['params']:,}" in small
