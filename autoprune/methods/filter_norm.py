"""Filter norms: remove the filters whose weights are smallest, by their l1- or their l2-norm.

Notes
-----
# Deviation: the paper sets a rate per stage by hand, skips layers that it found sensitive, and in a
residual block prunes the inner convolution only. Here an allocation sets the rates, and residual
streams are pruned where they can be.

References
----------
H. Li, A. Kadav, I. Durdanovic, H. Samet, H. P. Graf, "Pruning Filters for Efficient ConvNets",
ICLR 2017, arXiv 1608.08710.
"""

from __future__ import annotations

from autoprune.methods.units import unit_method

REFERENCE = "Li et al., ICLR 2017, arXiv 1608.08710"

FILTER_L1 = unit_method("filter_l1", REFERENCE, "filter_l1")
FILTER_L2 = unit_method("filter_l2", f"{REFERENCE} (l2-norm)", "filter_l2")
