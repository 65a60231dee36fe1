from __future__ import annotations

from autoprune.testing.methods import digits_context, digits_home

__all__ = ["digits_context", "digits_home"]
