"""Sparsity schedules: how much is gone at which progress."""
