"""Contract suites, importable by plug-ins."""
