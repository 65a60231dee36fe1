from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from autoprune.core.errors import BadInput
from autoprune.data.digits import SOURCE
from autoprune.export.load import load_model, load_predictor
from autoprune.export.predict import predict_files

PIXELS = SOURCE.load(None).train.images  # (1797, 1, 8, 8), whole numbers 0 to 16


def saved(folder: Path, array: Any, name: str = "x.npy") -> Path:
    np.save(folder / name, array)
    return folder / name


def test_probabilities_come_from_raw_pixels(exported: Path) -> None:
    found = load_predictor(exported)(np.asarray(PIXELS[:300]))
    with torch.no_grad():
        logits = load_model(exported)(torch.tensor(PIXELS[:300]) / 16)
    assert found.dtype == np.float32
    assert found.shape == (300, 10)
    np.testing.assert_allclose(found, logits.softmax(1).numpy(), atol=1e-5)  # float32 sums


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64])
def test_any_number_type_will_do(exported: Path, kind: type) -> None:
    predict = load_predictor(exported)
    raw = np.asarray(PIXELS[:4])
    np.testing.assert_array_equal(predict(raw.astype(kind)), predict(raw))


def test_inputs_of_another_shape_are_refused(exported: Path) -> None:
    predict = load_predictor(exported)
    for shape in ((1, 8, 8), (2, 3, 8, 8), (2, 64)):
        with pytest.raises(BadInput, match=r"must be numbers of shape \(N, 1, 8, 8\)"):
            predict(np.zeros(shape, np.float32))


def test_batches_and_single_inputs_are_classified(exported: Path, tmp_path: Path) -> None:
    batch = saved(tmp_path, PIXELS[:3])
    single = saved(tmp_path, PIXELS[2], "single.npy")
    rows = predict_files(exported, [batch, str(single)])
    expected = load_predictor(exported)(np.asarray(PIXELS[:3]))
    assert [(row["file"], row["index"]) for row in rows] == [
        (str(batch), 0),
        (str(batch), 1),
        (str(batch), 2),
        (str(single), 0),
    ]
    assert [row["class"] for row in rows[:3]] == [str(n) for n in expected.argmax(1)]
    assert [row["class_index"] for row in rows[:3]] == expected.argmax(1).tolist()
    assert rows[0]["probability"] == float(expected[0].max())
    assert {k: v for k, v in rows[3].items() if k not in {"file", "index"}} == {
        k: v for k, v in rows[2].items() if k not in {"file", "index"}
    }


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_an_image_is_brought_to_the_datas_range(exported: Path, tmp_path: Path, mode: str) -> None:
    # 0 to 16 drawn as 0 to 240: the brightest pixel is 15/16 white, so raw values are 240/255
    # of 16 for what was 16. Twice the side, so that it is resized (to its own pixels: 2x2 means).
    digit = np.asarray(PIXELS[5, 0], np.uint8)
    large = np.kron(digit * 15, np.ones((2, 2), np.uint8))
    Image.fromarray(large).convert(mode).save(tmp_path / "digit.png")
    (row,) = predict_files(exported, [tmp_path / "digit.png"])
    small = np.asarray(Image.fromarray(large).resize((8, 8), Image.Resampling.BILINEAR), np.float32)
    expected = load_predictor(exported)(small[None, None] / 255 * 16)
    assert row["class"] == str(expected.argmax())
    assert row["probability"] == pytest.approx(float(expected.max()), abs=1e-6)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros((2, 8, 8)), r"must hold numbers of shape \(N, 1, 8, 8\) or \(1, 8, 8\)"),
        (np.zeros((0, 1, 8, 8)), "must hold numbers of shape"),
        (np.full((1, 1, 8, 8), np.nan), "must hold finite numbers only"),
        (np.full((1, 1, 8, 8), "x"), "must hold numbers of shape"),
        (np.array([{"code": 1}], dtype=object), "is not a plain .npy array"),
        (np.float32(1), "must hold numbers of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    exported: Path, tmp_path: Path, content: Any, match: str
) -> None:
    with pytest.raises(BadInput, match=match):
        predict_files(exported, [saved(tmp_path, content)])


def test_files_that_are_no_input_are_refused(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "cut.npy").write_bytes(b"\x93NUMPY")
    np.savez(tmp_path / "many.npz", a=np.zeros(1))
    (tmp_path / "many.npz").rename(tmp_path / "many.npy")
    for name, match in (
        ("text.png", "cannot be decoded.*leave it out"),
        ("cut.npy", "is not a plain .npy array"),
        ("many.npy", "must hold numbers"),
        ("absent.png", "there is no such file"),
        ("", "must be an image or a .npy file"),
    ):
        with pytest.raises(BadInput, match=match):
            predict_files(exported, [tmp_path / name])
