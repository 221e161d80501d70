"""Indexes for questions by time, type and output, so that they cost what they find and not what the catalog holds."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_INDEXES: Final = (
    ("idx_lakecat_execution_started", "lakecat_execution", ("started_ms", "execution_id")),
    ("idx_lakecat_execution_state_started", "lakecat_execution", ("state", "started_ms", "execution_id")),
    ("idx_lakecat_execution_type", "lakecat_execution", ("type", "execution_id")),
    ("idx_lakecat_version_committed", "lakecat_version", ("committed_ms",)),
    ("idx_lakecat_column_edge_output", "lakecat_column_edge", ("output_dataset",)),
)


def upgrade() -> None:
    """Make each index that is not there: MySQL commits at each DDL statement, so some may have been made before."""
    inspector = sa.inspect(op.get_bind())
    for name, table, columns in _INDEXES:
        if name not in {index["name"] for index in inspector.get_indexes(table)}:
            op.create_index(name, table, list(columns))
