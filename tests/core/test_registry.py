from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from autoprune.core import registry
from autoprune.core.errors import ConfigError, UnknownNameError
from autoprune.core.registry import Registry, load_object

LINES = {"join": "os.path:join", "split": "os.path:split"}


def plugged(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> Registry[object]:
    """Stand in for what is installed: the edge to the packaging system."""
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    return Registry("thing", "tests.things", LINES)


def test_names_keep_their_order() -> None:
    things: Registry[object] = Registry("thing", "tests.things", LINES)
    assert things.names() == list(things) == ["join", "split"]
    assert "join" in things
    assert "jion" not in things


def test_the_object_is_imported_on_first_use() -> None:
    code = """
import sys
from autoprune.core.registry import Registry
things = Registry("thing", "tests.things", {"x": "colorsys:rgb_to_hls"})
assert "x" in things and "colorsys" not in sys.modules
assert things.get("x") is things.get("x")
assert "colorsys" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_is_refused_with_its_place() -> None:
    things: Registry[object] = Registry("thing", "tests.things", LINES)
    with pytest.raises(UnknownNameError, match=r"here names an unknown thing 'jion'; .*'join'"):
        things.get("jion", "here")
    with pytest.raises(UnknownNameError, match="known: join, split"):
        things.check("zzz", "here")


def test_a_lent_entry_is_found_and_not_listed() -> None:
    colours: Registry[object] = Registry("colour", "autoprune.colours", {"red": "sys:path"})
    colours.lend("crimson", "a variant")
    assert colours.get("crimson") == "a variant"
    assert colours.names() == ["red"]
    with pytest.raises(ConfigError, match=r"colour 'red' must not take a registered name"):
        colours.lend("red", "another")


def test_plug_ins_come_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", "os.path:isabs", "tests.things")
    other = EntryPoint("theirs", "os.path:isabs", "another.group")
    things = plugged(monkeypatch, point, other)
    assert things.names() == ["join", "split", "mine"]
    assert things.get("mine") is load_object("os.path:isabs")


def test_a_plug_in_cannot_take_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    things = plugged(monkeypatch, EntryPoint("join", "os.path:isabs", "tests.things"))
    with pytest.raises(ConfigError, match=r"entry point 'join' .* must not take the name"):
        things.names()
