"""Looking: list, doctor, studies, and a dry run."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.cli.listing import KINDS
from tests.cli.support import succeed, write_space, write_task


@pytest.mark.parametrize("kind", KINDS)
def test_a_list_has_names_with_references_and_kinds(kind: str) -> None:
    done = succeed("list", kind, "--json")
    rows = done.json
    assert rows
    assert len({row["name"] for row in rows}) == len(rows)
    for row in rows:
        assert {"name", "reference", "kind"} <= set(row)
        assert row["reference"], row["name"]
        assert row["name"] in done.said


def test_a_list_for_people_goes_to_standard_error_only() -> None:
    done = succeed("list", "methods")
    assert done.out == ""
    assert "rigl" in done.err


def test_a_dry_run_forecasts_and_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = succeed(
        *("search", write_space(tmp_path), "--budget", "6", "--dry-run", "--executor", "inline"),
        *("--home", home, "--json"),
    )
    found = done.json
    assert [phase["name"] for phase in found["phases"]]
    # explore and lift are the six jobs of the budget
    assert sum(phase["jobs"] for phase in found["phases"][:2]) == 6
    assert len(found["samples"]) == 5
    assert {config["method"] for config in found["samples"]} == {"magnitude", "imp", "dropnet"}
    assert "five of the trials" in done.err
    assert not (home / "studies").exists()


def test_a_home_without_studies_says_so(tmp_path: Path) -> None:
    done = succeed("studies", "--home", tmp_path / "home", "--json")
    assert done.json == []
    assert "no studies" in done.err
    assert not (tmp_path / "home").exists()


def test_nothing_to_mirror_is_no_error(tmp_path: Path) -> None:
    assert succeed("sync", "--home", tmp_path / "home", "--json").json == []


def test_a_doctor_looks_at_machine_and_model(tmp_path: Path) -> None:
    done = succeed("doctor", "--home", tmp_path / "home", "--json")
    text = str(done.json)
    for word in ("torch", "digits", "50610"):
        assert word in text
    assert not (tmp_path / "home").exists()


def test_a_doctor_looks_at_a_task_file(tmp_path: Path) -> None:
    done = succeed("doctor", "--task", write_task(tmp_path), "--json", "--home", tmp_path / "home")
    # 64 x 16 + 16 + 16 x 3 + 3
    assert "1091" in str(done.json)
    assert [row["runtime"] for row in done.json["latency"] if row["device"] == "cpu"] == [
        *("torch", "torch", "onnxruntime", "onnxruntime")
    ]
    assert list(done.json["units_stay"]) == ["3.weight"]
    for words in ("they are outputs of the model", "dense ms (p90)", "93.8 %"):
        assert words in done.said
