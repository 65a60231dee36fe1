"""``python -m autoprune`` is the command ``autoprune``."""

from __future__ import annotations

from autoprune.cli.main import main

if __name__ == "__main__":
    main()
