"""The state of a trial between two stages: what a stage returns and the store keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from autoprune.core.canonical import plain


@dataclass(frozen=True)
class Structure:
    """What is physically removed or replaced when the model is made compact.

    Parameters
    ----------
    units : dict
        Unit group name to the kept units, one 0/1 flag per unit; groups not named are whole.
    ranks : dict
        Prunable weight name to the rank it is factorised at; weights not named stay dense.
    """

    units: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ranks: dict[str, int] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        """Whether nothing is removed or replaced."""
        return not self.units and not self.ranks


@dataclass(frozen=True)
class TrialState:
    """Weights, masks and what else a later stage needs; treated as read-only by everyone.

    Parameters
    ----------
    weights : dict
        The dense-shaped model's full state dict, on the CPU; masked entries are exactly 0.
    masks : dict
        Bool masks by parameter name, True = kept; every prunable weight once something was
        pruned (and, for units, biases and norm parameters), empty before.
    structure : Structure
        Units removed and ranks chosen.
    tensors : dict
        Anything else by name: ``score/<weight>``, ``optim/...``, ``latent/<weight>``.
    log : dict
        JSON values: ``status``, ``lr_curve``, ``train_loss``, ``round``, ...; read by later
        stages and by the result.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor] = field(default_factory=dict)
    structure: Structure = field(default_factory=Structure)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether a training run on the way here lost its loss to infinity or NaN."""
        return bool(self.log.get("status") == "diverged")

    def to_tensors(self) -> tuple[dict[str, Tensor], str]:
        """Return all tensors under prefixed names, and the rest as JSON text."""
        tensors = {
            f"{prefix}/{name}": value.detach().contiguous()
            for prefix, group in (("w", self.weights), ("m", self.masks), ("t", self.tensors))
            for name, value in group.items()
        }
        # A safetensors file sorts its tensors; what splits ties by layer must not see that.
        content = {"structure": plain(self.structure), "log": self.log, "order": list(tensors)}
        return tensors, json.dumps(content)

    @staticmethod
    def from_tensors(tensors: Mapping[str, Tensor], text: str) -> TrialState:
        """Read what `to_tensors` wrote."""
        groups: dict[str, dict[str, Tensor]] = {"w": {}, "m": {}, "t": {}}
        content = json.loads(text)
        for name in content["order"]:
            prefix, _, rest = name.partition("/")
            groups[prefix][rest] = tensors[name]
        structure = Structure(
            units={k: tuple(v) for k, v in content["structure"]["units"].items()},
            ranks=dict(content["structure"]["ranks"]),
        )
        return TrialState(groups["w"], groups["m"], structure, groups["t"], content["log"])
