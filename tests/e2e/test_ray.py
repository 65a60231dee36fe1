"""The same search in Ray's workers: nothing lost, every job equal to its inline twin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from autoprune.search.replay import settings_of
from autoprune.trial.context import job_runner
from tests.cli.support import write_space
from tests.e2e.support import events_of

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.mlflow]

DRIVER = """\
import json, sys
from autoprune.cli.main import main
try:
    main()
finally:
    heavy = {"torch", "timm", "torchvision"} & set(sys.modules)
    print(json.dumps(sorted(heavy)), file=open(sys.argv[-1] + "/heavy.json", "w"))
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ray")
    space = write_space(folder)
    options = ["--budget", "6", "--confirm-seeds", "1", "--executor", "ray", "--workers", "2"]
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, "search", space, *options, "--json", "--home", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1, done.stdout
    return folder, json.loads(done.stdout)


def test_nothing_is_lost_or_repeated(searched: tuple[Path, dict[str, Any]]) -> None:
    home, summary = searched
    events = events_of(home)
    issued = [event["job"]["number"] for event in events if event["event"] == "job"]
    recorded = Counter(event["result"]["job"] for event in events if event["event"] == "result")
    assert issued == list(range(len(issued)))
    assert recorded == Counter(issued)
    assert (summary["status"], summary["jobs"], summary["failed"]) == ("complete", 6, 0)
    assert summary["front"]
    assert all(summary["mlflow"].values())


def test_the_driver_imports_neither_torch_nor_timm(searched: tuple[Path, dict[str, Any]]) -> None:
    home, _ = searched
    assert json.loads((home / "heavy.json").read_text()) == []
    assert (home / "studies" / "tiny" / "pareto.html").exists()


def test_every_job_equals_its_inline_twin(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    home, _ = searched
    events = events_of(home)
    settings = settings_of(events, home)
    run = job_runner({**settings.to_json(), "home": str(tmp_path)})
    results = {e["result"]["job"]: e["result"] for e in events if e["event"] == "result"}
    for event in events:
        if event["event"] == "job":
            found, recorded = run(event["job"]), results[event["job"]["number"]]
            for key in ("trial", "status", "metrics", "layers", "rounds", "mask_sha256"):
                assert found[key] == recorded[key], key
            assert found["final_key"] == recorded["final_key"]
