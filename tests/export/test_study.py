from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoprune.core.errors import BadInput, StudyError
from autoprune.export.plan import read_json
from autoprune.export.study import export_from_study
from autoprune.search.engine import SearchOptions
from autoprune.search.pick import Limits
from autoprune.search.session import SearchRequest, search

SPACE = """
name: small
task: {data: digits, model: mlp, width: 0.2}
train: {epochs: 1, lr: 0.05}
targets: {low: 0.5, high: 0.9}
fidelity: {epochs: [2]}
method:
  imp: {rounds: [2], rewind: none}
lr:
  linear: {peak: {low: 0.02, high: 0.1, log: true}}
"""


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with one small finished study, and its summary."""
    home = tmp_path_factory.mktemp("home")
    (home / "small.yaml").write_text(SPACE)
    request = SearchRequest(
        space=str(home / "small.yaml"),
        home=home,
        executor="inline",
        options=SearchOptions(budget="3"),
    )
    return home, search(request)


def test_the_median_confirmation_run_is_exported(studied: Any, tmp_path: Path) -> None:
    home, summary = studied
    entry = summary["front"][0]
    report = export_from_study(
        home, "small", tmp_path / "out", trial=entry["trial"][:6], formats=["safetensors"]
    )
    assert (report["study"], report["trial"]) == ("small", entry["trial"])
    assert report["front"]["val_accuracy"] == entry["val_accuracy"]
    assert report["front"]["test_accuracy"] == entry["test_accuracy"]
    middle = sorted(entry["test_accuracies"])
    assert report["own"]["test_accuracy"] in middle
    lineage = read_json(tmp_path / "out" / "plan.json")["lineage"]
    assert lineage["study"] == "small"
    assert lineage["final_key"] == entry["final_key"]
    assert lineage["seed"] in entry["seeds_used"]
    assert report["sparsity"] == entry["sparsity"]


def test_limits_choose_the_point(studied: Any, tmp_path: Path) -> None:
    home, summary = studied
    sparsest = max(summary["front"], key=lambda e: float(e["sparsity"]))
    limits = Limits(min_sparsity=sparsest["sparsity"])
    report = export_from_study(home, "small", tmp_path / "out", limits=limits, formats=["pt2"])
    assert report["trial"] == sparsest["trial"]


def test_wrong_requests_are_refused(studied: Any, tmp_path: Path) -> None:
    home, _ = studied
    out = tmp_path / "out"
    with pytest.raises(StudyError, match="must name one trial of the front"):
        export_from_study(home, "small", out, trial="zzzz")
    with pytest.raises(StudyError, match="did you mean 'small'"):
        export_from_study(home, "smal", out)
    with pytest.raises(BadInput, match="within the limits"):
        export_from_study(home, "small", out, limits=Limits(min_accuracy=1.1))
    with pytest.raises(BadInput, match="unknown export format"):
        export_from_study(home, "small", out, formats=["tflite"])
    assert not out.exists()
