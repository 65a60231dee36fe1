"""Load a task in a process of its own and describe it as JSON.

``python -m autoprune.training.probe`` reads a `TaskConfig` as JSON on standard input; the last
line of standard output is ``{"ok": TaskInfo}`` or
``{"error": {type, place, rule, value, remedy}}``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoprune.core.config import TaskConfig, parse
from autoprune.core.errors import BadInput

if TYPE_CHECKING:
    from autoprune.core.records import TaskInfo
    from autoprune.training.task import Task


def probe(text: str) -> dict[str, Any]:
    """Answer one request.

    Parameters
    ----------
    text : str
        A `TaskConfig` as JSON.
    """
    try:
        config = parse(TaskConfig, json.loads(text), "task")
        from autoprune.training.task import load_task

        return {"ok": full_info(load_task(config)).to_json()}
    except BadInput as error:
        content = {"type": type(error).__name__, "place": error.place, "rule": error.rule}
        if error.value is not ...:
            content["value"] = _plain(error.value)
        return {"error": {**content, "remedy": error.remedy}}


def full_info(task: Task) -> TaskInfo:
    """Return a task's description, with how far each kind of pruning reaches, and its units."""
    from autoprune.pruning.reach import find_reach, find_units

    model, info = task.build_model(0), task.info
    units = find_units(model, info.layers, info.input_shape)
    reach = find_reach(model, info.layers, units, info.macs_elsewhere)
    return replace(info, reach=reach, units=units)


def _plain(value: object) -> Any:
    """Return a value as JSON has it, or as text where JSON has nothing like it."""
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


if __name__ == "__main__":
    answer = probe(sys.stdin.read())
    sys.stdout.write(f"\n{json.dumps(answer)}\n")
