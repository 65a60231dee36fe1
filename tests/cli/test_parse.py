from __future__ import annotations

import pytest

from autoprune.cli import parse
from autoprune.core.errors import ConfigError


@pytest.mark.parametrize("percent", [0.1, 1.1, 5.7, 14.3, 57.7, 99.9])
def test_a_percentage_is_the_fraction_it_says(percent: float) -> None:
    # In binary 99.9 / 100 is 0.9990000000000001: it would show in messages and miss at limits.
    shifted = f"{percent / 100:.3f}"
    assert parse.share(f"{percent}%", "--x") == parse.share(shifted, "--x") == float(shifted)


@pytest.mark.parametrize("text", ["nan", "snan", "inf", "1e999", "-0.1", "101%", "%", "", "1 %%"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--x must be a share in \[0, 1\]"):
        parse.share(text, "--x")


def test_settings_are_read_as_in_a_space_file() -> None:
    # YAML 1.1 would make 124 of 2:4 and a word of 5e-4.
    pairs = ["granularity=2:4", "wide=63:64", "lr.peak=5e-4", "rounds=3", "rewind=step:0.1"]
    assert list(parse.settings(pairs).values()) == ["2:4", "63:64", 5e-4, 3, "step:0.1"]
