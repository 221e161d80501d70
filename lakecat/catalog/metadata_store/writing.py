"""Writing what batches became: ids, nodes, properties."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from lakecat.catalog import schema as s
from lakecat.catalog.metadata_store import codec
from lakecat.catalog.metadata_store.batch import Batch
from lakecat.catalog.metadata_store.codec import Encoded
from lakecat.catalog.metadata_store.kinds import KINDS, Kind
from lakecat.catalog.metadata_store.rows import PROPERTY_COLUMNS, Row
from lakecat.catalog.metadata_store.session import Change, Insert, Parameters, Query, Session

_COUNTED: Final = (*(kind.table for kind in KINDS), s.event)
_SEQUENCE: Final = sa.table("sqlite_sequence", sa.column("name", sa.Text), sa.column("seq", sa.BigInteger))


def _columns(kind: Kind) -> tuple[str, ...]:
    state = () if kind.state_column is None else (kind.state_column,)
    uri = ("uri",) if kind.has_uri else ()
    return ("type_id", "name", "external_id", *uri, *state, "create_time_since_epoch", "last_update_time_since_epoch")


def _updated(kind: Kind) -> tuple[str, ...]:
    state = () if kind.state_column is None else (kind.state_column,)
    uri = ("uri",) if kind.has_uri else ()
    return ("name", "external_id", *uri, *state, "last_update_time_since_epoch", "id")


def _next(table: sa.Table) -> Query:
    numbers = sa.func.generate_series(1, sa.bindparam("count", type_=sa.BigInteger)).table_valued("n")
    sequence = sa.func.pg_get_serial_sequence(str(table.name).lower(), "id")
    return Query(lambda _backend: sa.select(sa.func.nextval(sequence)).select_from(numbers))


def _last(table: sa.Table) -> sa.ColumnElement[int]:
    last = sa.select(_SEQUENCE.c.seq).where(_SEQUENCE.c.name == str(table.name)).scalar_subquery()
    most = sa.select(sa.func.max(table.c.id)).scalar_subquery()
    return sa.func.coalesce(last, most, sa.literal_column("0"))


_NEXT: Final = {str(table.name): _next(table) for table in _COUNTED}
"""Ids of a table, on PostgreSQL."""
_LAST: Final = Query(lambda _backend: sa.select(*(_last(table) for table in _COUNTED)))
"""The last ids of all tables, on SQLite."""
_PLACES: Final = {str(table.name): place for place, table in enumerate(_COUNTED)}
INSERT_NODES: Final = {kind.name: Insert(kind.table, ("id", *_columns(kind))) for kind in KINDS}
INSERT_COUNTED: Final = {kind.name: Insert(kind.table, _columns(kind)) for kind in KINDS}
UPDATE_NODES: Final = {kind.name: Change(kind.table, _updated(kind), ("id",)) for kind in KINDS}
INSERT_PROPERTIES: Final = {
    kind.name: Insert(kind.properties, (kind.key, *PROPERTY_COLUMNS), conflict="replace") for kind in KINDS
}
DELETE_PROPERTIES: Final = {
    kind.name: Change(
        kind.properties,
        (kind.key, "name", "is_custom_property"),
        (kind.key, "name", "is_custom_property"),
        delete=True,
    )
    for kind in KINDS
}


def reserve(session: Session, counts: Mapping[str, int]) -> list[tuple[Query, Parameters]]:
    """The queries that reserve ids in these tables; give the answers to ``reserved``. None on MySQL."""
    if session.backend == "sqlite":
        return [(_LAST, {})] if any(counts.values()) else []
    if session.backend == "mysql":
        return []
    return [(_NEXT[table], {"count": count}) for table, count in counts.items() if count]


def reserved(session: Session, counts: Mapping[str, int], answers: Sequence[Any]) -> dict[str, list[int]]:
    """The ids that were reserved, by table."""
    wanted = [(table, count) for table, count in counts.items() if count]
    if session.backend == "postgresql":
        return {table: [row[0] for row in rows] for (table, _), rows in zip(wanted, answers, strict=True)}
    if not answers:
        return {}
    last = answers[0][0]  # SQLite's write lock is held: nobody else takes those that follow
    return {table: list(range(last[_PLACES[table]] + 1, last[_PLACES[table]] + 1 + count)) for table, count in wanted}


def take_ids(session: Session, batches: Sequence[Batch], ids: Mapping[str, list[int]]) -> None:
    """Give the new nodes their ids: those reserved, and more where they are too few; on MySQL insert the nodes."""
    missing: dict[str, int] = {}
    for batch in batches:
        name = str(batch.kind.table.name)
        have = ids.get(name, [])
        for row, key in zip(batch.fresh, have, strict=False):
            row.id = key
        if session.backend == "mysql":
            made = session.insert_counted(INSERT_COUNTED[batch.kind.name], [_fresh(batch.kind, r) for r in batch.fresh])
            for row, key in zip(batch.fresh, made, strict=True):
                row.id = key
        elif len(have) < len(batch.fresh):
            missing[name] = len(batch.fresh) - len(have)
    if missing:
        more = reserved(session, missing, session.ask_all(reserve(session, missing)))
        for batch in batches:
            left = [row for row in batch.fresh if not row.id]
            for row, key in zip(left, more.get(str(batch.kind.table.name), []), strict=False):
                row.id = key


def write(session: Session, batch: Batch, *, touch: frozenset[int] = frozenset()) -> None:
    """Write new nodes (whose ids are taken), and those that changed; ``touch``: ids whose time changes anyhow."""
    kind = batch.kind
    if batch.fresh and session.backend != "mysql":
        session.write(INSERT_NODES[kind.name], [(row.id, *_fresh(kind, row)) for row in batch.fresh])
    put: list[tuple[Any, ...]] = []
    for row in batch.fresh:
        if row.properties:
            put += _properties(session, row.id, row.properties)
    nodes: list[tuple[Any, ...]] = []
    gone: list[tuple[Any, ...]] = []
    changed = {row.id: row for row in batch.changed()}
    for key in touch:
        changed.setdefault(key, batch.current[key])
    for key, row in sorted(changed.items()):
        row.updated = max(batch.now, batch.stored[key].updated)
        nodes.append(_update(kind, row))
        before = batch.stored[key].properties
        gone += [(key, *name) for name in before if name not in row.properties]
        new = {n: v for n, v in row.properties.items() if n not in before or not codec.same(before[n], v)}
        put += _properties(session, key, new)
    session.write(UPDATE_NODES[kind.name], nodes)
    session.write(DELETE_PROPERTIES[kind.name], gone)
    session.write(INSERT_PROPERTIES[kind.name], put)


def _fresh(kind: Kind, row: Row) -> tuple[Any, ...]:
    uri = (row.uri,) if kind.has_uri else ()
    state = () if kind.state_column is None else (row.state,)
    return (row.type_id, row.name, row.external_id, *uri, *state, row.created, row.updated)


def _update(kind: Kind, row: Row) -> tuple[Any, ...]:
    uri = (row.uri,) if kind.has_uri else ()
    state = () if kind.state_column is None else (row.state,)
    return (row.name, row.external_id, *uri, *state, row.updated, row.id)


def _properties(session: Session, key: int, properties: Mapping[tuple[str, bool], Encoded]) -> list[tuple[Any, ...]]:
    rows = [(key, name, custom, *value) for (name, custom), value in properties.items()]
    if session.backend == "sqlite":  # ML Metadata keeps base64 as a text there, and on PostgreSQL no base64
        return rows
    kept = base64.b64decode if session.backend == "postgresql" else str.encode
    return [row if row[7] is None else (*row[:7], kept(row[7]), row[8]) for row in rows]  # type: ignore[arg-type]
