"""The 8x8 digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoprune.data.raw import DataSource, Part, RawData


def load(data_dir: Path | None) -> RawData:
    """Load the digits; they need no files, so `data_dir` plays no part."""
    del data_dir
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8).astype(np.float32)
    return RawData(
        train=Part(images, labels.astype(np.int64)),
        classes=tuple(map(str, range(10))),
        num_val=360,
        num_test=360,
        scale=1.0 / 16.0,
        normalise=False,
    )


SOURCE = DataSource(
    reference="Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998",
    remedy="comes with scikit-learn",
    load=load,
)
