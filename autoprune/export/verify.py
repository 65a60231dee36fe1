"""The proof that a folder is what its report says, from its files alone.

Run as ``python -m autoprune.export.verify FOLDER`` it is the fresh process that every export
passes before it appears under its name.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.export import ExportedProgram

from autoprune.core.config import TaskConfig, parse
from autoprune.core.errors import AutoPruneError, DataError, VerificationError
from autoprune.export.base import PLAN, REPORT, SAMPLE, Runner
from autoprune.export.formats.pt2 import load_program
from autoprune.export.integrity import check_sums
from autoprune.export.load import exported_formats, run_in_chunks
from autoprune.export.pattern import check_section, planned_pattern
from autoprune.export.plan import read_json
from autoprune.export.registry import EXPORTERS
from autoprune.metrics.macs import count_run
from autoprune.pruning.packing import Packed, unpack

TOLERANCE = 1e-4
"""Greatest deviation of two runs, relative to the largest output (at least 1).

Every runtime adds up a layer's products in an order of its own. In float32 (relative step 6e-8)
that moves outputs by about 1e-6 of the largest; 1e-4 leaves room for deep nets and other
processors, and stays far below what a changed weight does.
"""

BATCHES = (1, 2, 7)


class VerifyReport(TypedDict):
    """What was checked.

    Parameters
    ----------
    folder : str
        The folder.
    formats : list of str
        The formats that ran.
    examples : int
        Labelled inputs the accuracy was recounted on; 0 when the data is not here.
    sparsity : float
        Recounted from the file.
    checks : list of str
        One line for each check that passed.
    latency : list of dict
        Dense and pruned side by side in each runtime, as `report.json` has it: measured when the
        folder was written, since the dense model is no part of it.
    """

    folder: str
    formats: list[str]
    examples: int
    sparsity: float
    checks: list[str]
    latency: list[dict[str, Any]]


def verify_folder(
    folder: Path | str, *, data_dir: Path | str | None = None, labelled: Path | None = None
) -> VerifyReport:
    """Repeat the proof of an export.

    Hashes of all files; every format on batches of 1, 2 and 7 against the stored outputs; all
    formats against each other, and their accuracy against the report, on the whole split the
    report names when the data is found; sparsity, parameters, multiply-adds and N:M patterns
    recounted from the files. A model from a task file runs from ONNX and pt2, which need no code
    of the user's.

    Parameters
    ----------
    folder : Path or str
        Written by `export_job`.
    data_dir : Path or str, optional
        The only folder to look in for the data; without it, data that is not found is left out.
    labelled : Path, optional
        A safetensors file with preprocessed ``inputs`` and ``targets`` to use as the data.

    Raises
    ------
    VerificationError
        Naming the file and the rule it breaks.
    BadInput
        If the folder is no export, or `data_dir` does not hold its data.
    """
    folder = Path(folder)
    hashes = check_sums(folder)
    plan, report = read_json(folder / PLAN), read_json(folder / REPORT)
    checks = [f"hashes of {len(hashes)} files"]
    try:
        _check_files(report, hashes)
        runners = _open(folder, plan)
        checks += _check_sample(folder, runners)
        data = _labelled(plan, report, data_dir, labelled)
        checks.append(_check_data(runners, data, report["proof"], plan["architecture"]["kind"]))
        sparsity, lines = _recount(folder, plan, report)
    except (KeyError, TypeError) as error:
        raise VerificationError(f"{folder}: plan.json or report.json lacks {error}") from error
    return VerifyReport(
        folder=str(folder),
        formats=list(runners),
        examples=0 if data is None else len(data[1]),
        sparsity=sparsity,
        checks=[*checks, *lines],
        latency=rows if isinstance(rows := report.get("latency"), list) else [],
    )


def _check_files(report: dict[str, Any], hashes: Mapping[str, str]) -> None:
    for name, entry in report["files"].items():
        if hashes.get(name) != entry["sha256"]:
            raise VerificationError(f"{name}: its sha256 must be the one in {REPORT}")


def _open(folder: Path, plan: dict[str, Any]) -> dict[str, Runner]:
    """Open every format that runs without a user's code."""
    own = plan["architecture"]["kind"] == "registry"
    runners = {}
    for name in exported_formats(folder):
        exporter = EXPORTERS.get(name)
        if own or not exporter.needs_code:
            runners[name] = exporter.load(folder / exporter.file_name)
    if not runners:
        raise VerificationError(f"{folder}: no file of this export runs without the task file")
    return runners


