"""Learning-rate schedules of a retraining cycle."""
