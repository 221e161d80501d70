"""Writing ML Metadata's rows: types, contexts, artifacts, properties, events; in bulk and without an ORM.

Names and encodings are those of ``ml-metadata`` 1.17.1: integer enums, properties typed by column.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from lakecat.catalog import schema as s
from lakecat.catalog.enums import ArtifactState, EventType, PropertyType, TypeKind
from lakecat.types import ExecutionType, Json

CHUNK: Final = 400
"""Values in one IN list: SQLite's oldest limit is 999 parameters."""


DATASET: Final = "lakecat.Dataset"
JOB: Final = "lakecat.Job"
PROJECT: Final = "lakecat.Project"
TABLE_VERSION: Final = "lakecat.TableVersion"
SCHEMA: Final = "lakecat.Schema"
SOURCE: Final = "lakecat.Source"
SCRIPT: Final = "lakecat.Script"
OPENLINEAGE_RUN: Final = "openlineage.Run"
"""The type of another program's runs; the module of the others is only loaded by who walks their lineage."""

_S, _I = PropertyType.STRING, PropertyType.INT
_EXECUTION: Final = {"uuid": _S, "job": _S, "run_key": _S, "host": _S, "pid": _I, "user": _S, "command": _S,
                     "git_commit": _S, "error": _S}  # fmt: skip
TYPES: Final[Mapping[tuple[str, TypeKind], Mapping[str, PropertyType]]] = {
    **{(kind.value, TypeKind.EXECUTION): _EXECUTION for kind in ExecutionType},
    (DATASET, TypeKind.CONTEXT): {},
    (JOB, TypeKind.CONTEXT): {},
    (PROJECT, TypeKind.CONTEXT): {},
    (TABLE_VERSION, TypeKind.ARTIFACT): {
        "dataset": _S, "version": _I, "snapshot_id": _I, "operation": _S, "rows": _I, "added_rows": _I,
        "removed_rows": _I, "files": _I, "bytes": _I, "schema": _S,
    },
    (SCHEMA, TypeKind.ARTIFACT): {"columns": _S},
    (SOURCE, TypeKind.ARTIFACT): {"rows": _I, "bytes": _I},
    (SCRIPT, TypeKind.ARTIFACT): {"sha256": _S, "text": _S, "dialect": _S},
}  # fmt: skip
MLMD_SIMPLE_TYPES: Final = (
    *((f"mlmd.{name}", TypeKind.ARTIFACT) for name in ("Dataset", "Model", "Metrics", "Statistics")),
    *((f"mlmd.{name}", TypeKind.EXECUTION) for name in ("Train", "Transform", "Process", "Evaluate", "Deploy")),
)


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """An artifact to be written; ``name`` is unique within its type."""

    type: str
    name: str
    uri: str | None
    properties: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event to be written; ``role`` becomes its path."""

    artifact_id: int
    type: EventType
    role: str


def insert_absent(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose keys are not there yet; waits for others inserting the same, then leaves theirs."""
    if not rows:
        return
    backend = connection.dialect.name
    if backend == "mysql":
        statement = mysql.insert(table)
        key = next(iter(table.primary_key.columns))
        # Assigning a key column to itself is MySQL's "do nothing"; INSERT IGNORE would hide other errors too.
        connection.execute(statement.on_duplicate_key_update({key.name: key}), rows)
    elif backend == "postgresql":
        connection.execute(postgresql.insert(table).inline().on_conflict_do_nothing(), rows)
    else:
        connection.execute(sqlite.insert(table).on_conflict_do_nothing(), rows)


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows, or overwrite those with the same primary key."""
    if not rows:
        return
    keys = [column.name for column in table.primary_key.columns]
    others = [name for name in rows[0] if name not in keys]
    if connection.dialect.name == "mysql":
        statement = mysql.insert(table)
        connection.execute(statement.on_duplicate_key_update({n: statement.inserted[n] for n in others}), rows)
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    portable = insert(table)
    connection.execute(
        portable.on_conflict_do_update(index_elements=keys, set_={n: portable.excluded[n] for n in others}), rows
    )


def insert_one(connection: sa.Connection, table: sa.Table, row: Mapping[str, Any]) -> int:
    """Insert a row; its ``id``."""
    made: Any = connection.execute(sa.insert(table).values(**row)).inserted_primary_key
    return int(made[0])


def chunks(values: Iterable[str]) -> Iterable[list[str]]:
    """The distinct values in order, in lists of at most ``CHUNK``."""
    ordered = sorted(set(values))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def load_type_ids(connection: sa.Connection) -> dict[str, int]:
    """The ids of lakecat's types, by name."""
    rows = connection.execute(
        sa.select(s.type_.c.name, s.type_.c.id)
        .where(s.type_.c.name.in_([name for name, _ in TYPES]), s.type_.c.version.is_(None))
        .order_by(s.type_.c.id.desc())
    )
    return {name: type_id for name, type_id in rows}  # noqa: C416 - rows are no tuples to the type checker


