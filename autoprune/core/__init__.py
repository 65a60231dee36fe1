"""Configurations, records, seeds, errors and registries; torch-free at import."""
