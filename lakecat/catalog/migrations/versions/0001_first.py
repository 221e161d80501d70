"""The first schema: ML Metadata's tables (version 10), PyIceberg's, lakecat's; and the rows they start with."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

from lakecat.catalog.migrations import tables_0001 as t
from lakecat.errors import CatalogVersionError

revision = "0001"
down_revision = None

_EXECUTION, _ARTIFACT, _CONTEXT = 0, 1, 2
_INT, _STRING = 1, 3
_MLMD_TYPES = (
    *((f"mlmd.{name}", _ARTIFACT) for name in ("Dataset", "Model", "Metrics", "Statistics")),
    *((f"mlmd.{name}", _EXECUTION) for name in ("Train", "Transform", "Process", "Evaluate", "Deploy")),
)
_OF_EXECUTIONS = {
    "uuid": _STRING, "job": _STRING, "run_key": _STRING, "host": _STRING, "pid": _INT, "user": _STRING,
    "command": _STRING, "git_commit": _STRING, "error": _STRING,
}  # fmt: skip
_TYPES = {
    ("lakecat.Ingest", _EXECUTION): _OF_EXECUTIONS,
    ("lakecat.Transform", _EXECUTION): _OF_EXECUTIONS,
    ("lakecat.Maintenance", _EXECUTION): _OF_EXECUTIONS,
    ("lakecat.External", _EXECUTION): _OF_EXECUTIONS,
    ("lakecat.Dataset", _CONTEXT): {},
    ("lakecat.Job", _CONTEXT): {},
    ("lakecat.Project", _CONTEXT): {},
    ("lakecat.TableVersion", _ARTIFACT): {
        "dataset": _STRING, "version": _INT, "snapshot_id": _INT, "operation": _STRING, "rows": _INT,
        "added_rows": _INT, "removed_rows": _INT, "files": _INT, "bytes": _INT, "schema": _STRING,
    },
    ("lakecat.Schema", _ARTIFACT): {"columns": _STRING},
    ("lakecat.Source", _ARTIFACT): {"rows": _INT, "bytes": _INT},
    ("lakecat.Script", _ARTIFACT): {"sha256": _STRING, "text": _STRING, "dialect": _STRING},
}  # fmt: skip


def upgrade() -> None:
    """Make every table, and the rows that a catalog starts with."""
    connection = op.get_bind()
    if connection.dialect.name == "mysql":
        _compare_bytes(connection)
        # What an interrupted run left: without a revision there is nothing in it.
        t.metadata.drop_all(connection)
    t.metadata.create_all(connection)
    connection.execute(sa.insert(t.mlmd_env).values(schema_version=10))
    for name, kind in (*_MLMD_TYPES, *_TYPES):
        made: Any = connection.execute(sa.insert(t.type_).values(name=name, type_kind=kind)).inserted_primary_key
        rows = [
            {"type_id": made[0], "name": key, "data_type": data_type}
            for key, data_type in _TYPES.get((name, kind), {}).items()
        ]
        if rows:
            connection.execute(sa.insert(t.type_property), rows)
    settings = {
        "catalog_uuid": context.config.attributes["catalog_uuid"], "min_writer_version": "1", "high_water_mark": "0"
    }  # fmt: skip
    connection.execute(sa.insert(t.setting), [{"name": k, "value": v} for k, v in settings.items()])


def _compare_bytes(connection: sa.Connection) -> None:
    """Choose a collation that tells names apart by every byte; ``utf8mb4_bin`` takes ``a`` and ``a `` for the same."""
    names = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin")  # MariaDB's, MySQL's
    collations = sa.table("collations", sa.column("collation_name"), schema="information_schema")
    known = connection.execute(
        sa.select(collations.c.collation_name).where(collations.c.collation_name.in_(names))
    ).scalar()
    if known is None:
        raise CatalogVersionError(
            "the server has no collation that compares names byte by byte",
            hint="MariaDB from 10.3 on and MySQL from 8.0.17 on have one",
        )
    for table in t.metadata.tables.values():
        table.kwargs["mysql_collate"] = known
