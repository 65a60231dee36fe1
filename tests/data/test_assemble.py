from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from autoprune.core.errors import DataError, UnknownNameError
from autoprune.core.seeds import torch_stream
from autoprune.data import assemble as module
from autoprune.data.assemble import assemble, load_data
from autoprune.data.noise import LabelNoise, noisy_labels
from autoprune.data.raw import Part, RawData
from autoprune.data.registry import DATA


def images(count: int, channels: int = 3, size: int = 8, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def raw(count: int = 40, **rest: object) -> RawData:
    part = Part(images(count), np.arange(count) % 2)
    return RawData(train=part, classes=("a", "b"), num_val=8, num_test=8, **rest)


def test_digits_are_those_of_scikit_learn_in_their_order() -> None:
    pixels, labels = load_digits(return_X_y=True)
    raw = DATA.get("digits").load(None)
    assert np.array_equal(raw.train.images.reshape(1797, 64), pixels)
    assert np.array_equal(raw.train.labels, labels)


def test_digits_as_the_design_has_them() -> None:
    data = load_data("digits")
    assert [s.size for s in (data.train, data.val, data.test)] == [1077, 360, 360]
    assert data.input_shape == (1, 8, 8)
    assert data.classes == [str(n) for n in range(10)]
    inputs, _ = next(iter(data.train.batches(2000)))
    assert inputs.dtype == torch.float32
    assert (inputs.min(), inputs.max()) == (0.0, 1.0)
    assert data.preprocessing == {
        "scale": 1 / 16,
        "mean": [0.0],
        "std": [1.0],
        "size": [8, 8],
        "channels": 1,
        "augmentation": "none",
    }
    for split in (data.train, data.val, data.test):
        counts = torch.bincount(split.targets, minlength=10) / split.size
        # 1,797 digits hold 174 to 183 of each class: shares of .097 to .102, and a split of 360
        # is off by at most 5.5 images (see test_raw).
        assert ((counts - 0.1).abs() < 0.02).all()


def test_unknown_data_gets_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        load_data("digit")


def test_bytes_are_normalised_by_the_training_split() -> None:
    data = assemble("mine", raw())
    inputs, _ = next(iter(data.train.batches(100)))
    # Mean and deviation are rounded to 4 digits, so they are met to about 1e-4 / 0.29.
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert (inputs.std(dim=(0, 2, 3), correction=0) - 1).abs().max() < 1e-3


def test_preprocessing_reproduces_the_inputs_from_raw_pixels() -> None:
    own = Part(images(4, seed=9), np.array([0, 1, 0, 1]))
    data = assemble("mine", raw(val=own))
    inputs, targets = next(iter(data.val.batches(4)))
    note = data.preprocessing
    mean, std = (np.array(note[k]).reshape(1, -1, 1, 1) for k in ("mean", "std"))
    expected = (own.images * note["scale"] - mean) / std
    # float32 against float64
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-5)
    assert targets.tolist() == [0, 1, 0, 1]


def test_a_constant_channel_divides_by_one() -> None:
    part = Part(np.full((40, 1, 8, 8), 51, np.uint8), np.arange(40) % 2)
    data = assemble("mine", replace(raw(), train=part))
    assert data.preprocessing["std"] == [1.0]
    assert data.preprocessing["mean"] == [0.2]


def test_train_size_does_not_move_the_normalisation() -> None:
    whole, small = assemble("mine", raw()), assemble("mine", raw(), train_size=4)
    assert small.preprocessing == whole.preprocessing
    assert small.train.size == 4
    assert torch.equal(next(iter(small.val.batches(9)))[0], next(iter(whole.val.batches(9)))[0])


