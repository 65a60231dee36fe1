"""The plug-in of docs/methods.md, as an installed distribution would bring it."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.docs_blocks import block_of
from tests.processes import CLI, python

PAGE = "docs/methods.md"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like site-packages that holds the distribution; nothing is installed."""
    root = tmp_path_factory.mktemp("site")
    for name in ("my_pruning", "test_my_pruning"):
        (root / f"{name}.py").write_text(block_of(PAGE, f"# {name}.py"))
    groups = tomllib.loads(block_of(PAGE, '[project.entry-points."autoprune.scores"]'))
    points = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in groups["project"]["entry-points"].items()
    ]
    info = root / "my_pruning-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-pruning\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("\n".join(points))
    return root


def call(plugin: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(*arguments, cwd=plugin, PYTHONPATH=str(plugin))


def autoprune(plugin: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(plugin, *CLI, *arguments)


def test_list_shows_it(plugin: Path) -> None:
    for what, kind in (("methods", "weights"), ("scores", "scores")):
        done = autoprune(plugin, "list", what, "--json")
        rows = {row["name"]: row for row in json.loads(done.stdout.splitlines()[-1])}
        assert rows["squared"]["reference"] == "ours"
        assert rows["squared"]["kind"] == kind


def test_a_misspelt_name_is_told_of_it(plugin: Path) -> None:
    done = autoprune(plugin, "run", "--method", "sqared", "--sparsity", "0.8")
    assert done.returncode == 2
    assert "did you mean 'squared'?" in done.stderr


def test_a_taken_name_is_refused(plugin: Path, tmp_path: Path) -> None:
    info = tmp_path / "thief-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: thief\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[autoprune.methods]\nimp = my_pruning:SQUARED\n")
    done = autoprune(tmp_path, "list", "methods")
    assert done.returncode == 2
    assert "'imp'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_run_runs_it(plugin: Path) -> None:
    arguments = ["--sparsity", "0.8", "--epochs", "2", "--set", "train.epochs=2", "--json"]
    done = autoprune(plugin, "run", "--method", "squared", *arguments)
    assert done.returncode == 0, done.stderr
    entry = json.loads(done.stdout.splitlines()[-1])
    assert entry["method"] == "squared"
    assert entry["status"] == "ok"
    assert entry["sparsity"] == pytest.approx(0.8, abs=1e-4)


@pytest.mark.slow
def test_the_contract_suites_pass_on_it(plugin: Path) -> None:
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull]
    done = call(plugin, "-m", "pytest", *options, "test_my_pruning.py")
    assert done.returncode == 0, done.stdout + done.stderr
    counts = done.stdout.strip().splitlines()[-1]
    assert "failed" not in counts
    assert int(counts.split(" passed")[0].split()[-1]) >= 20


def test_an_edited_plugin_gets_other_keys(plugin: Path) -> None:
    code = "from autoprune.trial.sources import sources_sha256; print(sources_sha256())"
    module = plugin / "my_pruning.py"
    before = call(plugin, "-c", code).stdout
    text = module.read_text()
    try:
        module.write_text(text + "\n# edited\n")
        assert call(plugin, "-c", code).stdout != before
    finally:
        module.write_text(text)
    assert call(plugin, "-c", code).stdout == before
