"""The 8x8 digits that come with scikit-learn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from autoprune.core.errors import DataError
from autoprune.data.raw import DataSource, Part, RawData


def load(data_dir: Path | None) -> RawData:
    """Load the digits; they need no files of the user's, so `data_dir` plays no part.

    The file is read where scikit-learn is installed, without importing it, which takes seconds.

    Raises
    ------
    DataError
        If scikit-learn does not bring the file.
    """
    del data_dir
    found = find_spec("sklearn")
    folder = Path(next(iter((found and found.submodule_search_locations) or [""])))
    path = folder / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise DataError("data digits", f"must lie at {path}", remedy="reinstall scikit-learn")
    table = np.loadtxt(path, delimiter=",", dtype=np.float32)
    return RawData(
        train=Part(table[:, :-1].reshape(-1, 1, 8, 8), table[:, -1].astype(np.int64)),
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
