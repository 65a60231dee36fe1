from __future__ import annotations

from pathlib import Path

import pytest

from autoprune.core.errors import DataError
from autoprune.data.places import find


def holds(folder: Path) -> bool:
    return (folder / "here").exists()


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "here").touch()
    return folder


@pytest.fixture
def roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, with an empty home and a folder in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AUTOPRUNE_DATA_DIR", str(tmp_path / "env"))
    return tmp_path


def test_places_in_order(roots: Path) -> None:
    system = put(roots / "system")
    args = ("mine", None, ["deep/er"], holds, "get it", [str(system)])
    assert find(*args) == system
    cached = put(roots / "home" / ".cache" / "autoprune" / "data" / "mine")
    assert find(*args) == cached
    put(roots / "data" / "deep" / "er")
    assert find(*args).resolve() == roots / "data" / "deep" / "er"
    named = put(roots / "env" / "mine")
    assert find(*args) == named
    given = put(roots / "given")
    assert find("mine", given, [], holds, "get it", [str(system)]) == given


def test_a_given_folder_is_the_only_one(roots: Path) -> None:
    put(roots / "env")
    with pytest.raises(DataError) as caught:
        find("mine", roots / "given", ["deep"], holds, "get it")
    assert str(roots / "env") not in str(caught.value)
    assert str(roots / "given" / "deep") in str(caught.value)
    assert str(caught.value).endswith("get it")


def test_without_the_variable_two_places_are_left(
    roots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOPRUNE_DATA_DIR")
    put(roots / "env")
    with pytest.raises(DataError, match=r"was not found in data, .*\.cache"):
        find("mine", None, [], holds, "get it")
