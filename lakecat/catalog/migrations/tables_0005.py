"""The tables that revision 0005 adds, frozen: which databases were imported, and what became of each node."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

metadata: Final = sa.MetaData()
_BIG: Final = sa.BigInteger()

import_: Final = sa.Table(
    "lakecat_import",
    metadata,
    sa.Column("id", _BIG.with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("origin", sa.String(512), nullable=False, unique=True),
    sa.Column("first_ms", _BIG, nullable=False),
    sa.Column("last_ms", _BIG, nullable=False),
    sqlite_autoincrement=True,
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
import_node: Final = sa.Table(
    "lakecat_import_node",
    metadata,
    sa.Column("import_id", _BIG, sa.ForeignKey("lakecat_import.id"), primary_key=True, autoincrement=False),
    sa.Column("kind", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("source_id", _BIG, primary_key=True, autoincrement=False),
    sa.Column("target_id", _BIG, nullable=False),
    sa.Column("updated_ms", _BIG, nullable=False),
    mysql_engine="InnoDB",
    mysql_charset="utf8mb4",
)
