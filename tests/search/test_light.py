from __future__ import annotations

import subprocess
import sys

CODE = """
import sys
import autoprune.search, autoprune.space
from autoprune.search import budget, confirm, engine, forecast, front, journal, pick, profile
from autoprune.search import study, summary, targets
from autoprune.search.executors import base, inline, simulated
from tests.search.test_engine import OPTIONS, finished
finished(engine.SearchOptions("8", confirm_seeds=1))
heavy = {"torch", "ray", "mlflow", "optuna", "timm", "torchvision"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_whole_search_loads_neither_torch_nor_ray_nor_mlflow_nor_optuna() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
