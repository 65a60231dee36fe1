"""Recipes: what can be switched on for retraining."""
