"""Connectors that come with lakecat, each found by its entry point ``lakecat.connectors``."""
