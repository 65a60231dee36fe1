"""Searches that are killed, torn, starved of disk and robbed of files, and resumed.

``python -m benchmarks.kill`` kills one three times; ``--long`` does all of it.
"""
