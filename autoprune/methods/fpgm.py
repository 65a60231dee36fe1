"""FPGM: remove the filters nearest to the geometric median of their layer.

Such a filter is replaceable by the others, however large it is.

Notes
-----
# Deviation: the authors choose anew after every epoch of the training, and let what they set to
zero grow back until the last one. Here a choice is final, once in each round.

References
----------
Y. He, P. Liu, Z. Wang, Z. Hu, Y. Yang, "Filter Pruning via Geometric Median for Deep Convolutional
Neural Networks Acceleration", CVPR 2019, arXiv 1811.00250.
"""

from __future__ import annotations

from autoprune.methods.units import unit_method

FPGM = unit_method("fpgm", "He et al., CVPR 2019, arXiv 1811.00250", "fpgm")
