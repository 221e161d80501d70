"""What was imported from other databases, so that the next import adds only what is new."""

from __future__ import annotations

from alembic import op

from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0005 as t

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make both tables."""
    connection = op.get_bind()
    if connection.dialect.name == "mysql":
        collation = start.byte_collation(connection)
        for table in t.metadata.tables.values():
            table.kwargs["mysql_collate"] = collation
        # MySQL commits at each DDL statement. What an interrupted run left holds nothing yet.
        t.metadata.drop_all(connection)
    t.metadata.create_all(connection)
