from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from autoprune.core.config import LRConfig
from autoprune.core.errors import BadInput, ConfigError, TaskError, VerificationError
from autoprune.data.digits import SOURCE
from autoprune.export.folder import export_job
from autoprune.export.load import load_model
from autoprune.export.plan import read_json
from autoprune.export.registry import EXPORTERS
from autoprune.export.verify import verify_folder
from autoprune.pruning.packing import unpack
from autoprune.trial.deploy import compacted, packed_bytes
from autoprune.trial.plan import make_plan
from autoprune.trial.resolve import Resolver
from autoprune.trial.run import run_job

FILES = {
    "README.md",
    "SHA256SUMS",
    "model.onnx",
    "model.pt2",
    "model.safetensors",
    "plan.json",
    "report.json",
    "sample.safetensors",
}

NOISY_OR_FINE = """
import torch
from sklearn.datasets import load_digits

X, Y = load_digits(return_X_y=True)
X = torch.tensor(X, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 6, 3)
        self.head = torch.nn.Linear(216, 10)
    def forward(self, x):
        x = torch.relu(self.conv(x)).flatten(1)
        {line}
        return self.head(x)

def model():
    return Net()

def train_data():
    return X[:800], Y[:800]

def val_data():
    return X[800:1000], Y[800:1000]
"""


def task_file(folder: Path, line: str = "") -> str:
    path = folder / "task.py"
    path.write_text(NOISY_OR_FINE.format(line=line))
    return str(path)


def test_the_folder_holds_every_file_and_names_its_origin(exported: Path, start: Any) -> None:
    job, context = start()
    assert {path.name for path in exported.iterdir()} == FILES
    assert list(exported.parent.iterdir()) == [exported]
    plan, report = read_json(exported / "plan.json"), read_json(exported / "report.json")
    assert plan["architecture"] == {
        "kind": "registry",
        "model": "mlp",
        "width": 1.0,
        "num_classes": 10,
        "input_shape": [1, 8, 8],
    }
    assert plan["classes"] == [str(n) for n in range(10)]
    lineage = plan["lineage"]
    assert (lineage["study"], lineage["trial"], lineage["epochs"]) == ("digits", job.trial, 2)
    assert lineage["final_key"] == run_job(replace(job, epochs=2), context).final_key
    assert set(report["files"]) == {"model.onnx", "model.pt2", "model.safetensors"}
    assert all(
        entry["size_bytes"] == (exported / name).stat().st_size
        for name, entry in report["files"].items()
    )


def test_the_report_equals_what_the_job_measured(exported: Path, start: Any) -> None:
    job, context = start()
    report, found = read_json(exported / "report.json"), run_job(replace(job, epochs=2), context)
    own = {k: found.metrics[k] for k in ("val_accuracy", "test_accuracy")}
    assert report["own"] == own
    assert report["front"] == {"val_accuracy": 0.5}
    for key in ("sparsity", "sparsity_total", "params", "params_nonzero", "macs"):
        assert report[key] == found.metrics[key]
    assert report["mask_sha256"] == found.mask_sha256
    assert report["proof"]["correct"] == round(own["test_accuracy"] * report["proof"]["examples"])
    rows = {(r["runtime"], r["device"], r["batch"]): r for r in report["latency"]}
    assert rows.keys() >= {(name, "cpu", b) for name in ("torch", "onnxruntime") for b in (1, 32)}
    assert report["latency_left_out"] == {}
    for row in rows.values():
        assert row["speedup"] == row["dense_p50_ms"] / row["pruned_p50_ms"]
        assert row["threads"] == context.settings.threads


def test_at_90_percent_the_file_is_under_a_quarter_of_the_dense_one(exported: Path) -> None:
    report = read_json(exported / "report.json")
    dense = 4 * (64 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10)
    assert dense < report["dense_size_bytes"] < dense + 1000
    assert (exported / "model.safetensors").stat().st_size < 0.25 * dense
    assert "zeros" in report["files"]["model.onnx"]["note"]


