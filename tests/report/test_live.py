from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from autoprune.report.live import LiveProgress, LiveState, line, panel

STATE = LiveState(
    spent=37,
    running=2,
    done=37,
    failed=1,
    elapsed_s=312,
    stages_reused=88,
    stages_total=132,
    best={0.95: 0.871, 0.5: 0.9},
    hypervolume=0.81234,
    last="imp at 95.2 %: 87.1 %",
)


def test_the_line_says_everything() -> None:
    assert line(STATE, 100, "jobs") == (
        "search: 37 of 100 jobs spent, 63 left; 37 done, 2 running, 1 failed; 88 of 132 stages "
        "reused (67 %); best val acc at 50 %: 90.0, 95 %: 87.1; hypervolume 0.8123; 5 min 12 s"
    )


def test_seconds_are_worded_and_nothing_is_left_below_zero() -> None:
    text = line(replace(STATE, spent=70), 60, "s")
    assert "1 min 10 s of 1 min 00 s spent, 0 s left" in text


def test_no_stage_yet_is_no_division() -> None:
    bare = LiveState(spent=0, running=1, done=0, failed=0, elapsed_s=0)
    assert "0 of 0 stages reused (0 %)" in line(bare, 10, "jobs")


@pytest.mark.parametrize("width", [80, 100])
def test_the_panel_fits(width: int) -> None:
    bands = dict.fromkeys((0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99), 0.9)
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(panel(replace(STATE, best=bands), 100, "jobs"))
    text = capture.get()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for words in ("37 of 100 jobs", ">= 99 %", "imp at 95.2 %", "0.8123", "67 %"):
        assert words in text


def plain(every: int, counts: list[int]) -> list[str]:
    said: list[str] = []
    console = Console(file=io.StringIO(), force_terminal=False)
    with LiveProgress(console, 100, "jobs", every=every, say=said.append) as live:
        for done in counts:
            live.update(replace(STATE, done=done))
    assert console.file.getvalue() == ""  # type: ignore[attr-defined]  # a StringIO
    return [text.split("; ")[1].split(" ")[0] for text in said]


def test_without_a_terminal_a_line_comes_every_n_jobs_and_at_the_end() -> None:
    # The first finished job, each passing of a multiple of 5, and the last state.
    assert plain(5, [0, 1, 2, 4, 5, 6, 11, 12]) == ["1", "5", "11", "12"]


def test_the_last_line_is_not_said_twice() -> None:
    assert plain(5, [1, 5]) == ["1", "5"]
    assert plain(5, []) == []


def test_on_a_terminal_the_panel_is_drawn_and_no_line_is_said() -> None:
    said: list[str] = []
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    with LiveProgress(console, 100, "jobs", say=said.append) as live:
        live.update(STATE)
    assert "37 of 100 jobs spent" in file.getvalue()
    assert said == []


def test_an_error_inside_goes_through() -> None:
    with pytest.raises(KeyError), LiveProgress(Console(file=io.StringIO()), 1, "jobs"):
        raise KeyError
