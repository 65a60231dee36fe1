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