def test_weights_survive_bit_for_bit(exported: Path, start: Any) -> None:
    job, context = start()
    stage = make_plan(replace(job, epochs=2), 1)[-1]
    state = Resolver(context).state(stage)
    model = compacted(state, context)
    loaded = load_model(exported)
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    masks = unpack((exported / "model.safetensors").read_bytes()).masks
    assert all(torch.equal(masks[n], m) for n, m in state.masks.items())
    assert (exported / "model.safetensors").read_bytes() == packed_bytes(state, context)


def test_the_readmes_loader_needs_only_torch_and_safetensors(exported: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.S)
    code = next(block for block in blocks if "load_weights" in block)
    assert len([line for line in code.splitlines() if line]) <= 20
    assert "autoprune" not in code
    scope: dict[str, Any] = {}
    exec(code, scope)
    weights = scope["load_weights"](exported / "model.safetensors")
    expected = load_model(exported).state_dict()
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())


def test_the_readmes_other_snippets_run(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(exported)
    blocks = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), re.S)
    assert len(blocks) == 4
    for block in blocks:
        exec(block, {})


@pytest.mark.parametrize("size", [1, 2, 7, 360])
def test_plain_onnxruntime_gives_the_same_classes(exported: Path, size: int) -> None:
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    pixels = SOURCE.load(None).train.images[:size]
    inputs = np.asarray(pixels, np.float32) / 16
    (logits,) = session.run(None, {"input": inputs})
    with torch.no_grad():
        expected = load_model(exported)(torch.from_numpy(inputs))
    assert logits.shape == (size, 10)
    assert (logits.argmax(1) == expected.argmax(1).numpy()).all()


def test_onnx_is_one_valid_file(exported: Path) -> None:
    model = onnx.load(exported / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    assert not any(t.external_data for t in model.graph.initializer)
    (batch,) = [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim if d.dim_param]
    assert batch == "batch"


@pytest.mark.parametrize(
    ("method", "sparsity", "model"),
    [("dropnet", 0.7, "conv2"), ("lrpet", 0.6, "conv2"), ("magnitude", 0.0, "mlp")],
)
def test_every_kind_is_proven(
    start: Any, tmp_path: Path, method: str, sparsity: float, model: str
) -> None:
    job, context = start(method, sparsity, model=model, width=0.25)
    report = export_job(replace(job, epochs=2), context, tmp_path / "out")
    dense = report.content["dense_size_bytes"]
    sizes = {name: f["size_bytes"] for name, f in report.content["files"].items()}
    if sparsity:
        # What was removed is gone from every file; graphs add less than 25 kB.
        assert sizes["model.safetensors"] < (1.05 - sparsity) * dense + 2000
        assert sizes["model.onnx"] < (1.05 - sparsity) * dense + 25_000
        assert report.content["params"] < report.content["dense_params"]
    assert verify_folder(tmp_path / "out")["sparsity"] == pytest.approx(
        report.content["sparsity"], abs=1e-12
    )
    counts = f"{report.content['params']:,} parameters and {report.content['macs']:,} multiply-adds"
    assert any(counts in check for check in report.checks)
    text = (tmp_path / "out" / "README.md").read_text()
    said = [word for word in ("`tensors` are", "`ranks` are") if word in text]
    assert said == {"dropnet": ["`tensors` are"], "lrpet": ["`ranks` are"], "magnitude": []}[method]


def test_a_task_files_model_is_proven_without_its_code(start: Any, tmp_path: Path) -> None:
    path = task_file(tmp_path)
    job, context = start(task_file=path)
    report = export_job(job, context, tmp_path / "out")
    assert any("100 test inputs" in check for check in report.checks)
    plan = read_json(tmp_path / "out" / "plan.json")
    assert plan["architecture"]["file"] == "task.py"
    assert str(tmp_path) not in (tmp_path / "out" / "plan.json").read_text()
    Path(path).unlink()
    found = verify_folder(tmp_path / "out")
    assert found["formats"] == ["onnx", "pt2"]
    assert found["examples"] == 0
    assert any("not recounted, the data is the task file's" in line for line in found["checks"])
    with pytest.raises(VerificationError, match=r"defined in task\.py"):
        load_model(tmp_path / "out")


TIED = """
def model():
    nn = torch.nn
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(),
                        nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 10))
    net[5].weight = net[3].weight
    return net
"""


def test_tied_weights_are_counted_once_in_every_file(start: Any, tmp_path: Path) -> None:
    path = Path(task_file(tmp_path))
    path.write_text(path.read_text() + TIED)
    job, context = start(task_file=str(path))
    report = export_job(job, context, tmp_path / "out")
    assert "model.pt2" in report.content["files"]
    assert verify_folder(tmp_path / "out")["sparsity"] == pytest.approx(report.content["sparsity"])


def test_without_the_test_split_the_proof_is_on_validation_data(start: Any, tmp_path: Path) -> None:
    job, context = start()
    report = export_job(replace(job, test=False), context, tmp_path / "out", formats=["pt2"])
    assert set(report.content["own"]) == {"val_accuracy"}
    assert report.content["proof"]["split"] == "val"
    assert verify_folder(tmp_path / "out")["formats"] == ["pt2"]


def refuse(start: Any, folder: Path, error: type[Exception], match: str, **options: Any) -> None:
    """Whatever the reason, a refused export leaves nothing behind."""
    task = options.pop("task", {})
    job, context = start(**task)
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=match):
        export_job(job, context, options.pop("out", folder / "out"), **options)
    assert sorted(folder.rglob("*")) == before


