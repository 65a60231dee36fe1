"""The search engine against its rivals, live, on real training.

``python -m benchmarks.rivals run`` lets every arm search until it has been charged its epochs,
and goes on where it was when it was stopped; ``report`` writes ``docs/results/search.md``, its
picture and, with ``--json``, the numbers. ``run --plan`` only says what is missing;
``run --rungs N`` measures how well short runs order long ones.
"""
