"""Export a job's result: a folder that is written whole and proven, or not at all."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save as save_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from autoprune.core.canonical import plain
from autoprune.core.errors import AutoPruneError, BadInput, ConfigError, VerificationError
from autoprune.core.seeds import torch_stream
from autoprune.export.base import PLAN, README, REPORT, SAMPLE, ExportReport, FileReport
from autoprune.export.integrity import write_sums
from autoprune.export.load import run_in_chunks
from autoprune.export.pattern import pattern_section
from autoprune.export.plan import make_plan
from autoprune.export.readme import readme
from autoprune.export.registry import EXPORTERS
from autoprune.export.verify import TOLERANCE
from autoprune.metrics.accuracy import evaluate
from autoprune.metrics.macs import inference
from autoprune.metrics.runtimes import RuntimeReport, side_by_side
from autoprune.pruning.accounting import account
from autoprune.pruning.packing import pack
from autoprune.stages.support import load_model
from autoprune.trial.deploy import compacted, compacted_masks
from autoprune.trial.plan import make_plan as make_stages
from autoprune.trial.resolve import Resolver

if TYPE_CHECKING:
    from autoprune.core.records import Job
    from autoprune.stages.state import TrialState
    from autoprune.trial.context import WorkerContext

FORMATS = ("safetensors", "onnx", "pt2")
NUM_SAMPLE = 16
LIMIT_BYTES = 2 << 30
"""The proof reads so much of a split at most: all of it, unless the data streams from disk."""


def export_job(
    job: Job,
    context: WorkerContext,
    out: Path,
    *,
    formats: Sequence[str] = FORMATS,
    figures: dict[str, Any] | None = None,
    study: str | None = None,
) -> ExportReport:
    """Write a job's final model to a folder, prove it in a fresh process, and name it last.

    Stages that the store has are reused; what is missing is computed again, with the same bits.

    Parameters
    ----------
    job : Job
        The run to export. Its accuracy on the test split is reported only when it reads that
        split (`Job.test`); otherwise the proof is on the validation split.
    out : Path
        A folder that does not exist yet, or is empty.
    formats : sequence of str
        Exporter registry names.
    figures : dict, optional
        The confirmed front's figures of the trial (means over seeds), reported beside its own.
    study : str, optional
        Name of the study, for the lineage.

    Raises
    ------
    BadInput
        If `out` is in use or cannot be written, a format is unknown or cannot express the model,
        or the run diverged.
    VerificationError
        If the written files are not the model; nothing is left behind.
    """
    out = Path(out)
    check_request(out, formats, job)
    stages = make_stages(job, context.settings.top_epochs, pretrained=context.task.info.pretrained)
    state = Resolver(context).state(stages[-1])
    if state.log.get("status") == "diverged":
        raise BadInput(f"trial {job.trial}", "diverged: there is no model to export")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        try:
            writer = _Writer(job, context, state, draft)
            content = writer.write(formats, figures, study, stages[-1].key(context.keys))
            checks = writer.prove()
            draft.chmod(0o755)
            draft.replace(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        raise BadInput(
            f"--out {out}", "must be writable and have room", str(error), "give another folder"
        ) from error
    return ExportReport(str(out), content, checks)


def check_request(out: Path, formats: Sequence[str], job: Job) -> None:
    """Refuse an export that cannot be written or proven, before any work is done.

    Raises
    ------
    BadInput
        See `export_job`.
    """
    for name in formats:
        EXPORTERS.check(name, "--format")
    usable = [n for n in formats if not (job.config.task.task_file and EXPORTERS.get(n).needs_code)]
    if not usable:
        raise ConfigError(
            "--format",
            "must name a format that runs without the task file's code, to be proven",
            ",".join(formats),
            "add onnx or pt2",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"--out {out}", "must not exist yet", remedy="give another folder")


class _Writer:
    """Writes the files of one export into a draft folder."""

    def __init__(self, job: Job, context: WorkerContext, state: TrialState, draft: Path) -> None:
        self.job, self.context, self.state, self.draft = job, context, state, draft
        self.slim: nn.Module = compacted(state, context)
        self.split = "test" if job.test else "val"
        self.inputs, self.targets = self._labelled()

    def write(
        self,
        formats: Sequence[str],
        figures: dict[str, Any] | None,
        study: str | None,
        final_key: str,
    ) -> dict[str, Any]:
        """Write every file, the hashes last, and return the report."""
        example = torch.zeros(2, *self.context.task.info.input_shape)
        masks = compacted_masks(self.state, self.context)
        files = []
        for name in dict.fromkeys(formats):
            exporter = EXPORTERS.get(name)
            path = self.draft / exporter.file_name
            files.append(exporter.export(self.slim, example, path, masks))
        plan = make_plan(self.job, self.context, self.slim, study=study, final_key=final_key)
        report = self._report(files, figures)
        self._write_sample()
        (self.draft / PLAN).write_text(_json(plan))
        (self.draft / REPORT).write_text(_json(report))
        (self.draft / README).write_text(readme(plan, report, files))
        write_sums(self.draft)
        return report

    def prove(self) -> list[str]:
        """Verify the draft in a fresh process.

        Raises
        ------
        VerificationError
            With the process's message.
        """
        with tempfile.TemporaryDirectory() as folder:
            labelled = Path(folder) / "labelled.safetensors"
            save_file({"inputs": self.inputs, "targets": self.targets}, labelled)
            threads = str(self.context.settings.threads)
            command = [sys.executable, "-m", "autoprune.export.verify", str(self.draft)]
            done = subprocess.run(
                [*command, "--labelled", str(labelled), "--threads", threads],
                capture_output=True,
                text=True,
                check=False,
            )
        if done.returncode == 1 and "Traceback" not in done.stderr:
            raise VerificationError(f"the export is refused: {done.stderr.strip()}")
        if done.returncode != 0:
            raise AutoPruneError(f"the verifying process failed: {done.stderr.strip()}")
        checks: list[str] = json.loads(done.stdout)["checks"]
        return checks

    def _labelled(self) -> tuple[Tensor, Tensor]:
        """Return the split of the proof, or as much of its beginning as fits into memory."""
        split = getattr(self.context.task.data, self.split)
        each = 4 * torch.Size(self.context.task.info.input_shape).numel()
        count = min(split.size, max(1, LIMIT_BYTES // each))
        batches = list(split.batches(1024, order=torch.arange(count)))
        inputs, targets = (torch.cat([b[i].cpu() for b in batches]) for i in (0, 1))
        return inputs.contiguous(), targets.contiguous()

    def _outputs(self, model: nn.Module) -> Tensor:
        with inference(model):
            return run_in_chunks(model, self.inputs)

    def _proof(self) -> dict[str, Any]:
        """Compare the compact model with the masked one that was trained, and count."""
        masked = self.context.task.build_model(0)
        masked.load_state_dict(self.state.weights)
        outputs, trained = self._outputs(self.slim), self._outputs(masked)
        deviation = float((outputs - trained).abs().max() / trained.abs().max().clamp(min=1.0))
        if not deviation <= TOLERANCE:
            raise VerificationError(
                f"the compact model must equal the trained one within {TOLERANCE:g}; "
                f"outputs differ by {deviation:.2g}"
            )
        return {
            "split": self.split,
            "examples": len(self.targets),
            "correct": int((outputs.argmax(dim=1) == self.targets).sum()),
            "tolerance": TOLERANCE,
            "deviation_from_trained": deviation,
        }

    def _report(
        self, files: Sequence[FileReport], figures: dict[str, Any] | None
    ) -> dict[str, Any]:
        context, info = self.context, self.context.task.info
        counted = account(
            load_model(self.state, context),
            self.state.masks,
            self.state.structure.units,
            self.state.structure.ranks,
            context.groups if self.state.structure.units else (),
            info.layers,
            torch.zeros(1, *info.input_shape, device=context.settings.device),
            dense_macs=info.macs,
        )
        dense = context.task.build_model(0).state_dict()
        speed = self._speed()
        return {
            "files": {f.name: {k: v for k, v in plain(f).items() if k != "name"} for f in files},
            "dense_size_bytes": len(pack(dense, {})),
            "front": figures,
            "own": self._own(),
            **counted,
            "dense_params": info.params,
            "dense_macs": info.macs,
            "pattern": pattern_section(
                plain(self.job.config),
                self.state.masks,
                {layer.name: layer.shape for layer in info.layers},
            ),
            "latency": speed.rows,
            "latency_left_out": speed.left_out,
            "proof": self._proof(),
        }

    def _speed(self) -> RuntimeReport:
        """Time the compact model in turns with the dense one, in every runtime."""
        dense, info = self.context.task.build_model(0).eval(), self.context.task.info
        path = self.draft / EXPORTERS.get("onnx").file_name
        files = {"pruned": path.read_bytes()} if path.is_file() else None
        return side_by_side({"dense": dense, "pruned": self.slim}, info.input_shape, onnx=files)

    def _own(self) -> dict[str, float]:
        """Return the exported run's own accuracy, by the task's metric."""
        task, device = self.context.task, self.context.settings.device
        model = copy.deepcopy(self.slim).to(device)
        found = {}
        for split in ("val", "test") if self.job.test else ("val",):
            found[f"{split}_accuracy"] = evaluate(model, getattr(task.data, split), task).accuracy
        return found

    def _write_sample(self) -> None:
        """Store noise with its outputs: a proof where the data is not, that leaks none of it."""
        shape = (NUM_SAMPLE, *self.context.task.info.input_shape)
        inputs = torch.randn(shape, generator=torch_stream(0, "export sample"))
        with inference(self.slim):
            outputs = self.slim(inputs)
        content = save_tensors({"inputs": inputs, "outputs": outputs.contiguous()})
        (self.draft / SAMPLE).write_bytes(content)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
