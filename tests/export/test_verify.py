from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from autoprune.core.canonical import file_sha256
from autoprune.core.errors import BadInput, DataError, VerificationError
from autoprune.data.assemble import load_data
from autoprune.data.noise import LabelNoise
from autoprune.export.formats.pt2 import PT2
from autoprune.export.integrity import write_sums
from autoprune.export.load import load_model, load_predictor
from autoprune.export.plan import read_json
from autoprune.export.predict import predict_files
from autoprune.export.verify import main, near_ties, verify_folder
from autoprune.pruning.packing import pack, unpack

FILES = [
    "README.md",
    "SHA256SUMS",
    "model.onnx",
    "model.pt2",
    "model.safetensors",
    "plan.json",
    "report.json",
    "sample.safetensors",
]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def extend(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def delete(path: Path) -> None:
    path.unlink()


def refused(folder: Path) -> str:
    """Return why a folder is refused, by everything that reads one."""
    np.save(folder.parent / "x.npy", np.zeros((1, 1, 8, 8), np.float32))
    messages = []
    for use in (
        lambda: predict_files(folder, [folder.parent / "x.npy"]),
        lambda: load_predictor(folder),
        lambda: load_model(folder),
        lambda: verify_folder(folder),
    ):
        with pytest.raises(VerificationError) as caught:
            use()
        messages.append(str(caught.value))
    assert len(set(messages)) == 1
    return messages[0]


def reseal(folder: Path, *names: str) -> None:
    """Do what a tamperer who knows the format does: make all hashes fit again."""
    report = read_json(folder / "report.json")
    for name in names:
        report["files"][name]["sha256"] = file_sha256(folder / name)
    (folder / "report.json").write_text(json.dumps(report))
    write_sums(folder)


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content))


def test_an_untouched_copy_is_proven(folder: Path) -> None:
    report = verify_folder(folder)
    assert report["formats"] == ["safetensors", "onnx", "pt2"]
    assert report["examples"] == 360
    assert report["sparsity"] == pytest.approx(0.9, abs=1e-5)
    assert report["checks"][0] == "hashes of 7 files"
    assert len(report["checks"]) == 7


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [flip, truncate, extend, delete])
def test_any_change_of_one_file_is_refused(
    folder: Path, name: str, change: Callable[[Path], None]
) -> None:
    change(folder / name)
    assert name in refused(folder)


def test_a_number_edited_in_the_report_is_refused(folder: Path) -> None:
    edit(folder / "report.json", lambda report: report["own"].update(test_accuracy=0.999))
    assert "report.json does not have the sha256" in refused(folder)


def test_a_file_that_was_added_is_refused(folder: Path) -> None:
    (folder / "extra.bin").touch()
    assert "extra.bin is not listed" in refused(folder)


def test_what_is_no_export_is_bad_input(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInput, match="is not an exported folder; make one with"):
            verify_folder(place)


# From here on the hashes are made to fit: the proof itself must notice.


def test_hashes_in_report_and_list_must_agree(folder: Path) -> None:
    flip(folder / "model.onnx")
    write_sums(folder)
    with pytest.raises(VerificationError, match=r"model\.onnx: its sha256 must be the one in"):
        verify_folder(folder)


def test_other_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    packed = unpack(path.read_bytes())
    packed.weights["fc3.bias"][0] += 0.01
    path.write_bytes(pack(packed.weights, packed.masks))
    reseal(folder, path.name)
    match = r"model\.safetensors, batch of 1: outputs must be equal within 0\.0001"
    with pytest.raises(VerificationError, match=match):
        verify_folder(folder)


def test_other_weights_in_onnx_are_refused(folder: Path) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    weight = next(t for t in model.graph.initializer if t.name == "fc1.weight")
    values = onnx.numpy_helper.to_array(weight).copy()
    weight.CopyFrom(onnx.numpy_helper.from_array(values * 1.01, weight.name))
    path.write_bytes(model.SerializeToString())
    reseal(folder, path.name)
    with pytest.raises(VerificationError, match=r"model\.onnx, batch of 1: outputs must be equal"):
        verify_folder(folder)


def test_weights_that_only_nearly_agree_between_formats_are_refused(folder: Path) -> None:
    model = load_model(folder)
    with torch.no_grad():
        model.get_parameter("fc3.bias")[0] += 1e-6
    PT2.export(model, torch.zeros(2, 1, 8, 8), folder / "model.pt2", {})
    reseal(folder, "model.pt2")
    match = r"model\.pt2: fc3\.bias must equal model\.safetensors"
    with pytest.raises(VerificationError, match=match):
        verify_folder(folder)


