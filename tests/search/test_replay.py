from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.errors import StudyError
from autoprune.core.records import Job
from autoprune.search.engine import SearchOptions
from autoprune.search.replay import replay_trial, settings_of
from autoprune.search.session import SearchRequest, search
from autoprune.search.study import read_events

SPACE = """\
name: rounds
task: {data: digits, model: mlp}
train: {epochs: 2, lr: 0.1}
targets: {low: 0.6, high: 0.75}
fidelity: {epochs: [1, 2]}
method:
  imp: {rounds: [2]}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    (folder / "rounds.yaml").write_text(SPACE)
    options = SearchOptions(budget="3", confirm_seeds=3)
    search(SearchRequest(folder / "rounds.yaml", options, home=folder, executor="inline"))
    return folder


def _jobs(home: Path, purpose: str) -> list[tuple[Job, dict[str, Any]]]:
    events = read_events(home, "rounds")
    results = {e["result"]["job"]: e["result"] for e in events if e["event"] == "result"}
    jobs = [Job.from_json(e["job"]) for e in events if e["event"] == "job"]
    return [(job, results[job.number]) for job in jobs if job.purpose == purpose]


def test_a_confirmed_trial_is_rebuilt_by_its_median_run(home: Path) -> None:
    trial = _jobs(home, "confirm")[0][0].trial
    runs = [(job, result) for job, result in _jobs(home, "confirm") if job.trial == trial]
    assert len(runs) == 3
    _, median = sorted((r["metrics"]["val_accuracy"], job.number) for job, r in runs)[1]
    job, result = next(run for run in runs if run[0].number == median)

    found = replay_trial(home, trial[:8])
    assert (found["trial"], found["study"], found["seed"]) == (trial, "rounds", job.seed)
    assert found["epochs"] == job.epochs == 2
    recorded = {
        "val_accuracy": result["metrics"]["val_accuracy"],
        "mask_sha256": result["mask_sha256"],
    }
    assert found["recorded"] == found["rebuilt"] == recorded
    assert (found["deviation"], found["same_masks"]) == (0.0, True)
    assert found["explanation"].endswith("the same as then, and so is the result")


def test_of_a_round_only_numbers_are_compared(home: Path) -> None:
    """The journal holds a round's numbers, not its masks."""
    confirmed = {job.trial for job, _ in _jobs(home, "confirm")}
    parts = (
        (replace(job.config, stop_round=1), result["rounds"][0])
        for job, result in _jobs(home, "explore")
    )
    part, recorded = next(pair for pair in parts if pair[0].trial_id not in confirmed)
    found = replay_trial(home, part.trial_id, study="rounds")
    assert found["recorded"]["val_accuracy"] == recorded["metrics"]["val_accuracy"]
    assert found["recorded"]["mask_sha256"] is None
    assert (found["deviation"], found["same_masks"]) == (0.0, None)


def test_nothing_is_taken_from_or_put_into_the_home(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "home"
    shutil.copytree(home / "studies", copy / "studies")
    trial = _jobs(home, "confirm")[0][0].trial
    assert replay_trial(copy, trial)["deviation"] == 0.0
    assert [path.name for path in copy.iterdir()] == ["studies"]


def _edit(home: Path, target: Path, name: str = "rounds", **made_with: str) -> Path:
    """Copy a study under a name, as if it had been made with something else."""
    folder = target / "studies" / name
    shutil.copytree(home / "studies" / "rounds", folder)
    journal = folder / "journal.jsonl"
    header, rest = journal.read_text().split("\n", 1)
    content = json.loads(header)
    content["settings"]["made_with"].update(made_with)
    journal.write_text(json.dumps(content) + "\n" + rest)
    return target


@pytest.mark.parametrize(
    ("made_with", "words"),
    [
        ({"torch": "1.0"}, "torch 1.0 then, "),
        ({"sources_sha256": "0" * 64}, "AutoPrune's sources 000000000000 then, "),
    ],
)
def test_a_change_of_numerics_is_told(
    made_with: dict[str, str], words: str, home: Path, tmp_path: Path
) -> None:
    trial = _jobs(home, "confirm")[0][0].trial
    explanation = replay_trial(_edit(home, tmp_path, **made_with), trial)["explanation"]
    assert explanation.startswith("not the same as then: " + words)
    assert explanation.endswith("bits may differ")


def test_a_trial_of_several_studies_needs_a_study(home: Path, tmp_path: Path) -> None:
    copy = _edit(home, _edit(home, tmp_path), "second")
    trial = _jobs(home, "confirm")[0][0].trial
    with pytest.raises(StudyError, match=r"TRIAL is in studies rounds, second.*add --study"):
        replay_trial(copy, trial)
    assert replay_trial(copy, trial, study="second")["study"] == "second"


def test_what_means_no_trial_is_refused(home: Path) -> None:
    with pytest.raises(StudyError, match="at least 4 characters; got 'abc'"):
        replay_trial(home, "abc")
    with pytest.raises(StudyError, match=r"must be in a study of .*; got 'ffffffffff'"):
        replay_trial(home, "ffffffffff")


def test_a_study_of_a_gpu_is_refused_where_there_is_none(home: Path) -> None:
    if list(Path("/proc/driver/nvidia/gpus").glob("*")):
        pytest.skip("there is a GPU here")
    header, *rest = read_events(home, "rounds")
    on_gpu = {**header, "settings": {**header["settings"], "device": "cuda", "dtype": "bfloat16"}}
    with pytest.raises(StudyError, match="ran on a device that is not here; got 'cuda'"):
        settings_of([on_gpu, *rest], home)
    taken = settings_of([on_gpu, *rest], home, device="cpu")
    assert (taken.device, taken.dtype) == ("cpu", "float32")
