from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from autoprune.core.errors import StudyError
from autoprune.search.executors.simulated import VirtualClock
from autoprune.search.journal import VERSION, Journal, load_events

HEADER = {"event": "study", "version": VERSION}


def test_events_survive_and_time_goes_on_over_sessions(tmp_path: Path) -> None:
    path, clock = tmp_path / "j.jsonl", VirtualClock()
    clock.now_s = 1000.0
    first = Journal(path, clock)
    first.append(HEADER)
    clock.now_s += 5.0
    first.append({"event": "a"})
    clock.now_s = 7.0  # another machine, another origin
    second = Journal(path, clock)
    clock.now_s += 2.5
    second.append({"event": "b"})
    assert [e["time"] for e in load_events(path)] == [0.0, 5.0, 7.5]
    assert load_events(path) == second.events


@pytest.mark.parametrize("torn", ["{", '{"event":"b"}', '{"event":"b","x":"\\'])
def test_what_follows_the_last_newline_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "j.jsonl"
    Journal(path).append(HEADER)
    whole = path.read_bytes()
    path.write_bytes(whole + torn.encode())
    assert len(load_events(path)) == 1
    assert path.read_bytes() == whole + torn.encode()  # a reader repairs nothing
    journal = Journal(path)
    assert path.read_bytes() == whole
    journal.append({"event": "c"})
    assert [e["event"] for e in load_events(path)] == ["study", "c"]


def test_a_broken_line_in_the_middle_is_told_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps({**HEADER, "time": 0}) + "\n{oops\n" + '{"event":"a"}\n')
    with pytest.raises(StudyError, match=r"j\.jsonl, line 2 is not JSON"):
        load_events(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**HEADER, "version": VERSION + 1}, "must be of version 1 or older; got 2"),
        ({"event": "job", "version": 1}, "is not a study's journal"),
        ({"event": "study", "version": "x"}, "is not a study's journal"),
    ],
)
def test_foreign_and_newer_journals_are_refused(
    tmp_path: Path, line: dict[str, object], message: str
) -> None:
    path = tmp_path / "j.jsonl"
    path.write_text(json.dumps({**line, "time": 0}) + "\n")
    with pytest.raises(StudyError, match=message):
        Journal(path)


def test_an_event_that_cannot_be_written_is_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "gone" / "j.jsonl"
    journal = Journal(path)
    heard: list[object] = []
    journal.listeners.append(heard.append)
    with pytest.raises(StudyError, match="cannot be written"):
        journal.append(HEADER)
    assert journal.events == []
    assert heard == []


def test_a_full_disk_is_a_study_error() -> None:
    journal = Journal()
    journal.path = Path("/dev/full")  # which cannot be read to its end, so not opened as a journal
    with pytest.raises(StudyError, match="No space left"):
        journal.append(HEADER)


def test_a_line_that_fits_in_part_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = Journal(path)
    journal.append(HEADER)
    size = path.stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))
    try:
        with pytest.raises(StudyError, match="cannot be written"):
            journal.append({"event": "test"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size == size
    journal.append({"event": "test"})  # as another worker's result does while the search ends
    assert Journal(path).events == journal.events


def test_listeners_hear_every_event() -> None:
    journal, heard = Journal(), []
    journal.listeners.append(heard.append)
    journal.append(HEADER)
    assert heard == journal.events


def test_numbers_that_json_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Journal(tmp_path / "j.jsonl").append({**HEADER, "x": float("nan")})
