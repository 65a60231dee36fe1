from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from autoprune.core.errors import DataError
from autoprune.core.seeds import torch_stream
from autoprune.data import image_folder
from autoprune.data.assemble import load_data
from autoprune.data.images import decode
from autoprune.data.stream import StreamSplit

Make = Callable[..., Path]


def test_three_parts_of_classes(image_root: Make) -> None:
    root = image_root({"train": 5, "val": 2, "test": 3})
    raw = image_folder.load(root)
    assert raw.classes == ("cat", "dog")
    assert raw.train.images.shape == (10, 3, 10, 10)  # the shorter side of 12 x 10
    assert raw.train.images[4:6, 0, 0, 0].tolist() == [40, 80]
    assert raw.train.labels.tolist() == [0] * 5 + [1] * 5
    assert [len(p.labels) for p in (raw.val, raw.test) if p is not None] == [4, 6]
    assert raw.augmentation == "crop_flip"


def test_classes_without_parts_are_split(image_root: Make) -> None:
    data = load_data("image_folder", str(image_root({".": 20}, mode="L")))
    assert data.input_shape == (1, 10, 10)
    assert [s.size for s in (data.train, data.val, data.test)] == [32, 4, 4]
    assert data.preprocessing["augmentation"] == "none"


def test_streaming_gives_the_same_batches(
    image_root: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(image_root({"train": 6, "val": 2, "test": 2}))
    small = load_data("image_folder", root)
    monkeypatch.setattr(image_folder, "LIMIT_BYTES", 1)
    large = load_data("image_folder", root)
    assert isinstance(large.train, StreamSplit)
    assert large.preprocessing == small.preprocessing
    state = torch.get_rng_state()
    order = torch.tensor([7, 0, 11, 3, 3])
    for one, other in zip(
        small.train.batches(2, order=order, augment=torch_stream(0)),
        large.train.batches(2, order=order, augment=torch_stream(0)),
        strict=True,
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
    assert torch.equal(torch.get_rng_state(), state)
    assert [len(t) for _, t in large.val.batches(3)] == [3, 1]


def test_the_fingerprint_of_a_stream_sees_the_files(
    image_root: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_folder, "LIMIT_BYTES", 1)
    root = image_root({"train": 6, "val": 2, "test": 2})
    before = load_data("image_folder", str(root)).fingerprint
    assert load_data("image_folder", str(root)).fingerprint == before
    Image.new("RGB", (12, 10), (1, 2, 3)).save(root / "test" / "cat" / "000.png")
    assert load_data("image_folder", str(root)).fingerprint != before


def test_a_class_that_training_lacks_is_refused(image_root: Make) -> None:
    root = image_root({"train": 2, "val": 2})
    (root / "val" / "bird").mkdir()
    with pytest.raises(DataError, match="must be one of the training classes; got 'bird'"):
        image_folder.load(root)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="was not found"):
        image_folder.load(tmp_path)


def test_a_broken_image_is_refused_by_name(image_root: Make) -> None:
    root = image_root({"train": 2})
    (root / "train" / "dog" / "001.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"001\.png cannot be decoded"):
        image_folder.load(root)


def test_decoding_resizes_the_shorter_side_and_crops_the_middle(tmp_path: Path) -> None:
    # 8 wide, 4 high: columns hold 0 to 7; at size 4 the middle four are left.
    pixels = np.tile(np.arange(8, dtype=np.uint8), (4, 1))
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert decode(tmp_path / "wide.png", 4, 1).tolist() == [[[2, 3, 4, 5]] * 4]
    assert decode(tmp_path / "wide.png", 4, 3).shape == (3, 4, 4)
    assert decode(tmp_path / "wide.png", 2, 1).shape == (1, 2, 2)
    assert decode(tmp_path / "wide.png", 6, 1).shape == (1, 6, 6)
