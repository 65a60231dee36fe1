from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save

from autoprune.core.errors import VerificationError
from autoprune.pruning.packing import pack, unpack

WEIGHT = torch.tensor([[1.0, 0.0, -2.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0, 4.0]])
# The 0 at [0, 1] is kept: it happens to be 0. Bits, lowest first: 11100 | 010 -> 0b01000111 = 71,
# then 01 -> 0b10 = 2.
MASK = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 0, 1]], dtype=torch.bool)
STATE = {"w": WEIGHT, "b": torch.tensor([0.5, 0.0]), "n": torch.tensor(7)}


def test_a_sparse_tensor_is_its_bits_and_its_kept_values() -> None:
    tensors = load(pack(STATE, {"w": MASK}))
    assert tensors["w::mask"].tolist() == [71, 2]
    assert tensors["w::values"].tolist() == [1.0, 0.0, -2.0, 3.0, 4.0]
    assert set(tensors) == {"w::mask", "w::values", "b", "n"}


def test_unpacking_gives_every_tensor_and_mask_back() -> None:
    packed = unpack(pack(STATE, {"w": MASK, "b": torch.ones(2, dtype=torch.bool)}))
    assert {n: v.tolist() for n, v in packed.weights.items()} == {
        n: v.tolist() for n, v in STATE.items()
    }
    assert packed.weights["n"].dtype == torch.int64
    assert torch.equal(packed.masks["w"], MASK)
    assert packed.num_kept("w") == 5
    assert packed.num_kept("b") == 2


@pytest.mark.parametrize("shape", [(1,), (8,), (9,), (3, 2, 3, 3), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_shape_and_type_survives(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    stream = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=stream) < 0.4
    weight = torch.where(mask, torch.randn(shape, generator=stream), 0.0).to(dtype)
    packed = unpack(pack({"w": weight}, {"w": mask}))
    assert packed.weights["w"].dtype == dtype
    assert torch.equal(packed.weights["w"], weight)


def test_tied_and_strided_tensors_can_be_stored() -> None:
    base = torch.arange(6.0).reshape(2, 3)
    packed = unpack(pack({"a": base, "b": base, "t": base.T}, {}))
    assert torch.equal(packed.weights["b"], base)
    assert torch.equal(packed.weights["t"], base.T)


def test_a_removed_entry_that_is_not_zero_is_refused() -> None:
    with pytest.raises(VerificationError, match="'w': removed entries must be exactly 0"):
        pack({"w": WEIGHT + 1e-30}, {"w": MASK})


def test_at_90_percent_the_file_is_under_a_quarter() -> None:
    mask = torch.arange(100_000).reshape(100, 1000) % 10 == 0
    weight = mask * 1.5
    # One bit and a tenth of 32 bits of every 32: 13 %, and the header.
    ratio = len(pack({"w": weight}, {"w": mask})) / len(pack({"w": weight}, {}))
    assert 0.13 < ratio < 0.14


def test_malformed_content_is_refused() -> None:
    content = pack(STATE, {"w": MASK})
    for bad in (b"", content[:-1], content[:40], b"\xff" * 64, save({"w": WEIGHT})):
        with pytest.raises(VerificationError, match="weights is not a packed safetensors file"):
            unpack(bad)


def test_another_version_is_refused() -> None:
    meta = {"packed": '{"version": 2, "shapes": {}}'}
    with pytest.raises(VerificationError, match="must be packed in version 1; got 2"):
        unpack(save({"w": WEIGHT}, meta))


@pytest.mark.parametrize(
    ("bits", "values"), [([71, 2], 4), ([71, 2], 6), ([71], 5)], ids=["few", "many", "short"]
)
def test_a_mask_that_does_not_fit_its_values_is_refused(bits: list[int], values: int) -> None:
    meta = {"packed": json.dumps({"version": 1, "shapes": {"w": [2, 5]}})}
    tensors = {"w::mask": torch.tensor(bits, dtype=torch.uint8), "w::values": torch.ones(values)}
    with pytest.raises(VerificationError):
        unpack(save(tensors, meta))
    with pytest.raises(VerificationError, match="incomplete"):
        unpack(save({"w::mask": tensors["w::mask"]}, meta))


def test_equal_weights_give_equal_bytes() -> None:
    assert len({pack(STATE, {"w": MASK}) for _ in range(20)}) == 1
