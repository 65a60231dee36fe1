"""The mirror of a study in MLflow: a copy of the journal, never asked by the search."""
