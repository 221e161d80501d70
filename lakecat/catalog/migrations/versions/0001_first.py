"""The first schema: ML Metadata's tables (version 10), PyIceberg's, lakecat's; and the rows they start with."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0001 as t

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make every table, and the rows that a catalog starts with."""
    connection = op.get_bind()
    if connection.dialect.name == "mysql":
        collation = start.byte_collation(connection)
        for table in t.metadata.tables.values():
            table.kwargs["mysql_collate"] = collation
        # What an interrupted run left: without a revision there is nothing in it. A database of ML Metadata's, and
        # one whose adoption was interrupted, have their row in MLMDEnv, and never come here.
        t.metadata.drop_all(connection)
    t.metadata.create_all(connection)
    connection.execute(sa.insert(t.mlmd_env).values(schema_version=start.SCHEMA_VERSION))
    start.insert_rows(connection, context.config.attributes["catalog_uuid"])
