"""A run that diverges or loses a layer is a result, not an error; a full disk is one."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.search.engine import SearchOptions
from autoprune.search.session import SearchRequest
from autoprune.search.session import search as resumed
from tests.cli.support import call, succeed, write_space, write_task
from tests.e2e.support import events_of

RUN = ("run", "--method", "magnitude", "--set", "train.epochs=2", "--epochs", "5")


def test_a_nan_loss_is_a_result(tmp_path: Path) -> None:
    loss = "\n\ndef loss(outputs, targets):\n    return outputs.sum() * float('nan')\n"
    task = write_task(tmp_path, extra=loss)
    done = succeed(*RUN, "--sparsity", "0.5", "--task", task, "--home", tmp_path, "--json")
    assert done.json["status"] == "diverged"
    assert "diverged" in done.err
    json.dumps(done.json, allow_nan=False)


def test_a_run_says_what_share_of_the_macs_goes(tmp_path: Path) -> None:
    task = write_task(tmp_path)
    done = succeed(*RUN, "--macs", "30%", "--task", task, "--home", tmp_path)
    assert "magnitude removes 70.0% of the MACs" in done.err


def test_a_run_says_what_it_could_not_reach(tmp_path: Path) -> None:
    # Of 16 hidden units two stay: 2 (64 + 3) of 16 (64 + 3) = 1,072 weights, 87.5 % are gone.
    run = ("run", "--method", "dropnet", "--epochs", "15", "--set", "train.epochs=2")
    task = write_task(tmp_path)
    done = succeed(*run, "--sparsity", "0.85", "--task", task, "--home", tmp_path, "--json")
    assert done.json["sparsity"] == 0.875
    assert "note: 85.0% was asked for; 87.5% is as near as dropnet comes" in done.said
    done = succeed(*RUN, "--sparsity", "0.5", "--task", task, "--home", tmp_path)
    assert "note:" not in done.err


def test_a_diverged_run_is_not_exported(tmp_path: Path) -> None:
    loss = "\n\ndef loss(outputs, targets):\n    return outputs.sum() * float('nan')\n"
    task, out = write_task(tmp_path, extra=loss), tmp_path / "out"
    run = (*RUN, "--sparsity", "0.5", "--task", task, "--home", tmp_path / "home")
    done = call(*run, "--out", out)
    assert done.code == 2
    assert "diverged: there is no model to export" in done.said
    assert not out.exists()


def test_a_collapsed_layer_is_a_result(tmp_path: Path) -> None:
    # Global magnitude at 99.9 % of 1,072 weights leaves one weight, so one layer of two is empty.
    task = write_task(tmp_path)
    done = succeed(*RUN, "--sparsity", "0.999", "--task", task, "--home", tmp_path, "--json")
    assert done.json["status"] == "collapsed"
    assert "collapsed" in done.err


def test_a_search_over_diverging_trials_ends(tmp_path: Path) -> None:
    text = "name: tiny\nmethod: {magnitude: {}}\ntrain: {epochs: 5}\nfidelity: {epochs: [5]}\n"
    loss = "\n\ndef loss(outputs, targets):\n    return outputs.sum() * float('nan')\n"
    task = write_task(tmp_path, extra=loss)
    done = call(
        *("search", write_space(tmp_path, text), "--task", task, "--budget", "3", "--json"),
        *("--confirm-seeds", "1", "--executor", "inline", "--home", tmp_path / "home"),
    )
    assert done.code == 0, done.err
    assert (done.json["status"], done.json["jobs"], done.json["failed"]) == ("complete", 3, 0)


@pytest.mark.parametrize("limit_bytes", [0, 20_000])
def test_a_full_disk_stops_a_search_that_goes_on_later(limit_bytes: int, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the disk: none, or the header but no state."""
    space, home = write_space(tmp_path), tmp_path / "home"
    search = ("search", str(space), "--budget", "3", "--executor", "inline", "--home", str(home))
    done = subprocess.run(
        [sys.executable, "-m", "autoprune", *search],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes)),
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("autoprune: ")]
    assert str(home) in told
    assert not list(home.rglob("*.safetensors"))
    results = [e for e in events_of(home) if e["event"] == "result"]
    assert results == []
    request = SearchRequest(
        space=space,
        options=SearchOptions(budget="3"),
        home=home,
        executor="inline",
        resume=True,
    )
    summary = resumed(request)
    assert (summary["status"], summary["jobs"], summary["failed"]) == ("complete", 3, 0)
