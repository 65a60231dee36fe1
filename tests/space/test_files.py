from __future__ import annotations

from pathlib import Path

import pytest

import autoprune
from autoprune.core.errors import ConfigError
from autoprune.space import list_spaces, load_space
from autoprune.space.files import find_space, read_yaml, shipped_folders


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", r"mine.yaml, line 3 is malformed YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", r"mine.yaml, line 4 is malformed YAML: the key 'c' stands"),
        ("- 1\n- 2\n", r"mine.yaml, line 1 must hold a mapping"),
        ("", r"mine.yaml, line 1 must hold a mapping"),
        ("a: !!python/object:os.system x\n", r"mine.yaml, line 1 is malformed YAML"),
        ("? [a, b]\n: 1\n", r"mine.yaml, line 1 is malformed YAML"),
    ],
)
def test_malformed_files_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_yaml(write(tmp_path, text))


def test_unreadable_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a file"):
        load_space(tmp_path / "no.yaml")
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_yaml(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(tmp_path)


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    content = read_yaml(write(tmp_path, "a: 5e-4\nb: 1E3\nc: -2e+1\nd: e5\ne: 1e\n"))
    assert content == {"a": 5e-4, "b": 1000.0, "c": -20.0, "d": "e5", "e": "1e"}


def test_shipped_spaces_are_found_by_name() -> None:
    assert {"digits", "fashion_mnist", "cifar10"} <= set(list_spaces())
    assert find_space("digits").name == "digits.yaml"


def test_a_misspelt_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_space("digit")


def test_the_package_is_looked_at_before_the_folder_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, beside = tmp_path / "autoprune" / "search_spaces", tmp_path / "search_spaces"
    for folder, name in ((inside, "inside"), (beside, "beside")):
        folder.mkdir(parents=True)
        (folder / "x.yaml").write_text(f"name: {name}")
    monkeypatch.setattr(
        "autoprune.space.files.__file__", str(tmp_path / "autoprune" / "space" / "files.py")
    )
    assert shipped_folders() == [inside, beside]
    assert read_yaml(find_space("x")) == {"name": "inside"}


@pytest.mark.parametrize("name", list_spaces())
def test_every_shipped_space_loads_under_its_own_name(name: str) -> None:
    space = load_space(name)
    assert space.name == name
    assert "accuracy" in space.objectives
    assert Path(autoprune.__file__).parent  # the loader needs no working directory


def test_a_file_without_a_name_takes_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, "task: {data: digits, model: mlp}\nmethod: {magnitude: }\n")
    assert load_space(path).name == "mine"


def test_a_pattern_is_text_quoted_or_not(tmp_path: Path) -> None:
    text = "task: {data: digits}\nmethod:\n  magnitude: {granularity: [weight, 2:4, 'n:4', n:8]}\n"
    (choice,) = (d for d in load_space(write(tmp_path, text)).dimensions if "gran" in d.path)
    assert choice.grid() == ["weight", "2:4", "n:4", "n:8"]
