from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.core.canonical import canonical_json, digest, file_sha256, plain


@dataclass(frozen=True)
class Point:
    x: float
    names: tuple[str, ...] = ()


def test_json_is_canonical() -> None:
    assert canonical_json({"b": (1, 2.0), "a": Point(0.5, ("n",))}) == (
        '{"a":{"names":["n"],"x":0.5},"b":[1,2.0]}'
    )
    assert canonical_json({"s": {3, 1, 2}}) == '{"s":[1,2,3]}'


def test_plain_leaves_classes_alone() -> None:
    assert plain(Point) is Point


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_lacks_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json([value])


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_order_does_not_enter(mapping: dict[str, float]) -> None:
    turned = dict(reversed(list(mapping.items())))
    assert digest(mapping) == digest(turned)


def test_a_digest_is_sha256() -> None:
    # echo -n '{"a":1}' | sha256sum
    assert digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"


def test_files_are_hashed_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")  # the example of FIPS 180-2, appendix B.1
    assert file_sha256(tmp_path / "f") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