def test_bad_requests_leave_nothing_behind(start: Any, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    refuse(start, tmp_path, BadInput, "must not exist yet", out=tmp_path / "used")
    refuse(start, tmp_path, BadInput, "must not exist yet", out=tmp_path / "used" / "file")
    refuse(start, tmp_path, BadInput, "did you mean 'onnx'", formats=["onx"])
    refuse(start, tmp_path, BadInput, "must be writable", out=tmp_path / "used" / "file" / "out")


def test_an_empty_folder_is_taken(start: Any, tmp_path: Path) -> None:
    job, context = start()
    (tmp_path / "out").mkdir()
    export_job(job, context, tmp_path / "out", formats=["safetensors"])
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_model_that_cannot_be_traced_leaves_nothing_behind(start: Any, tmp_path: Path) -> None:
    task = {"task_file": task_file(tmp_path, "x = x if x.detach().sum().item() > 0 else -x")}
    match = r"must be traceable with any batch size.*give --format safetensors"
    refuse(start, tmp_path, TaskError, match, task=task)


def test_a_model_that_differs_each_time_is_refused(start: Any, tmp_path: Path) -> None:
    task = {"task_file": task_file(tmp_path, "x = x + torch.rand_like(x)")}
    refuse(start, tmp_path, VerificationError, "compact model must equal", task=task)


def test_safetensors_alone_proves_no_task_file(start: Any, tmp_path: Path) -> None:
    task = {"task_file": task_file(tmp_path)}
    refuse(start, tmp_path, ConfigError, "add onnx or pt2", task=task, formats=["safetensors"])


def test_a_diverged_run_is_refused(start: Callable[..., Any], tmp_path: Path) -> None:
    job, context = start()
    wild = replace(job, config=replace(job.config, lr=LRConfig(params={"peak": 1e30})))
    with pytest.raises(BadInput, match="diverged: there is no model"):
        export_job(wild, context, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_the_registry_names_the_formats() -> None:
    assert EXPORTERS.names() == ["safetensors", "onnx", "pt2"]


def test_json_files_are_plain(exported: Path) -> None:
    for name in ("plan.json", "report.json"):
        json.loads((exported / name).read_text(), parse_constant=pytest.fail)
