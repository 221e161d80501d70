"""Which inputs of an execution went to which of its outputs, where not all did; and an index over run keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lakecat.catalog.migrations import start_0001 as start
from lakecat.catalog.migrations import tables_0007 as t

revision = "0007"
down_revision = "0006"

_INDEX = "idx_lakecat_execution_run_key"


def upgrade() -> None:
    """Make the table and the index, where they are not there: MySQL commits at each DDL statement."""
    connection = op.get_bind()
    if connection.dialect.name == "mysql":
        t.dataset_edge.kwargs["mysql_collate"] = start.byte_collation(connection)
        # What an interrupted run left holds nothing yet.
        t.dataset_edge.drop(connection, checkfirst=True)
    t.dataset_edge.create(connection)
    if _INDEX not in {index["name"] for index in sa.inspect(connection).get_indexes("lakecat_execution")}:
        op.create_index(_INDEX, "lakecat_execution", ["run_key"])
