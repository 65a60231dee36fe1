"""One front point's size and cost, as other tools would state them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.report.words import NONE, TIMES, Entry, Summary, count, percent


@dataclass(frozen=True)
class Conventions:
    """The same model in four tools' words; ratios above 1 are dense over pruned.

    Attributes
    ----------
    shrinkbench_compression : float
        All dense parameters / non-zero parameters (biases and norms included on both sides).
    shrinkbench_speedup : float
        Dense MACs / MACs of non-zero weights.
    rigl_sparsity : float or None
        Sparsity of the prunable weights with the first layer left out (as when it stays dense);
        None where the layers' sizes or kept shares are unknown.
    rigl_flops : float
        Multiply and add counted apart: 2 x the MACs of non-zero weights, per sample.
    rigl_flops_share : float
        That over the dense model's.
    modelopt_params, modelopt_flops : float
        Upper bounds as ModelOpt takes them: share of parameters and of operations that the
        exported graph still has.
    torch_pruning_params, torch_pruning_macs : float
        Dense / exported graph, in parameters and in MACs.
    """

    shrinkbench_compression: float
    shrinkbench_speedup: float
    rigl_sparsity: float | None
    rigl_flops: float
    rigl_flops_share: float
    modelopt_params: float
    modelopt_flops: float
    torch_pruning_params: float
    torch_pruning_macs: float


def _without_first_layer(entry: Entry, layers: Sequence[Mapping[str, Any]]) -> float | None:
    kept_shares = entry.get("layers") or {}
    rest = layers[1:]
    if not rest or any(layer["name"] not in kept_shares for layer in rest):
        return None
    total = kept = 0.0
    for layer in rest:
        weights = 1
        for size in layer["shape"]:
            weights *= size
        total += weights
        kept += weights * kept_shares[layer["name"]]
    return 1 - kept / total


def translate(
    entry: Entry, dense: Mapping[str, Any], layers: Sequence[Mapping[str, Any]] = ()
) -> Conventions:
    """State a point in ShrinkBench's, RigL's, ModelOpt's and Torch-Pruning's conventions.

    Parameters
    ----------
    entry : mapping
        A front entry: counts of parameters and MACs (multiply-add = 1), kept share per layer.
    dense : mapping
        ``params`` and ``macs`` of the dense model.
    layers : sequence of mapping
        ``name`` and ``shape`` of the prunable tensors, in the model's order.
    """
    params, macs = float(dense["params"]), float(dense["macs"])
    effective = max(float(entry["macs_effective"]), 1.0)
    return Conventions(
        shrinkbench_compression=params / max(entry["params_nonzero"], 1),
        shrinkbench_speedup=macs / effective,
        rigl_sparsity=_without_first_layer(entry, layers),
        rigl_flops=2 * effective,
        rigl_flops_share=effective / macs,
        modelopt_params=entry["params"] / params,
        modelopt_flops=entry["macs"] / macs,
        torch_pruning_params=params / max(entry["params"], 1),
        torch_pruning_macs=macs / max(entry["macs"], 1),
    )


def convention_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the front in every convention, ready to print, sparsest last."""
    layers = summary.get("task", {}).get("layers") or ()
    rows = []
    for entry in sorted(summary["front"], key=lambda e: float(e["sparsity"])):
        value = translate(entry, summary["dense"], layers)
        rows.append(
            {
                "trial": entry["trial"],
                "sparsity": f"{percent(entry['sparsity'])} %",
                "compression": f"{value.shrinkbench_compression:.1f}{TIMES}",
                "speedup": f"{value.shrinkbench_speedup:.1f}{TIMES}",
                "rigl_sparsity": NONE
                if value.rigl_sparsity is None
                else f"{percent(value.rigl_sparsity)} %",
                "rigl_flops": f"{count(value.rigl_flops)} ({value.rigl_flops_share:.3g}{TIMES})",
                "modelopt_params": f"{percent(value.modelopt_params)} %",
                "modelopt_flops": f"{percent(value.modelopt_flops)} %",
                "tp_params": f"{value.torch_pruning_params:.2f}{TIMES}",
                "tp_macs": f"{value.torch_pruning_macs:.2f}{TIMES}",
            }
        )
    return rows


def physical(entry: Entry, dense: Mapping[str, Any]) -> str:
    """Say what of a point is physically smaller and what only holds zeros."""
    if entry["params"] >= dense["params"]:
        zeros = dense["params"] - entry["params_nonzero"]
        return (
            f"Only holds zeros: all {count(dense['params'])} parameters keep their place and "
            f"{count(zeros)} of them are 0. The packed safetensors file is smaller; an ordinary "
            "runtime computes as much as for the dense model."
        )
    what = "Units are gone" if entry["kind"] == "units" else "Layers are stored as thin factors"
    zeros = entry["params"] - entry["params_nonzero"]
    also = f" (of which {count(zeros)} are 0)" if zeros > 0 else ""
    return (
        f"Physically smaller. {what}: {count(entry['params'])} of {count(dense['params'])} "
        f"parameters are left{also}, and {percent(entry['macs'] / dense['macs'])} % of the MACs "
        "in any runtime."
    )
