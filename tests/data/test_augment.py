from __future__ import annotations

import torch

from autoprune.core.seeds import torch_stream
from autoprune.data.augment import random_crop_flip


def test_every_image_is_a_shifted_or_mirrored_window_on_black() -> None:
    inputs = torch.arange(1.0, 1 + 64 * 2 * 8 * 8).reshape(64, 2, 8, 8)
    black = torch.tensor([-1.0, -2.0]).reshape(2, 1, 1)
    before = inputs.clone()
    found = random_crop_flip(inputs, black, torch_stream(0, "a"))
    assert torch.equal(inputs, before)
    shifts, mirrored = set(), 0
    for image, result in zip(inputs, found, strict=True):
        canvas = black.expand(2, 10, 10).clone()
        canvas[:, 1:9, 1:9] = image  # a side of 8 is padded by 8 // 8 = 1
        matches = [
            (down, right, flip)
            for down in range(3)
            for right in range(3)
            for flip in (False, True)
            if torch.equal(
                canvas[:, down : down + 8, right : right + 8].flip(2)
                if flip
                else canvas[:, down : down + 8, right : right + 8],
                result,
            )
        ]
        assert len(matches) == 1
        shifts.add(matches[0][:2])
        mirrored += matches[0][2]
    assert len(shifts) == 9
    # 64 fair coins: 32 +- 4 standard deviations of 4.
    assert 16 <= mirrored <= 48


def test_it_draws_from_its_generator_only() -> None:
    inputs = torch.rand(8, 3, 8, 8, generator=torch_stream(1))
    black = torch.zeros(3, 1, 1)
    state = torch.get_rng_state()
    first = random_crop_flip(inputs, black, torch_stream(0, "a"))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, random_crop_flip(inputs, black, torch_stream(0, "a")))
    assert not torch.equal(first, random_crop_flip(inputs, black, torch_stream(0, "b")))
