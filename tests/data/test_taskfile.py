from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.core.canonical import file_sha256
from autoprune.core.config import TaskConfig
from autoprune.core.errors import TaskError
from autoprune.data.taskfile import identify, local_modules, task_sha256


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A task file that imports in every way there is; `unused.py` and torch are not its own."""
    folder = tmp_path / "mine"
    (folder / "pack" / "deep").mkdir(parents=True)
    files = {
        "task.py": "import torch, nets.blocks\nfrom pack import a\n\ndef f():\n    import late\n",
        "nets.py": "",
        "late.py": "import task\n",
        "pack/__init__.py": "from . import b\n",
        "pack/a.py": "from .deep.c import x\n",
        "pack/b.py": "",
        "pack/deep/__init__.py": "",
        "pack/deep/c.py": "from ..d import y\n",
        "pack/d.py": "",
        "unused.py": "",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder / "task.py"


def test_local_modules_are_followed(task: Path) -> None:
    expected = ["late", "nets", "pack", "pack.a", "pack.b", "pack.d", "pack.deep", "pack.deep.c"]
    assert list(local_modules(task)) == expected


@pytest.mark.parametrize("name", ["task.py", "late.py", "pack/deep/c.py", "pack/d.py", "pack/b.py"])
def test_the_hash_sees_every_module(task: Path, name: str) -> None:
    before = task_sha256(task)
    with (task.parent / name).open("a") as file:
        file.write("# changed\n")
    assert task_sha256(task) != before


def test_the_hash_ignores_the_place_and_what_is_not_imported(task: Path, tmp_path: Path) -> None:
    before = task_sha256(task)
    (task.parent / "unused.py").write_text("changed = 1\n")
    assert task_sha256(task) == before
    shutil.copytree(task.parent, tmp_path / "other")
    assert task_sha256(str(tmp_path / "other" / "task.py")) == before


def test_a_syntax_error_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "task.py").write_text("x = 1\ndef broken(:\n")
    with pytest.raises(TaskError, match=r"task\.py:2 is not valid Python"):
        task_sha256(tmp_path / "task.py")


def test_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="cannot be read"):
        task_sha256(tmp_path / "none.py")
    with pytest.raises(TaskError, match=r"task\.checkpoint cannot be read"):
        identify(TaskConfig(checkpoint=str(tmp_path / "none.pt")))


def test_identify_fills_in_both_hashes(task: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"abc")
    found = identify(TaskConfig(task_file=str(task), checkpoint=str(weights)))
    assert found.task_sha256 == task_sha256(task)
    assert found.checkpoint_sha256 == file_sha256(weights)
    assert identify(TaskConfig()) == TaskConfig()


def test_no_torch_is_loaded() -> None:
    code = (
        "import sys, autoprune.data.taskfile, autoprune.training.probe_client\n"
        "from autoprune.data.registry import DATA\n"
        "from autoprune.models.registry import MODELS\n"
        "assert all(DATA.get(n).reference for n in DATA)\n"
        "assert all(MODELS.get(n).reference for n in MODELS)\n"
        "assert 'torch' not in sys.modules and 'pyarrow' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
