"""The one loop, its hooks, learning-rate schedules and recipes."""