def _run(name: str, run: Runner, inputs: Tensor) -> Tensor:
    try:
        return run_in_chunks(run, inputs)
    except Exception as error:  # every runtime has errors of its own
        file = EXPORTERS.get(name).file_name
        raise VerificationError(f"{file}: must run on a batch of {len(inputs)}: {error}") from error


def _deviation(place: str, found: Tensor, expected: Tensor) -> float:
    """Return the largest relative deviation, or raise when it is too large (or not a number)."""
    if found.shape != expected.shape:
        raise VerificationError(
            f"{place}: outputs must have shape {tuple(expected.shape)}; got {tuple(found.shape)}"
        )
    deviation = float((found - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not deviation <= TOLERANCE:
        raise VerificationError(
            f"{place}: outputs must be equal within {TOLERANCE:g}; they differ by {deviation:.2g}"
        )
    return deviation


def _check_sample(folder: Path, runners: Mapping[str, Runner]) -> list[str]:
    """Run the stored inputs in every format and batch size."""
    sample = load_file(folder / SAMPLE)
    inputs, expected = sample["inputs"], sample["outputs"]
    lines = []
    for name, run in runners.items():
        file = EXPORTERS.get(name).file_name
        worst = max(
            _deviation(f"{file}, batch of {size}", _run(name, run, inputs[:size]), expected[:size])
            for size in (*BATCHES, len(inputs))
        )
        lines.append(f"{file}: batches of 1, 2, 7 equal the stored outputs (within {worst:.1e})")
    return lines


def _labelled(
    plan: dict[str, Any],
    report: dict[str, Any],
    data_dir: Path | str | None,
    labelled: Path | None,
) -> tuple[Tensor, Tensor] | None:
    """Return the inputs and targets of the report's split, or None when they are not here."""
    if labelled is not None:
        content = load_file(labelled)
        return content["inputs"], content["targets"]
    if plan["architecture"]["kind"] != "registry":
        return None
    from autoprune.data.assemble import load_data
    from autoprune.data.noise import LabelNoise

    task = parse(TaskConfig, plan["lineage"]["config"]["task"], f"{PLAN} task")
    place, noise = None if data_dir is None else str(data_dir), LabelNoise.of(task)
    try:
        data = load_data(task.data, place, task.train_size, task.augment, noise=noise)
    except DataError:
        if data_dir is not None:
            raise
        return None
    if data.fingerprint != plan["lineage"]["fingerprint"]:
        if data_dir is None:
            return None
        raise DataError(str(data_dir), "must hold the data the model was trained on")
    split, count = getattr(data, report["proof"]["split"]), report["proof"]["examples"]
    batches = list(split.batches(1024, order=torch.arange(count)))
    return torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])


def _check_data(
    runners: Mapping[str, Runner],
    data: tuple[Tensor, Tensor] | None,
    proof: dict[str, Any],
    kind: str,
) -> str:
    """Compare all formats on the data, and their right answers with the report's."""
    if data is None and kind == "task_file":
        return "accuracy: not recounted, the data is the task file's, and no user code is run"
    if data is None:
        return "accuracy: not recounted, the data is not here (give --data-dir)"
    inputs, targets = data
    first: Tensor | None = None
    for name, run in runners.items():
        file = EXPORTERS.get(name).file_name
        outputs = _run(name, run, inputs)
        first = outputs if first is None else first
        _deviation(f"{file}, {proof['split']} data", outputs, first)
        correct = int((outputs.argmax(dim=1) == targets).sum())
        if abs(correct - proof["correct"]) > near_ties(outputs):
            raise VerificationError(
                f"{file}: must be right on {proof['correct']} of {proof['examples']} "
                f"{proof['split']} inputs as reported; got {correct}"
            )
    return f"accuracy: {proof['correct']} of {len(targets)} {proof['split']} inputs, as reported"


