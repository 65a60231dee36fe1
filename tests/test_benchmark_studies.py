"""The pages behind docs/results, from answers that are made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.studies import COMMANDS, Paths, report, table
from tests.report import experiments as made_up


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    oracle = {**made_up.oracle(6), "best_fixed": 0.0378}
    answers = {"oracle": oracle, "sweep": made_up.sweep()}
    answers |= {"noisy": made_up.descent(), "clean": made_up.descent()}
    for name, answer in answers.items():
        (folder / f"{name}.json").write_text(json.dumps(answer))
    report(list(COMMANDS), Paths(folder, folder))
    return folder


@pytest.mark.parametrize("page", ["silo_vs_oracle", "sweep", "sparse_double_descent"])
def test_every_page_has_its_commands_tables_and_pictures(root: Path, page: str) -> None:
    text = (root / "docs" / "results" / f"{page}.md").read_text()
    assert "autoprune " in text
    assert "| --- |" in text
    assert "None" not in text
    for line in text.splitlines():
        if line.startswith("!["):
            picture = root / "docs" / "results" / line.partition("](")[2].rstrip(")")
            assert picture.resolve().stat().st_size > 10_000
    assert list((root / "benchmarks" / "data").glob(f"{page}*.csv"))


def test_a_table_is_as_wide_as_its_head() -> None:
    lines = list(table(["a", "b", "c"], [["1", "2", "3"]]))
    assert [line.count("|") for line in lines if line] == [4, 4, 4]
