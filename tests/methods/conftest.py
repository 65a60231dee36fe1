from __future__ import annotations

from autoprune.testing.methods import digits_context, digits_home
from tests.methods.normed import normed_context

__all__ = ["digits_context", "digits_home", "normed_context"]