def ensure_contexts(
    connection: sa.Connection, wanted: Iterable[tuple[int, str]], now: int
) -> dict[tuple[int, str], int]:
    """The ids of the contexts with these type ids and names, made where they are missing."""
    keys = sorted(set(wanted))
    found = _find_contexts(connection, keys)
    missing = [key for key in keys if key not in found]
    if missing:
        rows = [{"type_id": type_id, "name": name, **_stamps(now)} for type_id, name in missing]
        insert_absent(connection, s.context, rows)
        found |= _find_contexts(connection, missing)
    return found


def _find_contexts(connection: sa.Connection, keys: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
    table, found = s.context, dict[tuple[int, str], int]()
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        named = (
            sa.and_(table.c.type_id == kind, table.c.name.in_([name for own, name in part if own == kind]))
            for kind in sorted({own for own, _ in part})
        )
        rows = connection.execute(sa.select(table.c.type_id, table.c.name, table.c.id).where(sa.or_(*named)))
        found.update(((type_id, name), key) for type_id, name, key in rows)
    return found


def find_named(connection: sa.Connection, table: sa.Table, type_id: int, names: Iterable[str]) -> dict[str, int]:
    """The ids of the artifacts or contexts of one type with these names."""
    found: dict[str, int] = {}
    for part in chunks(names):
        rows = connection.execute(
            sa.select(table.c.name, table.c.id).where(table.c.type_id == type_id, table.c.name.in_(part))
        )
        found.update((name, key) for name, key in rows)
    return found


def ensure_artifacts(
    connection: sa.Connection, types: Mapping[str, int], artifacts: Sequence[NewArtifact], now: int
) -> dict[str, int]:
    """The ids of these artifacts (all of one type), made with their properties where they are missing."""
    if not artifacts:
        return {}
    type_id = types[artifacts[0].type]
    found = find_named(connection, s.artifact, type_id, (a.name for a in artifacts))
    fresh = sorted({a.name: a for a in artifacts if a.name not in found}.values(), key=lambda a: a.name)
    if fresh:
        insert_absent(connection, s.artifact, [_artifact_row(a, types, now) for a in fresh])
        found |= find_named(connection, s.artifact, type_id, (a.name for a in fresh))
        insert_absent(connection, s.artifact_property, _artifact_properties(fresh, found))
    return found


def add_artifacts(
    connection: sa.Connection, types: Mapping[str, int], artifacts: Sequence[NewArtifact], now: int
) -> tuple[dict[tuple[str, str], int], list[dict[str, Any]]]:
    """The ids by type and name of artifacts that are most likely new, made where missing.

    Their properties are the rows beside them, for the caller to insert into ``artifact_property`` where absent.
    """
    wanted = {(types[a.type], a.name): a for a in artifacts}
    if not wanted:
        return {}, []
    # In one order for everybody, so that none waits for another in a circle.
    rows = [_artifact_row(wanted[key], types, now) for key in sorted(wanted)]
    made: dict[tuple[int, str], int] = {}
    if connection.dialect.insert_returning:
        made = _insert_returning(connection, rows)
        fresh = {key: wanted[key] for key in made}
    else:
        insert_absent(connection, s.artifact, rows)
        fresh = wanted
    for type_id in sorted({type_id for type_id, _ in wanted.keys() - made.keys()}):
        names = [name for kind, name in wanted if kind == type_id and (kind, name) not in made]
        made.update({(type_id, n): i for n, i in find_named(connection, s.artifact, type_id, names).items()})
    properties = [row for key, a in sorted(fresh.items()) for row in _artifact_properties([a], {a.name: made[key]})]
    return {(a.type, a.name): made[key] for key, a in wanted.items()}, properties


def _insert_returning(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[int, str], int]:
    """Insert artifacts that are not there yet; the ids of those that were made (on MariaDB of the others too)."""
    table, backend = s.artifact, connection.dialect.name
    statement: Any
    if backend == "mysql":
        statement = mysql.insert(table).on_duplicate_key_update({"type_id": table.c.type_id})
    else:
        insert = postgresql.insert if backend == "postgresql" else sqlite.insert
        statement = insert(table).on_conflict_do_nothing()
    result = connection.execute(statement.returning(table.c.type_id, table.c.name, table.c.id), rows)
    return {(type_id, name): key for type_id, name, key in result}


def _artifact_properties(artifacts: Sequence[NewArtifact], ids: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        row
        for a in artifacts
        for row in property_rows("artifact_id", ids[a.name], a.properties, TYPES[a.type, TypeKind.ARTIFACT].keys())
    ]


def property_rows(
    key: str, owner: int, properties: Mapping[str, Json], declared: AbstractSet[str]
) -> list[dict[str, Any]]:
    """Rows for a property table; lists, objects and integers beyond 64 bits are kept as JSON text."""
    rows = []
    for name, value in properties.items():
        if value is None:
            continue
        row: dict[str, Any] = {
            key: owner, "name": name, "is_custom_property": name not in declared, "int_value": None,
            "double_value": None, "string_value": None, "bool_value": None,
        }  # fmt: skip
        if isinstance(value, bool):
            row["bool_value"] = value
        elif isinstance(value, int) and -(2**63) <= value < 2**63:
            row["int_value"] = value
        elif isinstance(value, float):
            row["double_value"] = value
        else:
            row["string_value"] = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
        rows.append(row)
    return rows


_PATH_OF_EVENT: Final = sa.insert(s.event_path).values(
    event_id=sa.select(s.event.c.id)
    .where(*(s.event.c[name] == sa.bindparam(name) for name in ("artifact_id", "execution_id", "type")))
    .scalar_subquery(),
    is_index_step=False,
    step_key=sa.bindparam("role"),
)


def insert_events(connection: sa.Connection, execution_id: int, events: Sequence[NewEvent], now: int) -> None:
    """Insert events with their paths; of two events with the same artifact and type the first stays."""
    unique = {(e.artifact_id, e.type): e for e in reversed(events)}
    if not unique:
        return
    table = s.event
    rows = [
        {"artifact_id": a, "execution_id": execution_id, "type": int(t), "milliseconds_since_epoch": now}
        for a, t in unique
    ]
    if connection.dialect.driver == "psycopg":  # which sends both at once, so no answer is waited for
        connection.execute(sa.insert(table).inline(), rows)
        roles = [{**row, "role": event.role} for row, event in zip(rows, unique.values(), strict=True)]
        connection.execute(_PATH_OF_EVENT, roles)
        return
    columns = (table.c.id, table.c.artifact_id, table.c.type)
    if connection.dialect.insert_returning:
        made = connection.execute(sa.insert(table).returning(*columns), rows).all()
    else:
        connection.execute(sa.insert(table), rows)
        made = connection.execute(sa.select(*columns).where(table.c.execution_id == execution_id)).all()
    paths = [
        {"event_id": key, "is_index_step": False, "step_key": unique[artifact_id, EventType(kind)].role}
        for key, artifact_id, kind in made
        if (artifact_id, kind) in unique
    ]
    connection.execute(sa.insert(s.event_path), paths)


def insert_attributions(connection: sa.Connection, pairs: Iterable[tuple[int, int]]) -> None:
    """Attribute artifacts to contexts: (context id, artifact id)."""
    insert_absent(connection, s.attribution, [{"context_id": c, "artifact_id": a} for c, a in sorted(set(pairs))])


def _artifact_row(artifact: NewArtifact, types: Mapping[str, int], now: int) -> dict[str, Any]:
    return {
        "type_id": types[artifact.type], "name": artifact.name, "uri": artifact.uri, "state": int(ArtifactState.LIVE),
        **_stamps(now),
    }  # fmt: skip


def _stamps(now: int) -> dict[str, int]:
    return {"create_time_since_epoch": now, "last_update_time_since_epoch": now}
