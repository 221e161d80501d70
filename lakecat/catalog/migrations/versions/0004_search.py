"""Annotations of datasets and columns, tags of versions with their history, and the search index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0004 as t

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables and their indexes; ``lakecat.catalog.migrate`` fills the search index afterwards."""
    connection = op.get_bind()
    if connection.dialect.name == "mysql":
        collation = start.byte_collation(connection)
        for table in t.NEW:
            table.kwargs["mysql_collate"] = collation
        # MySQL commits at each DDL statement. What an interrupted run left holds nothing yet.
        t.metadata.drop_all(connection, tables=list(t.NEW))
    t.metadata.create_all(connection, tables=list(t.NEW))
    if connection.dialect.name == "postgresql":
        for index in t.POSTGRESQL_INDEXES[1:]:
            index.create(connection, checkfirst=True)
    elif connection.dialect.name == "sqlite" and _has_fts5(connection):
        for statement in t.SQLITE_FULLTEXT:
            connection.exec_driver_sql(statement)


def _has_fts5(connection: sa.Connection) -> bool:
    query = "SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"
    return connection.exec_driver_sql(query).first() is not None
