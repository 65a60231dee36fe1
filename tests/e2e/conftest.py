from __future__ import annotations

import pytest

from tests.cli.conftest import _plain_environment  # noqa: F401 - a fixture
from tests.cli.support import succeed, write_space
from tests.e2e.support import Studied


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """A small search that ran to its end, inline."""
    folder = tmp_path_factory.mktemp("studied")
    space, home = write_space(folder), folder / "home"
    done = succeed(
        *("search", space, "--budget", "6", "--confirm-seeds", "2", "--executor", "inline"),
        *("--home", home, "--json"),
    )
    return Studied(home, space, done)
