"""Speed and memory, measured on demand: ``python -m benchmarks``; ``python -m benchmarks.gpu``.

Whatever is compared runs in turns within one process, and medians are compared, so that a busy
machine disturbs both sides alike. Each measurement is one module with one function `measure`.
"""
