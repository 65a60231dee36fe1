"""AutoPrune: search over ways to prune a network, and export the best result."""