def near_ties(outputs: Tensor) -> int:
    """Count inputs whose best two outputs are so close that rounding may swap them."""
    best = outputs.topk(2, dim=1).values
    allowed = 2 * TOLERANCE * outputs.abs().max().clamp(min=1.0)
    return int((best[:, 0] - best[:, 1] <= allowed).sum())


def _recount(folder: Path, plan: dict[str, Any], report: dict[str, Any]) -> tuple[float, list[str]]:
    """Recount what is left from the files, and compare the formats' weights bit for bit."""
    formats = exported_formats(folder)
    packed = program = None
    if "safetensors" in formats:
        path = folder / EXPORTERS.get("safetensors").file_name
        packed = unpack(path.read_bytes(), path.name)
    if "pt2" in formats:
        program = load_program(folder / EXPORTERS.get("pt2").file_name)
        _check_size(folder, program, report)
    weights = packed.weights if packed else program.state_dict if program else {}
    if packed is None:
        lines = ["sparsity: not recounted, the packed file is not part of this"]
        return report["sparsity"], lines + _pattern(plan, report, weights, "model.pt2")
    if program is not None:
        for name, value in program.state_dict.items():
            if not torch.equal(packed.weights[name], value):
                raise VerificationError(f"model.pt2: {name} must equal model.safetensors")
    found = recounted_sparsity(plan, packed)
    if abs(found - report["sparsity"]) > 1e-12:
        raise VerificationError(
            f"model.safetensors: sparsity must be {report['sparsity']} as reported; got {found}"
        )
    lines = [f"sparsity: {found:.4f}, recounted from model.safetensors"]
    if program is not None:
        lines.append(
            f"size: {report['params']:,} parameters and {report['macs']:,} multiply-adds, "
            "recounted from model.pt2"
        )
    return found, lines + _pattern(plan, report, weights, "model.safetensors")


_COUNTED = {
    "params": "hold {} parameters",
    "params_nonzero": "hold {} non-zero parameters",
    "macs": "do {} multiply-adds",
}


def _check_size(folder: Path, program: ExportedProgram, report: dict[str, Any]) -> None:
    """Recount a program's parameters, tied ones once, and the multiply-adds of a stored input."""
    once = {value.data_ptr(): value for _, value in program.named_parameters()}
    counted = {
        "params": sum(value.numel() for value in once.values()),
        "params_nonzero": sum(int(value.count_nonzero()) for value in once.values()),
        "macs": count_run(program.module(), load_file(folder / SAMPLE)["inputs"][:1]),
    }
    for key, what in _COUNTED.items():
        if counted[key] != report[key]:
            raise VerificationError(
                f"model.pt2: must {what.format(report[key])} as reported; got {counted[key]}"
            )


def _pattern(
    plan: dict[str, Any], report: dict[str, Any], weights: Mapping[str, Tensor], file: str
) -> list[str]:
    """Check the blocks of the file's non-zero weights, where the plan has a pattern."""
    config, layers = plan["lineage"]["config"], plan["layers"]
    if planned_pattern(config) is None:
        return []
    if not weights:
        return ["pattern: not checked, neither the packed file nor model.pt2 is part of this"]
    kept = {name: weights[name] != 0 for name in layers}
    return [f"{check_section(config, report['pattern'], kept, layers, file)}, checked in {file}"]


def recounted_sparsity(plan: dict[str, Any], packed: Packed) -> float:
    """Return 1 - kept / dense prunable weights, kept counted in the packed file."""
    kept = total = 0
    for name, shape in plan["layers"].items():
        path = name.removesuffix(".weight")
        factors = path in plan["compact"]["ranks"]
        names = [f"{path}.0.weight", f"{path}.1.weight"] if factors else [name]
        kept += sum(packed.num_kept(part) for part in names)
        total += torch.Size(shape).numel()
    return 1.0 - kept / total


def main(arguments: list[str] | None = None) -> int:
    """Verify a folder; the report goes to standard output as JSON, a refusal to standard error."""
    parser = argparse.ArgumentParser(prog="autoprune.export.verify")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labelled", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        report = verify_folder(options.folder, labelled=options.labelled)
    except AutoPruneError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(report) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
