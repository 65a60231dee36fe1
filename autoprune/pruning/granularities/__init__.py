"""Which weights live and die together."""
