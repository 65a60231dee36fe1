"""What is installed and what is committed."""

from __future__ import annotations

import re
import subprocess
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import autoprune
from autoprune.core.registry import Registry
from autoprune.data.registry import DATA
from autoprune.export.registry import EXPORTERS
from autoprune.methods.base import METHODS
from autoprune.models.registry import MODELS
from autoprune.pruning.registry import ALLOCATIONS, GRANULARITIES, SCORES, SPARSITY_SCHEDULES
from autoprune.training.registry import LR_SCHEDULES, RECIPES
from tests.processes import python

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REGISTRIES: list[Registry] = [
    *(METHODS, SCORES, ALLOCATIONS, GRANULARITIES, SPARSITY_SCHEDULES),
    *(LR_SCHEDULES, RECIPES, MODELS, DATA, EXPORTERS),
]


def test_version_is_one() -> None:
    assert autoprune.__version__ == PROJECT["version"] == version("autoprune")


def test_public_names_are_sorted_and_resolve() -> None:
    assert autoprune.__all__ == sorted(autoprune.__all__)
    for name in autoprune.__all__:
        assert getattr(autoprune, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'prune_everything'"):
        _ = autoprune.prune_everything


def test_import_is_light() -> None:
    code = (
        "import sys; import autoprune; print([m for m in ('torch', 'numpy', 'pydantic', 'ray', "
        "'mlflow', 'optuna', 'typer', 'sklearn') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


def test_help_is_light() -> None:
    code = (
        "import sys; from autoprune.cli.main import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'optuna', 'sklearn') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip().splitlines()[-1] == "[]"


def test_the_command_is_installed() -> None:
    (point,) = entry_points(group="console_scripts", name="autoprune")
    assert callable(point.load())


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.group)
def test_every_name_resolves(registry: Registry) -> None:
    assert registry.names()
    for name in registry:
        assert registry.get(name) is not None


def test_groups_differ() -> None:
    assert len({registry.group for registry in REGISTRIES}) == len(REGISTRIES)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "autoprune").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted - wheel == set()
    assert "autoprune/py.typed" in wanted
    assert any(name.startswith("autoprune/report/templates/") for name in wanted)


def test_the_wheel_holds_the_spaces(wheel: set[str]) -> None:
    names = [path.name for path in (ROOT / "search_spaces").glob("*.yaml")]
    assert "digits.yaml" in names
    for name in names:
        assert f"autoprune/search_spaces/{name}" in wheel


def test_the_wheel_holds_nothing_else(wheel: set[str]) -> None:
    info = f"autoprune-{autoprune.__version__}.dist-info/"
    assert {n for n in wheel if not n.startswith(("autoprune/", info))} == set()
    assert f"{info}licenses/LICENSE" in wheel


def _tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed if (ROOT / name).is_file()]


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    # Pieced together, so that this file does not find itself.
    words = ["/wo" + "rk/", "/tmp" + "/w/", ".lib" + "rary", "/ro" + "ot/", "py" + "pi."]
    pattern = re.compile("|".join(map(re.escape, words)) + r"|files\.python" + "hosted")
    found = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.name}: {hit[0]}" for hit in pattern.finditer(text)]
    assert found == []


def test_files_are_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines())
        for path in (ROOT / "autoprune").rglob("*.py")
    }
    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_the_licence_is_apache_and_the_changelog_has_a_next_release() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert "## [Unreleased]\n\n### Added\n" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_is_executable_bash() -> None:
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(path)], check=True)
