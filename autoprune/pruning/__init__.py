"""Scores, allocations, granularities and the masks they make."""
