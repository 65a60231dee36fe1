from __future__ import annotations

import errno
import logging
import os
import tempfile
from pathlib import Path

import pytest
import torch

from autoprune.core.errors import StoreError, StudyError
from autoprune.stages.state import Structure, TrialState
from autoprune.stages.store import Store
from autoprune.stages.store_files import check_version, file_of, size_bytes, trim

KEY = "ab" + "0" * 62


def small(value: float = 1.0) -> TrialState:
    return TrialState({"w": torch.tensor([value, -2.0])}, log={"status": "ok"})


def every_kind() -> TrialState:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 4, 5, generator=generator)
    return TrialState(
        weights={
            "float32": torch.tensor([1.5, -0.0, 1e-45, float("inf"), float("nan")]),
            "float64": torch.randn(3, generator=generator).double(),
            "bfloat16": torch.randn(3, generator=generator).bfloat16(),
            "half": torch.randn(3, generator=generator).half(),
            "scalar": torch.tensor(7),
            "empty": torch.empty(0, 4),
            "strided": image.to(memory_format=torch.channels_last),
            "view": image[:, 1].transpose(0, 1),
        },
        masks={"float32": torch.tensor([True, False, True, False, True])},
        structure=Structure(units={"fc1": (1, 0, 1)}, ranks={"fc2.weight": 7}),
        tensors={"score/float32": torch.arange(5), "lr_curve": torch.tensor([0.1, 0.05]).double()},
        log={"status": "ok", "norm_lost": 0.1 + 0.2, "mask_updates": 3.0},
    )


def bits(value: torch.Tensor) -> bytes:
    return (
        value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b""
    )


def test_every_kind_of_tensor_comes_back_bit_for_bit(tmp_path: Path) -> None:
    state = every_kind()
    Store(tmp_path).put(KEY, state)
    found = Store(tmp_path).get(KEY)
    assert found is not None
    for group in ("weights", "masks", "tensors"):
        before, after = getattr(state, group), getattr(found, group)
        assert before.keys() == after.keys()
        for name, value in before.items():
            assert after[name].dtype == value.dtype, name
            assert after[name].shape == value.shape, name
            assert bits(after[name].clone()) == bits(value.clone()), name
    assert found.structure == state.structure
    assert found.log == state.log


def test_what_was_never_stored_is_none(tmp_path: Path) -> None:
    assert Store(tmp_path).get(KEY) is None


def test_cheap_states_stay_in_memory(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.remember(KEY, small())
    assert store.get(KEY) is not None
    assert Store(tmp_path).get(KEY) is None


def test_memory_holds_the_last_sixteen(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keys = [f"{n:064d}" for n in range(17)]
    for key in keys[:16]:
        store.remember(key, small())
    store.get(keys[0])
    store.remember(keys[16], small())
    assert store.get(keys[0]) is not None
    assert store.get(keys[1]) is None


def test_every_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Store(tmp_path).put(KEY, small())
    path = file_of(tmp_path, KEY)
    content = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        for place in range(len(content)):
            for bit in (0x01, 0x20):
                damaged = bytearray(content)
                damaged[place] ^= bit
                path.write_bytes(damaged)
                assert Store(tmp_path).get(KEY) is None, (place, bit)
                assert not path.exists()
    assert "damaged" in caplog.text


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    Store(tmp_path).put(KEY, small())
    path = file_of(tmp_path, KEY)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert Store(tmp_path).get(KEY) is None, length


def test_a_damaged_state_can_be_stored_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.put(KEY, small(1.0))
    file_of(tmp_path, KEY).write_bytes(b"nothing")
    fresh = Store(tmp_path)
    assert fresh.get(KEY) is None
    fresh.put(KEY, small(3.0))
    found = Store(tmp_path).get(KEY)
    assert found is not None
    assert found.weights["w"].tolist() == [3.0, -2.0]


def test_a_put_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)

    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StudyError, match=r"must be writable and have room.*No space left.*--home"):
        store.put(KEY, small())
    monkeypatch.undo()
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "VERSION"]
    assert Store(tmp_path).get(KEY) is None


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    file_of(tmp_path, KEY).mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot read"):
        store.get(KEY)


def test_the_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("2\n")
    with pytest.raises(StudyError, match=r"must be of version 1; got '2'; update AutoPrune"):
        Store(tmp_path)
    assert (tmp_path / "VERSION").read_text() == "2\n"


def test_a_home_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    with pytest.raises(StudyError, match=r"home .* must be writable"):
        Store(tmp_path / "home" / "store")


def test_a_version_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StudyError, match="No space left"):
        check_version(tmp_path / "store")
    monkeypatch.undo()
    assert list((tmp_path / "store").iterdir()) == []
    check_version(tmp_path / "store")


def fill(root: Path, count: int) -> list[str]:
    """Store states whose order of use is that of their names."""
    store = Store(root)
    keys = [f"{n:064x}" for n in range(count)]
    for age, key in enumerate(keys):
        store.put(key, small())
        os.utime(file_of(root, key), (1_000 + age, 1_000 + age))
    return keys


def on_disk(root: Path, keys: list[str]) -> list[int]:
    return [n for n, key in enumerate(keys) if file_of(root, key).exists()]


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    keys = fill(tmp_path, 5)
    one = size_bytes(tmp_path) // 5
    assert trim(tmp_path, cap_bytes=3 * one) == 2
    assert on_disk(tmp_path, keys) == [2, 3, 4]


def test_reading_counts_as_use(tmp_path: Path) -> None:
    keys = fill(tmp_path, 3)
    Store(tmp_path).get(keys[0])
    assert trim(tmp_path, cap_bytes=2 * size_bytes(tmp_path) // 3) == 1
    assert on_disk(tmp_path, keys) == [0, 2]


def test_what_is_pinned_stays(tmp_path: Path) -> None:
    keys = fill(tmp_path, 4)
    assert trim(tmp_path, pinned=[keys[0], keys[3]], cap_bytes=0) == 2
    assert on_disk(tmp_path, keys) == [0, 3]


def test_a_store_below_its_cap_is_left_alone(tmp_path: Path) -> None:
    keys = fill(tmp_path, 3)
    assert trim(tmp_path) == 0
    assert trim(tmp_path, cap_bytes=size_bytes(tmp_path)) == 0
    assert on_disk(tmp_path, keys) == [0, 1, 2]


def test_what_dead_writers_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    keys = fill(tmp_path, 2)
    folder = file_of(tmp_path, keys[0]).parent
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as left:
        left.write(b"half a st")
    old, new = Path(left.name), folder / f"{tempfile.gettempprefix()}new"
    new.write_bytes(b"half")
    os.utime(old, (1_000, 1_000))
    assert trim(tmp_path) == 0
    assert not old.exists()
    assert new.exists()
    assert on_disk(tmp_path, keys) == [0, 1]
