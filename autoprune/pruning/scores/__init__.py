"""Scores: who matters; higher = keep."""
