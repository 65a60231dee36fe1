"""Folders that provably work."""
