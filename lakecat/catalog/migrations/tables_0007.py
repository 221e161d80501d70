"""The table that revision 0007 adds, frozen: which inputs of an execution went to which of its outputs."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.sql import quoted_name

metadata: Final = sa.MetaData()

_ID: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# As far as foreign keys need them.
for _name in ("Artifact", "Execution"):
    sa.Table(quoted_name(_name, quote=False), metadata, sa.Column("id", _ID, primary_key=True))

dataset_edge: Final = sa.Table(
    quoted_name("lakecat_dataset_edge", quote=False),
    metadata,
    sa.Column("id", _ID, primary_key=True, autoincrement=True),
    sa.Column("execution_id", sa.BigInteger, sa.ForeignKey("Execution.id"), nullable=False),
    sa.Column("input_artifact_id", sa.BigInteger, sa.ForeignKey("Artifact.id"), nullable=False, index=True),
    sa.Column("output_artifact_id", sa.BigInteger, sa.ForeignKey("Artifact.id"), index=True),
    sa.Index("idx_lakecat_dataset_edge", "execution_id", "input_artifact_id", "output_artifact_id"),
    sqlite_autoincrement=True,
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
