"""kill -9 of the driver while it writes, and --resume: nothing is lost, nothing is repeated."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest, search
from tests.cli.support import succeed, write_space
from tests.e2e.support import OPTIONS, events_of

pytestmark = [pytest.mark.slow, pytest.mark.mlflow]

LINES = (1, 11, 37)
"""Sizes of the journal at which the driver is killed: after its header, within the search, within
the confirmation."""


def _size(home: Path) -> int:
    path = home / "studies" / "tiny" / "journal.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _kill_at(lines: int, space: Path, home: Path) -> None:
    """Start or resume the search, and kill it once its journal has so many lines."""
    options = ["search", str(space), *OPTIONS, "--resume", "--home", str(home)]
    process = subprocess.Popen(
        [sys.executable, "-m", "autoprune", *options], stderr=subprocess.PIPE
    )
    while _size(home) < lines:
        try:
            _, told = process.communicate(timeout=0.005)
        except subprocess.TimeoutExpired:
            continue
        pytest.fail(f"ended before line {lines}: {told.decode()}")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def _results(events: list[dict[str, Any]]) -> list[tuple[int, str, float, str]]:
    """Return what was recorded, without times."""
    rows = [event["result"] for event in events if event["event"] == "result"]
    return [(r["job"], r["status"], r["metrics"]["val_accuracy"], r["mask_sha256"]) for r in rows]


def _decisions(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["job"] for event in events if event["event"] == "job"]


def test_a_killed_search_ends_in_the_front_it_would_have_had(tmp_path: Path) -> None:
    space, home = write_space(tmp_path), tmp_path / "home"
    kept: list[dict[str, Any]] = []
    for lines in LINES:
        _kill_at(lines, space, home)
        events = events_of(home)
        assert events[: len(kept)] == kept
        kept = events
    with (home / "studies" / "tiny" / "journal.jsonl").open("a") as journal:
        journal.write('{"event": "result", "resu')  # torn by a crash
    done = succeed("search", space, *OPTIONS, "--resume", "--home", home, "--json")

    events = events_of(home)
    assert events[: len(kept)] == kept
    numbers = Counter(job for job, *_ in _results(events))
    assert set(numbers.values()) == {1}
    assert sorted(numbers) == [job["number"] for job in _decisions(events)]

    whole = search(
        SearchRequest(
            space=space,
            options=SearchOptions(budget="6", confirm_seeds=2),
            home=tmp_path / "whole",
            executor="inline",
        )
    )
    unbroken = events_of(tmp_path / "whole")
    assert _results(events) == _results(unbroken)
    assert _decisions(events) == _decisions(unbroken)
    found = done.json
    assert found["front"] == whole["front"]
    assert found["profile"] == whole["profile"]
    assert (found["jobs"], found["status"]) == (6, "complete")
    assert all(found["mlflow"].values())


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_says_how_it_goes_on(tmp_path: Path, told: signal.Signals) -> None:
    space, home = write_space(tmp_path), tmp_path / "home"
    options = ["search", str(space), *OPTIONS, "--home", str(home)]
    process = subprocess.Popen(
        [sys.executable, "-m", "autoprune", *options],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A suite that a shell put into the background ignores it, and so would the search.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while _size(home) < 4 and process.poll() is None:
        try:
            process.wait(timeout=0.01)
        except subprocess.TimeoutExpired:
            continue
    process.send_signal(told)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "--resume goes on from here" in err
    assert "Traceback" not in err
    assert out == ""
    assert events_of(home)[-1]["status"] == "stopped"
