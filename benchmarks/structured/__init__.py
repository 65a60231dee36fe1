"""Methods that remove whole units or rank: accuracy, size and latency at equal multiply-adds.

``python -m benchmarks.structured run`` does what is missing, ``report`` writes
``docs/results/structured.md``, its picture and its numbers. A run that was stopped goes on where
it was; ``run --plan`` only says what it would cost.
"""
