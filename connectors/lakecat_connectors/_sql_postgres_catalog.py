"""What PostgreSQL's own catalogue says of tables, columns, keys, types and pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import psycopg
from psycopg import sql

from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_postgres_session import text, uri
from lakecat_connectors._sql_postgres_types import PgColumn, PgType, column_of
from lakecat_connectors._sql_source import Relation, Table

_MONEY: Final = 790
_TID_RANGES: Final = 140_000  # the version that scans ranges of pages
_PARTITION_TREES: Final = 120_000  # the version that lists partitions by a function
_FIRST_OWN: Final = 16_384  # the first object id that is not the server's own
_PAGE: Final = 8_192

_RELATIONS: Final = """
SELECT c.oid, n.nspname, c.relname, c.relkind::text, pg_catalog.obj_description(c.oid, 'pg_class'),
       CASE WHEN c.relkind = 'p' THEN tree.tuples ELSE c.reltuples END,
       CASE WHEN c.relkind = 'p' THEN tree.pages ELSE c.relpages END,
       CASE WHEN c.relkind = 'p' THEN COALESCE(tree.has_foreign, false) ELSE c.relkind = 'f' END
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN LATERAL (
    WITH RECURSIVE t(oid) AS (
        SELECT inhrelid FROM pg_catalog.pg_inherits WHERE inhparent = c.oid
        UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN t ON i.inhparent = t.oid
    )
    SELECT sum(p.reltuples) FILTER (WHERE p.reltuples >= 0 AND p.relkind = 'r') AS tuples,
           sum(p.relpages) FILTER (WHERE p.relkind = 'r') AS pages, bool_or(p.relkind = 'f') AS has_foreign
    FROM t JOIN pg_catalog.pg_class AS p USING (oid)
) AS tree ON c.relkind = 'p'
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_(catalog|toast|temp)'
  AND n.nspname <> 'information_schema'
