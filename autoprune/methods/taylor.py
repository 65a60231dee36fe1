"""Taylor pruning: remove the units that the loss misses least, to first order.

Notes
-----
# Deviation: the authors remove some units every few training batches, by scores averaged over
these, and rank all layers together (``allocation: global``). Here units go once in each round, by
the gradient of one batch on trained weights, and ``uniform`` is the default.

References
----------
P. Molchanov, A. Mallya, S. Tyree, I. Frosio, J. Kautz, "Importance Estimation for Neural Network
Pruning", CVPR 2019, arXiv 1906.10771.
"""

from __future__ import annotations

from autoprune.methods.units import unit_method

TAYLOR = unit_method("taylor", "Molchanov et al., CVPR 2019, arXiv 1906.10771", "taylor")
