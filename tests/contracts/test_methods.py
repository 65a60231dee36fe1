"""Every registered method passes the method contract."""

from __future__ import annotations

import subprocess
import sys

import pytest

from autoprune.methods.base import METHODS
from autoprune.testing.methods import (  # noqa: F401 - fixtures
    TASK,
    MethodContract,
    digits_context,
    digits_home,
)
from tests.methods.normed import OnNorms, normed_context, task_for  # noqa: F401 - a fixture

LISTED = [name for name in METHODS if METHODS.get(name).listed]


def _suite(name: str) -> type[MethodContract]:
    title = "Test" + "".join(part.capitalize() for part in name.split("_"))
    bases = (MethodContract,) if task_for(name) == TASK else (OnNorms, MethodContract)
    return type(title, bases, {"method": name, "__module__": __name__})


for _name in LISTED:
    _cls = _suite(_name)
    globals()[_cls.__name__] = _cls
del _cls


def test_every_name_has_a_suite() -> None:
    suites = {v.method for v in globals().values() if isinstance(v, type) and hasattr(v, "method")}
    assert suites == set(LISTED)


@pytest.mark.parametrize("name", LISTED)
def test_a_name_is_its_own(name: str) -> None:
    method = METHODS.get(name)
    assert method.name == name
    assert method.reference
    assert method.params()  # every parameter has a default


def test_plans_need_no_torch() -> None:
    code = """
import sys
from autoprune.core.config import TrialConfig
from autoprune.core.records import Job
from autoprune.methods.base import METHODS, complete
from autoprune.stages.base import KeyContext, Numerics
from autoprune.trial.plan import make_plan
keys = KeyContext("f", Numerics(), "s")
for name in METHODS:
    sparsity = 0.0 if name == "dense" else 0.8
    config = complete(TrialConfig(method=name, sparsity=sparsity))
    plan = make_plan(Job(0, config, 9, 0, "run"), 9)
    assert len(plan[-1].key(keys)) == 64
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