def test_bytes_kept_as_bytes_give_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    data = assemble("mine", raw(augmentation="crop_flip"))
    monkeypatch.setattr(module, "LIMIT_BYTES", 1)
    lean = assemble("mine", raw(augmentation="crop_flip"))
    assert lean.train.inputs.dtype == torch.uint8
    for one, other in zip(
        data.train.batches(7, augment=torch_stream(0, "a")),
        lean.train.batches(7, augment=torch_stream(0, "a")),
        strict=True,
    ):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_batches_follow_the_order_and_the_last_may_be_short() -> None:
    data = assemble("mine", raw())
    everything, targets = next(iter(data.train.batches(100)))
    order = torch.tensor([5, 3, 8, 8, 0])
    found = list(data.train.batches(2, order=order))
    assert [len(t) for _, t in found] == [2, 2, 1]
    assert torch.equal(torch.cat([x for x, _ in found]), everything[order])
    assert torch.equal(torch.cat([t for _, t in found]), targets[order])


def test_augment_none_turns_augmentation_off() -> None:
    data = assemble("mine", raw(augmentation="crop_flip"), augment="none")
    assert data.preprocessing["augmentation"] == "none"
    plain = next(iter(data.train.batches(100)))[0]
    assert torch.equal(next(iter(data.train.batches(100, augment=torch_stream(0))))[0], plain)


def test_fingerprint_sees_pixels_labels_sizes_and_preprocessing() -> None:
    base = raw()
    pixel, label = base.train.images.copy(), base.train.labels.copy()
    pixel[3, 0, 0, 0] ^= 1
    label[[3, 4]] = label[[4, 3]]
    variants = [
        assemble("mine", base),
        assemble("mine", base, train_size=20),
        assemble("mine", base, augment="none"),
        assemble("mine", replace(base, augmentation="crop_flip")),
        assemble("mine", replace(base, train=Part(pixel, base.train.labels))),
        assemble("mine", replace(base, train=Part(base.train.images, label))),
    ]
    prints = [data.fingerprint for data in variants]
    assert prints[0] == prints[2]
    assert len(set(prints)) == 5
    assert assemble("mine", raw()).fingerprint == prints[0]


@pytest.mark.parametrize("kind", ["symmetric", "exact", "pairflip"])
@pytest.mark.parametrize("own_parts", [False, True])
def test_noise_falsifies_training_labels_and_nothing_else(own_parts: bool, kind: str) -> None:
    own = Part(images(9, seed=9), np.arange(9) % 2)
    base = raw(val=own, test=own) if own_parts else raw()
    noise = LabelNoise(0.5, kind, 3)  # type: ignore[arg-type] # a literal
    for size in (None, 10):
        clean, noisy = assemble("mine", base, size), assemble("mine", base, size, noise=noise)
        # What the part keeps is falsified: ten labels here, not the first ten of the whole's.
        expected = noisy_labels(clean.train.targets.numpy(), 2, 0.5, kind, 3)  # type: ignore[arg-type]
        assert noisy.train.targets.tolist() == expected.tolist()
        assert noisy.train.targets.tolist() != clean.train.targets.tolist()
        assert noisy.preprocessing == clean.preprocessing
        assert noisy.fingerprint != clean.fingerprint
        for name in ("train", "val", "test"):
            one, other = (next(iter(getattr(d, name).batches(99))) for d in (clean, noisy))
            assert torch.equal(one[0], other[0])
            assert name == "train" or torch.equal(one[1], other[1])


def test_without_noise_the_fingerprint_is_what_it_was() -> None:
    pixels = (np.arange(40 * 3 * 8 * 8) % 256).astype(np.uint8).reshape(40, 3, 8, 8)
    data = replace(raw(), train=Part(pixels, np.arange(40) % 2))
    # Recorded before there was any noise: studies of that time go on.
    golden = "ab2dcaffb30c27c438ca4f6f6a0df6c13fcfab59c3ba95a0fe9c25d3952da573"
    assert assemble("mine", data).fingerprint == golden
    assert assemble("mine", data, noise=LabelNoise(0.0, "exact", 7)).fingerprint == golden


def test_noise_has_a_seed_of_its_own() -> None:
    prints = {
        assemble("mine", raw(), noise=LabelNoise(0.5, "exact", seed)).fingerprint
        for seed in (0, 0, 1)
    }
    assert len(prints) == 2


def test_parts_of_different_shape_are_refused() -> None:
    own = Part(images(4, size=9), np.array([0, 1, 0, 1]))
    with pytest.raises(DataError, match="must have one shape"):
        assemble("mine", raw(val=own))
