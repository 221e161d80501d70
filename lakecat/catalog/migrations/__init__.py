"""Alembic migrations of the catalog, run by ``lakecat.catalog.migrate``."""
