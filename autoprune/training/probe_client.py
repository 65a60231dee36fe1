"""Ask about a task without importing torch: the question goes to a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys

from autoprune.core import errors
from autoprune.core.canonical import canonical_json
from autoprune.core.config import TaskConfig
from autoprune.core.records import TaskInfo


def probe_in_subprocess(config: TaskConfig) -> TaskInfo:
    """Load a task in a fresh process and return what a search needs to know of it.

    Raises
    ------
    BadInput
        The kind the task raised there, with its place, rule, value and remedy.
    AutoPruneError
        If that process ended without an answer.
    """
    done = subprocess.run(
        [sys.executable, "-m", "autoprune.training.probe"],
        input=canonical_json(config),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        tail = "\n".join(done.stderr.splitlines()[-5:])
        raise errors.AutoPruneError(f"loading the task ended with {done.returncode}: {tail}")
    answer = json.loads(lines[-1])
    if "ok" in answer:
        return TaskInfo.from_json(answer["ok"])
    content = answer["error"]
    kind: type[errors.BadInput] = getattr(errors, content["type"])
    raise kind(content["place"], content["rule"], content.get("value", ...), content["remedy"])
