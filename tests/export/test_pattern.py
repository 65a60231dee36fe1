"""An export says which N:M pattern it holds, and is refused when it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.errors import VerificationError
from autoprune.export.folder import export_job
from autoprune.export.integrity import write_sums
from autoprune.export.pattern import check_section, pattern_section
from autoprune.export.plan import read_json
from autoprune.export.verify import verify_folder

LAYERS = {"a": (2, 4), "b": (3, 6)}
HALF = torch.tensor([[True, True, False, False], [False, True, False, True]])
THREE = torch.tensor([[True, True, True, False], [False, True, False, True]])


def config(granularity: str, stop_round: int | None = None) -> dict[str, Any]:
    return {"params": {"granularity": granularity}, "stop_round": stop_round}


def test_without_a_pattern_nothing_is_stated() -> None:
    for params in ({}, {"granularity": "weight"}, {"granularity": "kernel"}):
        given = {"params": params, "stop_round": None}
        assert pattern_section(given, {"a": HALF}, LAYERS) is None
        assert check_section(given, None, {"a": HALF}, LAYERS, "file") is None


def test_layers_that_hold_it_and_layers_that_stay_dense() -> None:
    expected = {"granularity": "2:4", "layers": {"a": "2:4"}, "dense": ["b"]}
    assert pattern_section(config("2:4"), {"a": HALF}, LAYERS) == expected
    found = pattern_section(config("n:4"), {"a": THREE}, LAYERS)
    assert found == {"granularity": "n:4", "layers": {"a": "3:4"}, "dense": ["b"]}
    assert found == pattern_section(config("n:4"), {"a": THREE, "b": torch.ones(3, 6) > 0}, LAYERS)


def test_a_promise_that_is_not_kept_is_refused() -> None:
    with pytest.raises(VerificationError, match="the masks: a: blocks of 4 must keep at most 2"):
        pattern_section(config("2:4"), {"a": THREE}, LAYERS)
    with pytest.raises(VerificationError, match="one keeps 4"):
        pattern_section(config("2:4"), {}, LAYERS)
    # An earlier round of the trial is on its way there.
    found = pattern_section(config("2:4", stop_round=1), {"a": THREE}, LAYERS)
    assert found is not None
    assert found["layers"] == {"a": "3:4"}


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (None, "must state the pattern of the plan"),
        ({"granularity": "n:8", "layers": {}, "dense": []}, "must state the pattern of the plan"),
        ({"granularity": "n:4", "layers": {"a": "2:4"}, "dense": []}, "a: blocks of 4"),
        ({"granularity": "n:4", "layers": {"a": "3:8"}, "dense": []}, "must hold 3:8 as reported"),
        ({"granularity": "n:4", "layers": {"c": "3:4"}, "dense": []}, "c must hold 3:4"),
    ],
)
def test_a_report_that_the_file_does_not_bear_out_is_refused(section: Any, words: str) -> None:
    with pytest.raises(VerificationError, match=f"file: .*{words}"):
        check_section(config("n:4"), section, {"a": THREE, "b": torch.ones(3, 6)}, LAYERS, "file")


@pytest.fixture(scope="module")
def export(start: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pattern") / "model"
    job, context = start(sparsity=0.5, params={"granularity": "2:4"})
    report = export_job(job, context, out, formats=["safetensors"])
    assert "pattern: 2:4 in 3 of 3 layers, checked in model.safetensors" in report.checks
    return out


def test_an_export_of_half_states_it(export: Path) -> None:
    report = read_json(export / "report.json")
    names = list(read_json(export / "plan.json")["layers"])
    assert report["pattern"] == {
        "granularity": "2:4",
        "layers": dict.fromkeys(names, "2:4"),
        "dense": [],
    }
    assert report["sparsity"] == 0.5


def test_a_plan_that_promises_more_than_the_file_holds_is_refused(
    export: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(export, tmp_path / "copy"))
    plan, report = read_json(folder / "plan.json"), read_json(folder / "report.json")
    for spec in ("1:4", "weight"):
        plan["lineage"]["config"]["params"]["granularity"] = spec
        report["pattern"]["granularity"] = spec
        (folder / "plan.json").write_text(json.dumps(plan))
        (folder / "report.json").write_text(json.dumps(report))
        write_sums(folder)
        if spec == "weight":
            assert not any(line.startswith("pattern") for line in verify_folder(folder)["checks"])
            continue
        with pytest.raises(VerificationError, match="blocks of 4 must keep at most 1; one keeps 2"):
            verify_folder(folder)
