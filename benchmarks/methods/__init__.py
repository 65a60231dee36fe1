"""Every method that removes single weights, on the same tasks at equal epochs.

``python -m benchmarks.methods run`` trains what is missing, ``report`` writes
``docs/results/methods.md`` and the raw rows. A run that was stopped goes on where it was.
"""
