"""Signals: what scores need to know of a model beyond its weights."""
