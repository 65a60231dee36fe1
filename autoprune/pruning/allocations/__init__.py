"""Allocations: how many units each layer keeps."""
