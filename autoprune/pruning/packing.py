"""Packed weights: a sparse tensor is a bitmask and its kept values, in one safetensors file.

A tensor with removed entries is stored as two: ``<name>::mask``, one bit per entry of the
flattened tensor (uint8, least significant bit first), and ``<name>::values``, the kept entries in
order and in full precision. Every other tensor is stored as it is. The file's metadata has one key
(several would be written in a random order), ``packed``: JSON with the format's version and the
shapes of the packed tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from autoprune.core.errors import VerificationError

VERSION = 1
MASK, VALUES = "::mask", "::values"


@dataclass(frozen=True)
class Packed:
    """What a packed file holds.

    Parameters
    ----------
    weights : dict
        Every tensor by name, removed entries 0.
    masks : dict
        Bool masks of the tensors that were packed, True = kept.
    """

    weights: dict[str, Tensor]
    masks: dict[str, Tensor]

    def num_kept(self, name: str) -> int:
        """Return how many entries of a tensor the file holds."""
        return int(self.masks[name].sum()) if name in self.masks else self.weights[name].numel()


def pack(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> bytes:
    """Write weights as a safetensors file, those with removed entries packed.

    Parameters
    ----------
    weights : mapping
        A state dict on any device.
    masks : mapping
        Bool masks of the same shapes, True = kept; tensors without one are dense. A mask is
        packed even where that is larger (under 1/32 removed), so that the file tells what was
        removed from what happens to be 0.

    Raises
    ------
    VerificationError
        If a removed entry is not exactly 0: the file would not be the model.
    """
    tensors: dict[str, Tensor] = {}
    shapes: dict[str, list[int]] = {}
    for name, tensor in weights.items():
        value = tensor.detach().cpu()
        keep = masks[name].cpu() if name in masks else None
        if keep is None or bool(keep.all()):
            tensors[name] = value.clone(memory_format=torch.contiguous_format)
            continue
        if value[~keep].count_nonzero():
            raise VerificationError(f"weights {name!r}: removed entries must be exactly 0")
        shapes[name] = list(value.shape)
        tensors[name + MASK] = _to_bits(keep)
        tensors[name + VALUES] = value[keep].contiguous()
    return save_tensors(tensors, {"packed": json.dumps({"version": VERSION, "shapes": shapes})})


def unpack(content: bytes, place: str = "weights") -> Packed:
    """Read what `pack` wrote.

    Raises
    ------
    VerificationError
        If the content is malformed, or of a format this version does not know.
    """
    try:
        size = int.from_bytes(content[:8], "little")
        meta = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["packed"])
        shapes, found = meta["shapes"], meta["version"]
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise VerificationError(f"{place} is not a packed safetensors file: {error}") from error
    if found != VERSION:
        raise VerificationError(f"{place} must be packed in version {VERSION}; got {found!r}")
    weights, masks = {}, {}
    try:
        for name, shape in shapes.items():
            keep = _from_bits(tensors.pop(name + MASK), shape)
            values = tensors.pop(name + VALUES)
            weights[name] = torch.zeros(shape, dtype=values.dtype).masked_scatter_(keep, values)
            if int(keep.sum()) != values.numel():
                raise VerificationError(f"{place}: {name!r} holds more values than its mask keeps")
            masks[name] = keep
    except (KeyError, RuntimeError) as error:
        raise VerificationError(f"{place}: a packed tensor is incomplete: {error}") from error
    return Packed({**tensors, **weights}, masks)


def _to_bits(keep: Tensor) -> Tensor:
    """Pack a bool tensor, eight entries a byte, least significant bit first."""
    flat = keep.flatten().to(torch.uint8)
    padded = torch.nn.functional.pad(flat, (0, -len(flat) % 8)).reshape(-1, 8)
    return (padded << torch.arange(8, dtype=torch.uint8)).sum(1, dtype=torch.uint8)


def _from_bits(packed: Tensor, shape: list[int]) -> Tensor:
    """Undo `_to_bits`."""
    bits = (packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return bits.flatten()[: math.prod(shape)].bool().reshape(shape)
