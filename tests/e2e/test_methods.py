"""Each method through `autoprune run`, and in a search of its own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from autoprune.methods.base import METHODS
from tests.cli.support import succeed, write_space
from tests.e2e.support import events_of
from tests.methods.normed import NORMED, task_for

pytestmark = pytest.mark.slow

LISTED = [name for name in METHODS if METHODS.get(name).listed]
SHORT = ("--set", "train.epochs=4", "--epochs", "3")
# The masks of both controls are their base's, by definition: other bases tell them apart.
OWN = {
    "scratch_e": ("--allocation", "searched:-0.8,0"),
    "scratch_b": ("--allocation", "searched:0.8,0"),
}
ON_NORMS = {method for method in LISTED if task_for(method) == NORMED}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run a method once, at nine tenths."""
    home = tmp_path_factory.mktemp("home")

    @functools.cache
    def run(method: str) -> dict[str, Any]:
        options = ("--method", method, "--sparsity", "90%", *SHORT, *OWN.get(method, ()))
        if method in ON_NORMS:
            options += ("--task", str(NORMED.task_file))
        found: dict[str, Any] = succeed("run", *options, "--home", home, "--json").json
        return found

    return run


def test_there_are_ten_methods() -> None:
    assert len(LISTED) >= 10


@pytest.mark.parametrize("method", LISTED)
def test_a_method_runs_and_reaches_its_sparsity(method: str, runs: Any) -> None:
    found = runs(method)
    assert (found["method"], found["kind"]) == (method, METHODS.get(method).kind)
    assert found["status"] in {"ok", "collapsed"}
    # Units and ranks come in steps; at this width one of them is below two hundredths.
    within = 1 / found["params"] if found["kind"] == "weights" else 0.02
    assert found["sparsity"] == pytest.approx(0.9, abs=within)
    assert found["val_accuracy"] > 0.1
    assert found["dense_val_accuracy"] > 0.8
    assert found["epochs_trained"] > 0
    assert len(found["mask_sha256"]) == 64
    assert found["wall_s"] > 0


def test_every_method_removes_other_weights(runs: Any) -> None:
    hashes = {method: runs(method)["mask_sha256"] for method in LISTED}
    assert len(set(hashes.values())) == len(LISTED), hashes


def test_a_run_is_the_same_run_again(runs: Any, tmp_path: Path) -> None:
    options = ("--method", "magnitude", "--sparsity", "0.9", *SHORT, "--json")
    again = succeed("run", *options, "--home", tmp_path).json
    kept = [key for key in again if key not in {"wall_s", "epochs_trained", "epochs_reused"}]
    assert {key: again[key] for key in kept} == {key: runs("magnitude")[key] for key in kept}


SPACE = """\
name: one
task: {task}
train: {{epochs: 2, lr: 0.1}}
targets: {{low: 0.6, high: 0.75}}
fidelity: {{epochs: [1, 3]}}
method:
  {method}: {{}}
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.mark.parametrize("method", LISTED)
def test_a_search_over_one_method_ends_in_a_confirmed_front(
    method: str, shared: Path, tmp_path: Path
) -> None:
    from autoprune.search.engine import SearchOptions
    from autoprune.search.session import SearchRequest, search

    task = f"task_file: {NORMED.task_file}" if method in ON_NORMS else "data: digits, model: mlp"
    space = write_space(tmp_path, SPACE.format(method=method, task=f"{{{task}}}"))
    summary = search(
        SearchRequest(
            space=space,
            options=SearchOptions(budget="4", confirm_seeds=1),
            home=shared,
            name=method,
            executor="inline",
        )
    )
    assert summary["status"] == "complete"
    assert (summary["jobs"], summary["failed"]) == (4, 0)
    assert summary["front"]
    assert {entry["method"] for entry in summary["front"]} == {method}
    assert all(entry["test_accuracy"] is not None for entry in summary["front"])
    assert events_of(shared, method)[-1]["status"] == "complete"
