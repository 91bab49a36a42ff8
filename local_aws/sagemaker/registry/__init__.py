"""Model package groups and model packages."""
