"""An index over events by execution that holds the artifact too, so that lineage walks the index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.sql import quoted_name

revision = "0003"
down_revision = "0002"

_OLD = "idx_event_execution_id"
_NEW = "idx_event_execution"


def upgrade() -> None:
    """Make the new index, then drop the one it takes the place of; on MySQL a foreign key always needs one of them."""
    connection = op.get_bind()
    # The name is unquoted, as ML Metadata's own: PostgreSQL folds it to lower case.
    name = "event" if connection.dialect.name == "postgresql" else "Event"
    there = {index["name"] for index in sa.inspect(connection).get_indexes(name)}
    columns = [sa.Column(column, sa.BigInteger()) for column in ("execution_id", "type", "artifact_id")]
    table = sa.Table(quoted_name("Event", quote=False), sa.MetaData(), *columns)
    if _NEW not in there:
        sa.Index(_NEW, table.c.execution_id, table.c.type, table.c.artifact_id).create(connection)
    if _OLD in there:
        sa.Index(_OLD, table.c.execution_id).drop(connection)
