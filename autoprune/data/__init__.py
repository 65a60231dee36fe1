"""Data sets, splits and task files."""
