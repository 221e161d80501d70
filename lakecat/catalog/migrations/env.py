"""Alembic's entry: it runs on the connection, and in the transaction, that ``lakecat.catalog.migrate`` opened."""

from alembic import context

from lakecat.catalog.schema import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
with context.begin_transaction():
    context.run_migrations()
