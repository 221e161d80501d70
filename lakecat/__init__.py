"""Lakecat."""
