"""Every example runs, in a process of its own, and says what it should."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from autoprune.export.predict import predict_files
from tests.processes import CLI, python

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, folder: Path, *arguments: str) -> str:
    done = python(str(EXAMPLES / name), *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_listed_and_tested() -> None:
    readme, tests = (EXAMPLES / "README.md").read_text(), Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"({path.name})" in readme
        assert f'"{path.name}"' in tests


@pytest.mark.slow
def test_search_from_python(tmp_path: Path) -> None:
    said = run("search_from_python.py", tmp_path, "here")
    assert "dense: 0.9" in said
    assert "50610 parameters" in said
    accuracies = [float(x) for x in re.findall(r"sparse: (0\.\d+) \[", said)]
    sparsities = [float(x) for x in re.findall(r"(0\.\d+) sparse", said)]
    assert len(sparsities) >= 2
    assert sparsities == sorted(sparsities)
    assert accuracies == sorted(accuracies, reverse=True)
    again = run("search_from_python.py", tmp_path, "here")
    assert again == said
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.slow
def test_task_file_with_timm_and_a_folder(tmp_path: Path) -> None:
    assert (EXAMPLES / "task_timm_folder.py").is_file()
    said = run("run_task_timm_folder.py", tmp_path, ".")
    pruned = re.search(r"pruned (\d\.\d+)", said)
    assert pruned is not None
    assert float(pruned[1]) > 0.6
    assert len(re.findall(r"3/\d+\.png: class \d", said)) == 3
    assert "model.onnx" in said


@pytest.mark.slow
def test_pretrained_checkpoint(tmp_path: Path) -> None:
    said = run("pretrained_checkpoint.py", tmp_path, "here")
    given, pruned = (float(x) for x in re.findall(r"(\d\.\d\d\d)", said))
    assert given > 0.9
    assert pruned > 0.8
    assert "4 epochs, all of them retraining" in said


@pytest.mark.slow
def test_exported_onnxruntime(tmp_path: Path) -> None:
    options = "--method magnitude --sparsity 0.8 --epochs 1 --set train.epochs=2 --out out"
    done = python(*CLI, "run", *options.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    raw = load_digits().images[:50, None]
    np.save(tmp_path / "digits.npy", raw)
    said = run("exported_onnxruntime.py", tmp_path, "out", "digits.npy").split()
    assert said == [
        row["class"] for row in predict_files(tmp_path / "out", [tmp_path / "digits.npy"])
    ]
    right = np.mean(
        [int(name) == label for name, label in zip(said, load_digits().target, strict=False)]
    )
    assert right > 0.7


def test_the_onnxruntime_example_needs_neither_torch_nor_autoprune() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(EXAMPLES)!r}); import exported_onnxruntime; "
        "print([m for m in ('torch', 'autoprune', 'onnx') if m in sys.modules])"
    )
    assert python("-c", code).stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.ray
def test_own_tuner(tmp_path: Path) -> None:
    said = run("own_tuner.py", tmp_path, "here")
    found = dict(re.findall(r"^(\w+ at 0\.\d+): (0\.\d+), 2 epochs trained$", said, re.MULTILINE))
    assert len(found) == 4  # the dense run was the first trial's: two epochs of retraining each
    best = max(found, key=lambda name: float(found[name]))
    assert f"best: {best.split()[0]}" in said