"""
_LISTED: Final = """
  AND NOT c.relispartition AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
  AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT')
  AND (%(schemas)s::text[] IS NULL OR n.nspname = ANY(%(schemas)s))
ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
"""
_NAMED: Final = " AND n.nspname = %(schema)s AND c.relname = %(name)s"

_ATTRIBUTES: Final = """
SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, a.attndims, a.attnotnull,
       pg_catalog.format_type(a.atttypid, -1), pg_catalog.col_description(a.attrelid, a.attnum),
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SELECT')
FROM pg_catalog.pg_attribute AS a
WHERE a.attrelid = ANY(%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""
_KEYS: Final = """
SELECT i.indrelid, pg_catalog.array_agg(a.attname::text ORDER BY k.place)
FROM pg_catalog.pg_index AS i, LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place),
     pg_catalog.pg_attribute AS a
WHERE i.indrelid = ANY(%s::oid[]) AND i.indisprimary AND k.place <= i.indnkeyatts
  AND a.attrelid = i.indrelid AND a.attnum = k.attnum
GROUP BY i.indrelid
"""
_TYPES: Final = """
WITH RECURSIVE t AS (
    SELECT p.* FROM pg_catalog.pg_type AS p WHERE p.oid = ANY(%s::oid[])
    UNION SELECT p.* FROM pg_catalog.pg_type AS p JOIN t ON p.oid IN (t.typelem, t.typbasetype)
)
SELECT oid, typtype::text, typcategory::text, typlen, typelem, typbasetype, typtypmod, typndims FROM t
"""
_TREE: Final = """
WITH RECURSIVE t(oid) AS (
    SELECT %s::oid UNION ALL SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN t ON i.inhparent = t.oid
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PgTable(Table):
    """A relation with its place in ``pg_class``."""

    oid: int
    kind: str


@dataclass(frozen=True, slots=True)
class Found:
    """A relation in ``pg_class``."""

    oid: int
    schema: str
    name: str
    kind: str
    comment: str | None
    tuples: float | None
    pages: int | None
    foreign: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A column of a result, as the server announces it: domains as what they are made of."""

    name: str
    type: int
    modifier: int


def relations(
    cursor: psycopg.Cursor[Any],
    *,
    schemas: Sequence[str] | None = None,
    schema: str | None = None,
    name: str | None = None,
) -> Sequence[Found]:
    """All relations that this user may read; or the one of that name, whether or not it may be read."""
    statement = _RELATIONS + (_LISTED if name is None else _NAMED)
    values = {"schemas": None if schemas is None else list(schemas), "schema": schema, "name": name}
    return [Found(*row) for row in cursor.execute(text(statement), values).fetchall()]


def tables(
    cursor: psycopg.Cursor[Any], found: Sequence[Found], options: ConnectionOptions, policy: StreamOptions
) -> Iterator[PgTable]:
    """The relations with their columns, in the order given. Columns that this user may not read are left out."""
    oids = [one.oid for one in found]
    rows = cursor.execute(_ATTRIBUTES, (oids,)).fetchall()
    keys: dict[int, list[str]] = dict(cursor.execute(_KEYS, (oids,)).fetchall())
    types = _types(cursor, (row[2] for row in rows))
    scale = _money_scale(cursor, types)
    columns = {
        oid: tuple(_column(row, types, policy, scale) for row in _readable(list(own)))
        for oid, own in groupby(rows, itemgetter(0))
    }
    for one in found:
        own = columns.get(one.oid, ())
        known = one.tuples is not None and one.tuples >= 0
        relation = Relation(one.schema, one.name)
        yield PgTable(
            oid=one.oid,
            kind=one.kind,
            relation=relation,
            uri=uri(options, relation.shown),
            columns=own,
            key=tuple(keys.get(one.oid, ())),
            comment=one.comment,
            estimated_rows=int(one.tuples or 0) if known else None,
            estimated_bytes=one.pages * _PAGE if one.pages else None,
            steady=not one.foreign,
        )


def query_columns(
    cursor: psycopg.Cursor[Any], described: Sequence[Described], policy: StreamOptions
) -> tuple[PgColumn, ...]:
    """The columns of a query's result."""
    types = _types(cursor, (one.type for one in described))
    scale = _money_scale(cursor, types)
    names = dict(
        cursor.execute(
            "SELECT oid, pg_catalog.format_type(oid, -1) FROM pg_catalog.pg_type WHERE oid = ANY(%s::oid[])",
            ([one.type for one in described],),
        ).fetchall()
    )
    return tuple(
        column_of(one.name, one.type, one.modifier, types, policy, native=names[one.type], money_scale=scale)
        for one in described
    )


def description(cursor: psycopg.Cursor[Any], statement: sql.Composable) -> tuple[Described, ...]:
    """The columns of a query's result; its tables are locked against change from now on."""
    cursor.execute(statement + text(" LIMIT 0"))
    result = cursor.pgresult
    return tuple(
        Described((result.fname(n) or b"").decode(), result.ftype(n), result.fmod(n))
        for n in range(result.nfields if result else 0)
        if result
    )


def oid_now(cursor: psycopg.Cursor[Any], relation: Relation) -> int | None:
    """The relation that has this name now: another one where two were renamed since the snapshot."""
    row = cursor.execute(
        "SELECT pg_catalog.to_regclass(pg_catalog.quote_ident(%s) || '.' || pg_catalog.quote_ident(%s))"
        "::pg_catalog.oid",
        (relation.schema, relation.name),
    ).fetchone()
    return row[0] if row else None


def is_rewritten(cursor: psycopg.Cursor[Any], table: PgTable) -> bool:
    """Whether the relation, or a part of it, got new storage since the snapshot (TRUNCATE, a rewriting ALTER TABLE).

    To the snapshot it then looks empty ("Caveats" of PostgreSQL's chapter on MVCC). The catalogue's table is read in
    the snapshot, the function answers for now.
    """
    if table.kind == "v":
        return are_rewritten(cursor)
    statement = _TREE + (
        "SELECT EXISTS (SELECT FROM t JOIN pg_catalog.pg_class AS c USING (oid) WHERE c.relfilenode <> 0 "
        "AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid))"
    )
    row = cursor.execute(text(statement), (table.oid,)).fetchone()
    return bool(row and row[0]) or is_attached_to(cursor, table)


def is_attached_to(cursor: psycopg.Cursor[Any], table: PgTable) -> bool:
    """Whether a partitioned table has partitions that the snapshot does not know; the function answers for now."""
    if table.kind != "p" or cursor.connection.info.server_version < _PARTITION_TREES:
        return False
    statement = _TREE + "SELECT EXISTS (SELECT relid FROM pg_catalog.pg_partition_tree(%s) EXCEPT SELECT oid FROM t)"
    row = cursor.execute(text(statement), (table.oid, table.oid)).fetchone()
    return bool(row and row[0])


def are_rewritten(cursor: psycopg.Cursor[Any]) -> bool:
    """The same of everything that this transaction has locked: what views and queries are made of."""
    row = cursor.execute(
        text(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks AS l LEFT JOIN pg_catalog.pg_class AS c "
            "ON c.oid = l.relation WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() "
            "AND l.relation >= %s AND (c.oid IS NULL OR (c.relfilenode <> 0 "
            "AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid))))"
        ),
        (_FIRST_OWN,),
    ).fetchone()
    return bool(row and row[0])


def pages(cursor: psycopg.Cursor[Any], relation: Relation) -> int | None:
    """Pages of the relation's greatest part; None where there are none, or no range of them can be scanned."""
    if cursor.connection.info.server_version < _TID_RANGES:
        return None
    (found,) = relations(cursor, schema=relation.schema, name=relation.name)
    statement = _TREE + (
        "SELECT max(pg_catalog.pg_relation_size(c.oid)), bool_and(c.relkind IN ('r', 'm', 'p')) "
        "FROM t JOIN pg_catalog.pg_class AS c USING (oid)"
    )
    row = cursor.execute(text(statement), (found.oid,)).fetchone()
    return int(row[0]) // _PAGE if row and row[1] else None


def _readable(rows: list[Any]) -> list[Any]:
    """The columns this user may read; all of them where that is none, so that the server itself refuses."""
    return [row for row in rows if row[8]] or rows


def _column(row: Any, types: Mapping[int, PgType], policy: StreamOptions, scale: int) -> PgColumn:
    _, name, oid, modifier, dimensions, not_null, native, comment, _ = row
    return column_of(
        name,
        oid,
        modifier,
        types,
        policy,
        native=native,
        dimensions=dimensions,
        money_scale=scale,
        nullable=not not_null,
        comment=comment,
    )


def _types(cursor: psycopg.Cursor[Any], oids: Iterable[int]) -> Mapping[int, PgType]:
    rows = cursor.execute(_TYPES, (sorted(set(oids)),)).fetchall()
    return {row[0]: PgType(*row) for row in rows}


def _money_scale(cursor: psycopg.Cursor[Any], types: Mapping[int, PgType]) -> int:
    """Digits behind the point, which the server's locale decides."""
    if _MONEY not in types:
        return 2
    row = cursor.execute("SELECT pg_catalog.scale('1'::money::numeric)").fetchone()
    return int(row[0]) if row else 2
