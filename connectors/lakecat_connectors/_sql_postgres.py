"""PostgreSQL: its catalogue, bounds, splits and scans, everything in one snapshot."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import psycopg
import pyarrow as pa
from psycopg import sql

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.connector.columns import fold
from lakecat.errors import SourceChangedError, SourceError, Where
from lakecat.types import Json
from lakecat_connectors import _sql_postgres_catalog as catalogue
from lakecat_connectors._sql_convert import declared_of
from lakecat_connectors._sql_core import missing
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_postgres_copy import CopyRows
from lakecat_connectors._sql_postgres_session import Sessions, one, text, uri
from lakecat_connectors._sql_postgres_types import PgColumn, as_declared
from lakecat_connectors._sql_source import XMIN, Bounds, Column, Relation, Scan, Table, Window

_SPLIT_ROWS: Final = 500_000
_ROWS_OF_A_PAGE: Final = 40
_INTEGERS: Final = ("smallint", "integer", "bigint")
_XID: Final = PgColumn(
    name=XMIN,
    type=pa.int64(),
    native="bigint",
    nullable=False,
    select="({0}::pg_catalog.text::pg_catalog.int8)",
    convert=lambda texts: texts.cast(pa.int64()),
    parsed=True,
)


class PostgresSource:
    """A PostgreSQL database, version 11 or later."""

    consistent = True

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._sessions = Sessions(options)

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> PostgresSource:
        """The source; it connects when it is first asked."""
        del context
        return cls(options)

    def default_schema(self) -> str:
        """``public``, unless the job names exactly one schema."""
        schemas = self._options.schemas
        return schemas[0] if schemas is not None and len(schemas) == 1 else "public"

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Tables, partitioned tables (without their partitions), views, materialized views, foreign tables."""
        with self._sessions.planning("listing the tables") as cursor:
            found = catalogue.relations(cursor, schemas=self._options.schemas)
            return tuple(catalogue.tables(cursor, found, self._options, policy))

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """The relation as it is now; it stays so until the run ends, because a lock on it is held until then."""
        doing = f"looking at {relation.shown}"
        with self._sessions.planning(doing) as cursor:
            if relation.query is not None:
                return self._describe_query(cursor, relation, policy)
            found = catalogue.relations(cursor, schema=relation.schema, name=relation.name)
            if not found:
                raise self._missing(cursor, relation)
            (table,) = catalogue.tables(cursor, found, self._options, policy)
        with self._sessions.planning(doing, known=True) as cursor:
            self._refuse_changed(cursor, table)
        return table

    def bounds(self, scan: Scan, column: str) -> Bounds:
        """By ``min`` and ``max``, which an index answers at once. For ``xmin``: what the snapshot sees finished."""
        with self._sessions.planning(f"looking for the bounds of {column!r}") as cursor:
            if column == XMIN:
                return self._xmin_bounds(cursor, scan)
            name = sql.Identifier(column)
            statement = text("SELECT min({0})::pg_catalog.text, max({0})::pg_catalog.text FROM {1}").format(
                name, self._from(cursor, scan)
            )
            least, greatest = one(cursor, statement)
        return Bounds(least=least, greatest=greatest)

    def has_nulls(self, scan: Scan, column: str) -> bool:
        """Whether some row of the scan has NULL there."""
        with self._sessions.planning(f"looking for NULL in {column!r}") as cursor:
            statement = text("SELECT EXISTS (SELECT FROM {} AND {} IS NULL)").format(
                self._from(cursor, scan), sql.Identifier(column)
            )
            return bool(one(cursor, statement)[0])

    def after(self, scan: Scan, column: str, rows: int) -> str | None:
        """By ORDER BY and OFFSET, which walks an index where there is one."""
        with self._sessions.planning(f"looking for the end of a part by {column!r}") as cursor:
            statement = text("SELECT {0}::pg_catalog.text FROM {1} ORDER BY {0} OFFSET {2} LIMIT 1").format(
                sql.Identifier(column), self._from(cursor, scan), sql.Literal(rows - 1)
            )
            row = cursor.execute(statement).fetchone()
        return None if row is None else str(row[0])

    def splits(self, scan: Scan, wanted: int | Literal["auto"]) -> tuple[Mapping[str, Json], ...]:
        """Ranges of pages, else of an integer key; none for views, queries, and on a standby."""
        if wanted == 1 or scan.table.relation.query is not None or not self._sessions.shares:
            return ()
        with self._sessions.planning("looking for places to split") as cursor:
            pages = catalogue.pages(cursor, scan.table.relation)
            # Statistics may be missing or old; the size is always known.
            rows = max(scan.table.estimated_rows or 0, (pages or 0) * _ROWS_OF_A_PAGE)
            count = wanted if wanted != "auto" else _worth(rows)
            if count < 2:
                return ()
            if pages is not None:
                return _page_ranges(pages, count)
            return self._key_ranges(cursor, scan, count)

    def rows(self, scan: Scan, options: ReadOptions) -> CopyRows:
        """Fetch by COPY, on a connection of its own in the run's snapshot."""
        declared = declared_of(options)
        columns = [
            as_declared(column, declared.get(fold(column.name)) if number < len(scan.columns) else None)
            for number, column in enumerate(_own(scan.fetched))
        ]
        with self._sessions.planning("building the query") as cursor:
            chosen = text(", ").join(text(column.select).format(sql.Identifier(column.name)) for column in columns)
            statement = (text("SELECT {} FROM {}").format(chosen, self._from(cursor, scan))).as_string(cursor)
        return CopyRows(self._sessions, statement, columns, scan, options, lambda: self._refuse_attached(scan.table))

    def identity_type(self, column: str) -> Column | None:
        """``xmin``, the transaction that wrote a row."""
        return _XID if column == XMIN else None

    def close(self) -> None:
        """End every connection."""
        self._sessions.close()

    def _describe_query(self, cursor: psycopg.Cursor[Any], relation: Relation, policy: StreamOptions) -> Table:
        source = text("SELECT * FROM ") + _query(relation)
        columns = catalogue.query_columns(cursor, catalogue.description(cursor, source), policy)
        if catalogue.are_rewritten(cursor):
            raise self._changed(relation)
        return Table(relation=relation, uri=uri(self._options, f"query/{relation.digest}"), columns=columns)

    def _missing(self, cursor: psycopg.Cursor[Any], relation: Relation) -> SourceError:
        known = (f"{found.schema}.{found.name}" for found in catalogue.relations(cursor))
        otherwise = "name it schema.table, exactly as the database does"
        return missing(relation.shown, relation.shown, known, uri(self._options), otherwise)

    def _refuse_changed(self, cursor: psycopg.Cursor[Any], table: catalogue.PgTable) -> None:
        """Lock the table; what the snapshot's catalogue says must be what it is now."""
        columns = _own(table.columns)
        names = text(", ").join(sql.Identifier(column.name) for column in columns)
        source = text("SELECT {} FROM {}").format(names, sql.Identifier(*_names(table.relation)))
        now = tuple((one.name, one.type) for one in catalogue.description(cursor, source))
        then = tuple((column.name, column.flat_oid) for column in columns)
        is_another = now != then or catalogue.oid_now(cursor, table.relation) != table.oid
        if is_another or catalogue.is_rewritten(cursor, table):
            raise self._changed(table.relation)

    def _refuse_attached(self, table: Table) -> None:
        """Partitions attached since the snapshot stand in some of the run's statements, and in others not."""
        if not isinstance(table, catalogue.PgTable) or table.kind != "p":
            return
        with self._sessions.planning("looking for new partitions") as cursor:
            if catalogue.is_attached_to(cursor, table):
                raise self._changed(table.relation)

    def _changed(self, relation: Relation) -> SourceChangedError:
        return SourceChangedError(
            f"{relation.shown}, or what it is made of, was altered or emptied since the run began",
            where=Where(uri(self._options, relation.shown)),
            hint="run the job again",
        )

    def _from(self, cursor: psycopg.Cursor[Any], scan: Scan) -> sql.Composable:
        """``relation WHERE conditions``; there is always a condition, so that more can follow."""
        relation = scan.table.relation
        if relation.query is not None:
            source: sql.Composable = _query(relation)
        else:
            source = sql.Identifier(*_names(relation))
        conditions: list[sql.Composable] = [text("true")]
        if scan.policy.where is not None:
            conditions.append(text("(\n") + text(scan.policy.where) + text("\n)"))
        if scan.window is not None:
            conditions.append(self._window(cursor, scan.table, scan.window))
        if scan.split is not None:
            conditions.append(_split(scan.split))
        return text("{} WHERE {}").format(source, text(" AND ").join(conditions))

    def _window(self, cursor: psycopg.Cursor[Any], table: Table, window: Window) -> sql.Composable:
        if window.column == XMIN:
            return self._xmin_window(cursor, window)
        column, name = table.column(window.column), sql.Identifier(window.column)
        null = text("{} IS NULL").format(name)
        if window.only_nulls:
            return null
        native = "pg_catalog.text" if column is None else column.native
        compared: sql.Composable = name
        if column is not None and pa.types.is_integer(column.type):
            # A bound may lie beyond a narrow type; an index on one is used for int8 all the same.
            compared = name if native in _INTEGERS else name + text("::pg_catalog.text::pg_catalog.int8")
            native = "pg_catalog.int8"
        conditions: list[sql.Composable] = []
        for bound, operator in (
            (window.low, ">=" if window.low_closed else ">"),
            (window.high, "<=" if window.high_closed else "<"),
        ):
            if bound is not None:
                value = text("CAST({} AS {})").format(sql.Literal(bound), text(native))
                conditions.append(text(f"{{}} {operator} {{}}").format(compared, value))
        within = text("({})").format(
            text(" AND ").join(conditions) if conditions else text("{} IS NOT NULL").format(name)
        )
        return text("({} OR {})").format(within, null) if window.nulls else within

    def _xmin_bounds(self, cursor: psycopg.Cursor[Any], scan: Scan) -> Bounds:
        """Where the next run must begin: at the oldest transaction that was not finished in this snapshot."""
        statement = text("SELECT EXISTS (SELECT FROM {})").format(self._from(cursor, scan))
        (some,) = one(cursor, statement)
        oldest, _ = self._snapshot(cursor)
        return Bounds(least=str(oldest) if some else None, greatest=str(oldest), open_top=True)

    def _snapshot(self, cursor: psycopg.Cursor[Any]) -> tuple[int, int]:
        """The oldest transaction unfinished in the snapshot, and the first that began after it; 64 bits each."""
        oldest, end = one(
            cursor,
            text(
                "SELECT pg_catalog.txid_snapshot_xmin(s), pg_catalog.txid_snapshot_xmax(s) "
                "FROM pg_catalog.txid_current_snapshot() AS s"
            ),
        )
        return int(oldest), int(end)

    def _xmin_window(self, cursor: psycopg.Cursor[Any], window: Window) -> sql.Composable:
        """Rows written by transactions from ``low`` on.

        ``xmin`` has 32 bits: the 64-bit id meant is the greatest one below the snapshot's end that has those low
        bits. A frozen row that is older than 2^32 transactions may so be taken for a newer one and be read once more,
        which a merge does not mind; none is missed.
        """
        if window.low is None:
            return text("true")
        _, end = self._snapshot(cursor)
        low = max(int(window.low), end - 2**32)
        distance = text("((({0})::pg_catalog.int8 - {1} + {2}) % {2})").format(
            text("{}::pg_catalog.text").format(sql.Identifier(XMIN)), sql.Literal(low % 2**32), sql.Literal(2**32)
        )
        return text("({} < {})").format(distance, sql.Literal(end - low))

    def _key_ranges(self, cursor: psycopg.Cursor[Any], scan: Scan, count: int) -> tuple[Mapping[str, Json], ...]:
        table = scan.table
        column = table.column(table.key[0]) if len(table.key) == 1 else None
        if column is None or not pa.types.is_integer(column.type):
            return ()
        name = sql.Identifier(column.name)
        row = cursor.execute(
            text("SELECT min({0}), max({0}) FROM {1}").format(name, self._from(cursor, scan))
        ).fetchone()
        if row is None or row[0] is None or row[1] - row[0] < count:
            return ()
        edges = [row[0] + (row[1] - row[0]) * part // count for part in range(1, count)]
        ends: list[int | None] = [None, *edges, None]
        return tuple({"column": column.name, "low": ends[part], "high": ends[part + 1]} for part in range(count))


def _worth(rows: int) -> int:
    """How many readers pay off: no more than processors, and each with enough to do."""
    return min(os.cpu_count() or 1, 4, max(math.ceil(rows / _SPLIT_ROWS), 1))


def _page_ranges(pages: int, count: int) -> tuple[Mapping[str, Json], ...]:
    """The last range has no end: rows may stand on pages that came after the count."""
    count = min(count, pages)
    if count < 2:
        return ()
    edges: list[int | None] = [pages * part // count for part in range(count)]
    return tuple({"low_page": low, "high_page": high} for low, high in zip(edges, [*edges[1:], None], strict=True))


def _split(split: Mapping[str, Json]) -> sql.Composable:
    if "low_page" in split:
        name: sql.Composable = sql.Identifier("ctid")
        bounds = [f"({page},0)" if (page := split[end]) is not None else None for end in ("low_page", "high_page")]
        values = [None if bound is None else sql.Literal(bound) + text("::pg_catalog.tid") for bound in bounds]
    else:
        name = sql.Identifier(str(split["column"]))
        values = [None if split[end] is None else sql.Literal(split[end]) + text("") for end in ("low", "high")]
    low, high = values
    conditions = [
        text(f"{{}} {operator} {{}}").format(name, value)
        for operator, value in ((">=", low), ("<", high))
        if value is not None
    ]
    return text("({})").format(text(" AND ").join(conditions))


def _own(columns: Sequence[Column]) -> list[PgColumn]:
    return [column for column in columns if isinstance(column, PgColumn)]


def _names(relation: Relation) -> tuple[str, ...]:
    return tuple(name for name in (relation.schema, relation.name) if name is not None)


def _query(relation: Relation) -> sql.Composable:
    """The author's text, with its end on a line of its own: a comment may stand there."""
    own = (relation.query or "").strip().rstrip(";")
    return text("(\n") + text(own) + text("\n) AS query")
