"""When a version expired, and when its files were removed: what garbage collection goes by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from lakecat.catalog.database import now_ms

revision = "0002"
down_revision = "0001"

_TABLE = "lakecat_version"


def upgrade() -> None:
    """Add both times; what has expired before counts as expired now."""
    connection = op.get_bind()
    # MySQL commits at each DDL statement: an interrupted run may have made one of them.
    there = {column["name"] for column in sa.inspect(connection).get_columns(_TABLE)}
    for name in ("expired_ms", "collected_ms"):
        if name not in there:
            op.add_column(_TABLE, sa.Column(name, sa.BigInteger()))
    table = sa.table(_TABLE, sa.column("expired", sa.Boolean()), sa.column("expired_ms", sa.BigInteger()))
    connection.execute(
        sa.update(table).where(table.c.expired, table.c.expired_ms.is_(None)).values(expired_ms=now_ms())
    )
