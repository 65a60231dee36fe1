from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.core.config import TaskConfig
from autoprune.core.errors import StudyError
from autoprune.search.engine import DONE, SearchOptions
from autoprune.search.executors.inline import InlineExecutor
from autoprune.search.executors.simulated import VirtualClock
from autoprune.search.study import (
    Study,
    is_finished,
    list_studies,
    open_study,
    read_events,
    remove_study,
)
from tests.search.support import CONTEXT, INFO, simulation, small_space

SPACE = small_space()
OPTIONS = SearchOptions("6", sampler="random", confirm_seeds=1)


def opened(home: Path, **changes: Any) -> Study:
    arguments: dict[str, Any] = {"space": SPACE, "info": INFO, "options": OPTIONS, **changes}
    space, info = arguments.pop("space"), arguments.pop("info")
    return open_study(home, "s", space, info, clock=VirtualClock(), **arguments)


def complete(home: Path) -> Study:
    study = opened(home)
    InlineExecutor(simulation(SPACE)).run(study.engine(CONTEXT))
    study.close()
    return study


def test_a_study_lives_in_its_folder(tmp_path: Path) -> None:
    study = complete(tmp_path)
    assert study.folder == tmp_path / "studies" / "s"
    events = read_events(tmp_path, "s")
    assert events == study.journal.events
    assert is_finished(events)
    assert not is_finished(events[:-1])
    assert not is_finished([])


def test_an_existing_name_needs_resume(tmp_path: Path) -> None:
    opened(tmp_path).close()
    before = (tmp_path / "studies/s/journal.jsonl").read_bytes()
    with pytest.raises(StudyError, match="must be new, or go with --resume; got 's'"):
        opened(tmp_path)
    assert (tmp_path / "studies/s/journal.jsonl").read_bytes() == before


def test_resume_goes_on_and_starts_what_is_not_there(tmp_path: Path) -> None:
    study = opened(tmp_path, resume=True)
    engine = study.engine(CONTEXT)
    job = engine.next()
    study.close()
    again = opened(tmp_path, resume=True)
    assert again.engine(CONTEXT).next() == job
    again.close()


def test_resuming_a_complete_study_runs_nothing(tmp_path: Path) -> None:
    complete(tmp_path)
    study = opened(tmp_path, resume=True)
    before = list(study.journal.events)
    assert study.engine(CONTEXT).next() is DONE
    assert study.journal.events == before
    study.close()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": small_space(targets={"high": 0.97})}, "needs the space as it was"),
        ({"space": SPACE.with_task(TaskConfig(model="lenet300"))}, "needs the space as it was"),
        ({"info": replace(INFO, fingerprint="other")}, "needs the data as it was"),
        ({"info": replace(INFO, params=9)}, "needs the model as it was"),
        ({"seed": 1}, "needs --seed as it was; got 1; it was 0"),
        ({"options": replace(OPTIONS, budget="7")}, "needs --budget as it was; got '7'"),
        ({"options": replace(OPTIONS, strategy="full")}, "needs --strategy as it was"),
        ({"options": replace(OPTIONS, confirm_seeds=2)}, "needs --confirm-seeds as it was"),
    ],
)
def test_resume_names_what_changed(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    opened(tmp_path).close()
    with pytest.raises(StudyError, match=message):
        opened(tmp_path, resume=True, **changes)
    opened(tmp_path, resume=True).close()  # the refusal let go of the lock


def test_two_searches_on_one_name(tmp_path: Path) -> None:
    study = opened(tmp_path)
    with pytest.raises(StudyError, match="is being searched by another process"):
        opened(tmp_path, resume=True)
    with pytest.raises(StudyError, match="is being searched by another process"):
        remove_study(tmp_path, "s")
    study.close()
    opened(tmp_path, resume=True).close()


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, os.getcwd());"
        "from tests.search.test_study import opened;"
        "study = opened(Path(sys.argv[1])); study.engine.__self__; os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert list_studies(tmp_path)[0]["status"] == "interrupted"
    opened(tmp_path, resume=True).close()


def test_a_torn_line_is_dropped_on_resume(tmp_path: Path) -> None:
    study = complete(tmp_path)
    path = study.folder / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:5]) + lines[5][:20])
    again = opened(tmp_path, resume=True)
    assert len(again.journal.events) == 5
    InlineExecutor(simulation(SPACE)).run(again.engine(CONTEXT))
    trials = [e["job"]["trial"] for e in again.journal.events if e["event"] == "job"]
    assert trials == [e["job"]["trial"] for e in study.journal.events if e["event"] == "job"]
    again.close()


def test_listing_and_removing(tmp_path: Path) -> None:
    assert list_studies(tmp_path) == []
    complete(tmp_path)
    row = list_studies(tmp_path)[0]
    assert (row["study"], row["status"], row["jobs"]) == ("s", "complete", 6)
    assert row["bytes"] > 1000
    assert remove_study(tmp_path, "s") == row["bytes"]
    assert list_studies(tmp_path) == []
    with pytest.raises(StudyError, match="there is none yet"):
        remove_study(tmp_path, "s")


def test_an_unknown_study_gets_a_suggestion(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with pytest.raises(StudyError, match=r"must be one of those in .*known: s"):
        read_events(tmp_path, "fashion")


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b"])
def test_names_that_are_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="--name must be letters"):
        open_study(tmp_path, name, SPACE, INFO)


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StudyError, match=r"cannot be (written|read)"):
        opened(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_home(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StudyError, match="cannot be written"):
        opened(tmp_path)


def test_a_study_of_a_newer_version(tmp_path: Path) -> None:
    opened(tmp_path).close()
    path = tmp_path / "studies/s/journal.jsonl"
    path.write_text(path.read_text().replace('"version":1', '"version":9'))
    with pytest.raises(StudyError, match="must be of version 1 or older; got 9"):
        opened(tmp_path, resume=True)
    with pytest.raises(StudyError, match="must be of version 1 or older"):
        opened(tmp_path)
