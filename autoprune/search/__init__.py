"""The engine, its strategies, the journal and what is made of it."""
