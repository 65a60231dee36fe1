"""The nodes of a plan, and the store that makes done work free."""
