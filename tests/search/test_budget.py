from __future__ import annotations

import pytest

from autoprune.core.errors import ConfigError
from autoprune.search.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("100", Budget("jobs", 100)),
        (20, Budget("jobs", 20)),
        ("90s", Budget("seconds", 90)),
        ("30m", Budget("seconds", 1800)),
        ("1.5h", Budget("seconds", 5400)),
        ("500ep", Budget("epochs", 500)),
        (" 500 ep ", Budget("epochs", 500)),
    ],
)
def test_forms(text: str | int, budget: Budget) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["0", "abc", "-5", "", "1.5", "0m", "10 jobs", "m", "1e3", "nan"])
def test_nonsense_is_refused_with_the_forms(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget must be .*such as 100"):
        parse_budget(text)


def test_time_and_epochs_keep_a_share_for_confirmation_and_jobs_do_not() -> None:
    assert parse_budget("100").for_search == 100
    assert parse_budget("500ep").for_search == pytest.approx(300)
    assert parse_budget("10m").for_search == pytest.approx(360)
