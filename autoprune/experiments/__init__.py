"""Ready-made studies: questions with a fixed design, run on the search's own workers."""