def test_a_format_of_a_fixed_batch_is_refused(folder: Path) -> None:
    model = load_model(folder)
    program = torch.export.export(model, (torch.zeros(2, 1, 8, 8),))
    program.example_inputs = None
    torch.export.save(program, folder / "model.pt2")
    reseal(folder, "model.pt2")
    with pytest.raises(VerificationError, match=r"model\.pt2: must run on a batch of 1"):
        verify_folder(folder)


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("sparsity", 0.95, "sparsity must be 0.95 as reported; got 0.9"),
        ("params_nonzero", 5000, "must hold 5000 non-zero parameters"),
    ],
)
def test_a_false_count_is_refused(folder: Path, key: str, value: float, match: str) -> None:
    edit(folder / "report.json", lambda report: report.update({key: value}))
    reseal(folder)
    with pytest.raises(VerificationError, match=match):
        verify_folder(folder)


def test_a_false_accuracy_is_refused(folder: Path) -> None:
    edit(folder / "report.json", lambda report: report["proof"].update(correct=359))
    reseal(folder)
    with pytest.raises(VerificationError, match="must be right on 359 of 360 test inputs"):
        verify_folder(folder)


def test_outputs_that_are_not_numbers_are_refused(folder: Path) -> None:
    sample = load_file(folder / "sample.safetensors")
    sample["outputs"][0, 0] = float("nan")
    save_file(sample, folder / "sample.safetensors")
    reseal(folder)
    with pytest.raises(VerificationError, match="they differ by nan"):
        verify_folder(folder)


@pytest.mark.parametrize("name", ["plan.json", "report.json"])
def test_a_missing_entry_is_named(folder: Path, name: str) -> None:
    edit(folder / name, lambda content: content.pop("layers" if name == "plan.json" else "proof"))
    write_sums(folder)
    with pytest.raises(VerificationError, match=r"plan\.json or report\.json lacks"):
        verify_folder(folder)


def test_a_plan_of_another_architecture_is_refused(folder: Path) -> None:
    edit(folder / "plan.json", lambda plan: plan["architecture"].update(width=0.5))
    reseal(folder)
    with pytest.raises(VerificationError, match="the weights do not fit the plan"):
        verify_folder(folder)


@pytest.mark.parametrize(
    ("key", "rule"), [("params", r"hold 1 parameters"), ("macs", r"do 1 multiply-adds")]
)
def test_sizes_that_are_not_the_programs_are_refused(folder: Path, key: str, rule: str) -> None:
    edit(folder / "report.json", lambda report: report.update({key: 1}))
    write_sums(folder)
    with pytest.raises(VerificationError, match=rf"model\.pt2: must {rule} as reported; got \d+"):
        verify_folder(folder)


def test_other_data_is_not_counted_on(folder: Path) -> None:
    edit(folder / "plan.json", lambda plan: plan["lineage"].update(fingerprint="other"))
    reseal(folder)
    report = verify_folder(folder)
    assert report["examples"] == 0
    assert "accuracy: not recounted, the data is not here (give --data-dir)" in report["checks"]
    with pytest.raises(DataError, match="must hold the data the model was trained on"):
        verify_folder(folder, data_dir=folder)


def test_data_with_label_noise_is_found_again(folder: Path) -> None:
    # The test labels are clean, so the count stays; only the fingerprint knows of the noise.
    noisy = load_data("digits", noise=LabelNoise(0.2, "exact", 1))
    noise = {"label_noise": 0.2, "label_noise_kind": "exact", "label_noise_seed": 1}

    def made_with_noise(plan: dict[str, Any]) -> None:
        plan["lineage"]["config"]["task"].update(noise)
        plan["lineage"]["fingerprint"] = noisy.fingerprint

    edit(folder / "plan.json", made_with_noise)
    reseal(folder)
    assert verify_folder(folder)["examples"] == 360


def test_an_export_from_before_there_was_noise_is_counted(folder: Path) -> None:
    def older(plan: dict[str, Any]) -> None:
        for key in ("label_noise", "label_noise_kind", "label_noise_seed"):
            plan["lineage"]["config"]["task"].pop(key)

    edit(folder / "plan.json", older)
    reseal(folder)
    assert verify_folder(folder)["examples"] == 360


def test_the_module_reports_on_standard_output(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folder)]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == 360
    flip(folder / "model.pt2")
    assert main([str(folder)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "model.pt2 does not have the sha256" in told.err


def test_near_ties_are_counted() -> None:
    # Allowed to swap: twice 1e-4 of the largest output, 10, so 2e-3 apart.
    outputs = torch.tensor([[10.0, 0.0, 1.0], [1.0, 1.001, 0.0], [1.0, 1.01, 0.0]])
    assert near_ties(outputs) == 1
