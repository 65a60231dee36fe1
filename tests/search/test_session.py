from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.core.errors import AutoPruneError, BadInput, ConfigError, StudyError, TaskError
from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, Session, load_summary, search
from autoprune.search.study import read_events
from tests.trial.test_context import TASK_FILE

SPACE = """
name: tiny
task: {data: digits, model: mlp}
train: {epochs: 2}
fidelity: {epochs: [1, 2]}
method:
  magnitude: {allocation: [global, erk]}
  imp: {rounds: 1, rewind: [none, init], lr: [linear, lrw]}
lr:
  linear: {peak: {low: 0.05, high: 0.3, log: true}}
  lrw: {}
"""


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """Run on one core: the tests beside us have the others."""
    cores, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {min(cores)} if os.getpid() % 2 else {max(cores)})
    yield
    os.sched_setaffinity(0, cores)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "tiny.yaml"
    path.write_text(SPACE)
    return path


def request(space: Path, home: Path, **changes: Any) -> SearchRequest:
    options = SearchOptions(budget="4", confirm_seeds=1)
    return replace(
        SearchRequest(space=space, home=home, executor="inline", options=options), **changes
    )


@pytest.fixture(scope="module")
def finished(space: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    search(request(space, home))
    return home


def without_times(home: Path, name: str = "tiny") -> list[Any]:
    """The journal but for times; the store's folder is the home's own, so it is left out too."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: clean(v) for k, v in value.items() if k not in {"time", "wall_s", "home"}}
        return [clean(v) for v in value] if isinstance(value, list) else value

    return [clean(event) for event in read_events(home, name)]


def test_a_search_ends_in_a_confirmed_front(finished: Path) -> None:
    summary = load_summary(finished, "tiny")
    assert summary["status"] == "complete"
    assert summary["jobs"] == 4
    assert summary["failed"] == 0
    assert summary["home"] == str(finished)
    assert summary["front"]
    assert all(point["seeds"] == 1 for point in summary["front"])
    json.dumps(summary, allow_nan=False)


def test_one_seed_gives_one_journal(finished: Path, space: Path, tmp_path: Path) -> None:
    search(request(space, tmp_path))
    assert without_times(tmp_path) == without_times(finished)


def test_another_seed_gives_another(finished: Path, space: Path, tmp_path: Path) -> None:
    search(request(space, tmp_path, seed=1))
    assert without_times(tmp_path)[1:] != without_times(finished)[1:]


def test_an_interrupted_search_goes_on_to_the_same_end(
    finished: Path, space: Path, tmp_path: Path
) -> None:
    def interrupt(event: Any) -> None:
        if event["event"] == "result" and event["result"]["job"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(request(space, tmp_path), [interrupt])
    assert read_events(tmp_path, "tiny")[-1]["status"] == "stopped"
    again = search(request(space, tmp_path, resume=True))
    front = load_summary(finished, "tiny")["front"]
    assert again["status"] == "complete"
    assert again["front"] == front


def test_an_existing_name_is_refused(finished: Path, space: Path) -> None:
    before = without_times(finished)
    with pytest.raises(StudyError, match=r"--name must be new, or go with --resume; got 'tiny'"):
        search(request(space, finished))
    assert without_times(finished) == before


def test_a_complete_study_is_shown_without_torch(finished: Path, space: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, search
options = SearchOptions(budget="4", confirm_seeds=1)
summary = search(SearchRequest(space=Path({str(space)!r}), home=Path({str(finished)!r}),
                               executor="inline", options=options, resume=True))
print(summary["status"], {{"torch", "ray", "mlflow", "sklearn"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "complete set()"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"--resume needs --seed as it was; got 1"),
        ({"options": SearchOptions(budget="5", confirm_seeds=1)}, r"needs --budget as it was"),
        ({"objectives": ("accuracy", "macs")}, r"needs the space as it was"),
    ],
)
def test_another_search_cannot_be_resumed(
    changes: dict[str, Any], message: str, finished: Path, space: Path
) -> None:
    with pytest.raises(StudyError, match=message):
        search(request(space, finished, resume=True, **changes))


def test_a_changed_task_file_cannot_be_resumed(space: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(TASK_FILE)
    (tmp_path / "space.yaml").write_text(
        "name: own\ntrain: {epochs: 5, batch_size: 8}\nmethod: {magnitude: {}}\n"
    )
    wish = request(tmp_path / "space.yaml", tmp_path / "home", task_file=file)
    wish = replace(wish, options=SearchOptions(budget="1", confirm_seeds=1))
    assert search(wish)["status"] == "complete"
    assert search(replace(wish, resume=True))["status"] == "complete"
    file.write_text(TASK_FILE.replace("manual_seed(0)", "manual_seed(5)"))
    with pytest.raises(StudyError, match="needs the space as it was"):
        search(replace(wish, resume=True))


def test_a_task_file_that_changes_while_it_runs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(TASK_FILE)
    (tmp_path / "space.yaml").write_text(
        "name: own\ntrain: {epochs: 5, batch_size: 8}\nmethod: {magnitude: {}}\n"
    )
    session = Session(request(tmp_path / "space.yaml", tmp_path / "home", task_file=file))
    session.open()
    file.write_text(TASK_FILE.replace("manual_seed(0)", "manual_seed(5)"))
    with session, pytest.raises(TaskError, match=r"task\.task_file must not change while a study"):
        session.run()


def test_nothing_is_written_when_the_input_is_bad(space: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for changes in (
        {"task_file": tmp_path / "missing.py"},
        {"name": "no/name"},
        {"objectives": ("sparsity",)},
        {"workers": 0},
    ):
        with pytest.raises(BadInput):
            search(request(space, home, **changes))
    with pytest.raises(BadInput):
        search(request(tmp_path / "missing.yaml", home))
    assert not (home / "studies").exists()


def test_a_search_in_which_all_fails_says_why(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(
        TASK_FILE + "\ndef loss(outputs, targets):\n    raise RuntimeError('no loss today')\n"
    )
    (tmp_path / "space.yaml").write_text(
        "name: own\ntrain: {epochs: 5, batch_size: 8}\nmethod: {magnitude: {}}\n"
    )
    wish = request(tmp_path / "space.yaml", tmp_path / "home", task_file=file)
    with pytest.raises(
        AutoPruneError, match=r"every job failed; .*own.py:\d+ raised Runt.* no loss today"
    ):
        search(wish)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"workers": 0}, r"--workers must be at least 1; got 0"),
        (
            {"workers": 2, "executor": "inline"},
            r"--workers must be 1 for jobs in one process; got 2",
        ),
        ({"gpus_per_job": 0.0}, r"--gpus-per-job must be in \(0, 1\], or whole; got 0.0"),
        ({"gpus_per_job": -1.0}, r"--gpus-per-job"),
        ({"gpus_per_job": 1.5}, r"--gpus-per-job"),
        ({"gpus_per_job": float("inf")}, r"--gpus-per-job"),
        ({"gpus_per_job": float("nan")}, r"--gpus-per-job"),
    ],
)
def test_requests_are_checked(
    changes: dict[str, Any], message: str, space: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Session(request(space, tmp_path / "home", **changes))
    assert not (tmp_path / "home").exists()


def test_how_many_jobs_run_at_once() -> None:
    assert SearchRequest(executor="inline").num_workers == 1
    assert SearchRequest(executor="ray", workers=5).num_workers == 5
    assert SearchRequest(executor="ray").runs_on_ray
    assert not SearchRequest(executor="inline").runs_on_ray


def test_the_threads_of_a_study_stay_when_it_is_resumed(space: Path, tmp_path: Path) -> None:
    with Session(request(space, tmp_path)) as session:
        session.open()
        began = session.settings.threads
    journal = tmp_path / "studies" / "tiny" / "journal.jsonl"
    header = json.loads(journal.read_text())
    header["settings"]["threads"] = began + 1
    journal.write_text(json.dumps(header) + "\n")
    with Session(request(space, tmp_path, resume=True)) as session:
        session.open()
        assert session.settings.threads == began + 1
        assert session.engine is not None
        assert session.engine.planner.context.numerics.threads == began + 1


def test_rates_that_cannot_be_replayed_are_never_proposed(space: Path, tmp_path: Path) -> None:
    # The dense run has 2 epochs; a top rung of 3 in one round is longer.
    path = tmp_path / "long.yaml"
    path.write_text(SPACE.replace("[1, 2]", "[1, 3]").replace("name: tiny", "name: long"))
    search(request(path, tmp_path))
    jobs = [e["job"] for e in read_events(tmp_path, "long") if e["event"] == "job"]
    assert any(job["config"]["method"] == "imp" for job in jobs)
    assert all(job["config"]["lr"]["name"] == "linear" for job in jobs)
    assert load_summary(tmp_path, "long")["failed"] == 0


def test_the_default_space_fits_the_example_of_the_documentation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The shipped spaces turn three knobs; the example's model has two layers."""
    page = Path(__file__).parents[2] / "docs" / "task-file.md"
    file = tmp_path / "task.py"
    file.write_text(page.read_text().split("```python\n")[1].split("```")[0])
    wish = request(Path("digits"), tmp_path / "home", task_file=file)
    with Session(wish) as session:
        assert len(session.info.layers) == 2
        knobs = {d.path for d in session.space.dimensions if ".searched." in d.path}
        assert knobs == {f"method.magnitude.allocation.searched.{number}" for number in (1, 2)}
    assert "the model has 2 prunable layers" in caplog.text
