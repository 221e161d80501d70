"""What a catalog of revision 0001 starts with beside its tables: types, settings, a collation. Frozen, as those are."""

from __future__ import annotations

from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog.migrations import tables_0001 as t
from lakecat.errors import CatalogVersionError

SCHEMA_VERSION: Final = 10
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


def insert_rows(connection: sa.Connection, catalog_uuid: str) -> None:
    """Insert the types and settings that are not there; an adopted database has MLMD's already."""
    for name, kind in (*_MLMD_TYPES, *_TYPES):
        _ensure_type(connection, name, kind, _TYPES.get((name, kind), {}))
    there = set(connection.execute(sa.select(t.setting.c.name)).scalars())
    settings = {"catalog_uuid": catalog_uuid, "min_writer_version": "1", "high_water_mark": "0"}
    missing = [{"name": name, "value": value} for name, value in settings.items() if name not in there]
    if missing:
        connection.execute(sa.insert(t.setting), missing)


def _ensure_type(connection: sa.Connection, name: str, kind: int, properties: dict[str, int]) -> None:
    mine = (t.type_.c.name == name, t.type_.c.type_kind == kind, t.type_.c.version.is_(None))
    type_id = connection.execute(sa.select(sa.func.min(t.type_.c.id)).where(*mine)).scalar_one_or_none()
    if type_id is None:
        made: Any = connection.execute(sa.insert(t.type_).values(name=name, type_kind=kind)).inserted_primary_key
        type_id = made[0]
    known = sa.select(t.type_property.c.name, t.type_property.c.data_type).where(t.type_property.c.type_id == type_id)
    there: dict[str, int] = {row.name: row.data_type for row in connection.execute(known)}
    for key, data_type in properties.items():
        if there.get(key, data_type) != data_type:
            raise CatalogVersionError(
                f"the type {name} is there already, and its property {key} has another type",
                hint="lakecat's own types begin with lakecat.; rename that type first",
            )
    rows = [{"type_id": type_id, "name": key, "data_type": properties[key]} for key in properties if key not in there]
    if rows:
        connection.execute(sa.insert(t.type_property), rows)


def byte_collation(connection: sa.Connection) -> str:
    """MySQL's collation that tells names apart by every byte; ``utf8mb4_bin`` takes ``a`` and ``a `` for the same.

    Raises CatalogVersionError where the server has none.
    """
    names = ("utf8mb4_nopad_bin", "utf8mb4_0900_bin")  # MariaDB's, MySQL's
    collations = sa.table("collations", sa.column("collation_name"), schema="information_schema")
    known: str | None = connection.execute(
        sa.select(collations.c.collation_name).where(collations.c.collation_name.in_(names))
    ).scalar()
    if known is None:
        raise CatalogVersionError(
            "the server has no collation that compares names byte by byte",
            hint="MariaDB from 10.3 on and MySQL from 8.0.17 on have one",
        )
    return known
