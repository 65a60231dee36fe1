from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.core.errors import ConfigError
from autoprune.report.files import write_plot
from tests.report import synthetic


def test_the_suffix_decides(tmp_path: Path) -> None:
    summary = synthetic.summary(20)
    page = write_plot(summary, tmp_path / "new" / "front.html")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert write_plot(summary, tmp_path / "front.PNG").read_bytes().startswith(b"\x89PNG")


def test_another_suffix_is_bad_input_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--plot must end in \.html or \.png"):
        write_plot(synthetic.summary(20), tmp_path / "front.pdf")
    assert list(tmp_path.iterdir()) == []


def test_a_path_below_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="must be a path that can be written"):
        write_plot(synthetic.summary(20), tmp_path / "file" / "front.html")
