"""MySQL and MariaDB: the catalogue, bounds and scans, everything in one snapshot on one connection."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.errors import ConfigError, SourceError, Where
from lakecat_connectors._sql_convert import ScanRows, targets_of
from lakecat_connectors._sql_core import CoreSource, from_clause, ident, missing, unreadable
from lakecat_connectors._sql_mysql_session import Session, uri
from lakecat_connectors._sql_mysql_types import MyColumn, result_column, table_column, target_of
from lakecat_connectors._sql_mysql_wire import Block
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_source import Column, Relation, Scan, Table

_BLOCK_BYTES: Final = 16 * 2**20
_WITH_SNAPSHOTS: Final = ("innodb", "rocksdb", "tokudb")
_SYSTEM: Final = ("mysql", "information_schema", "performance_schema", "sys")
_ZERO_DATE: Final = re.compile(r"(\d{4}-\d\d-\d\d(?:[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?)?)(?:\+00:00)?")

_TABLES: Final = """
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_ROWS, DATA_LENGTH, TABLE_COMMENT, TABLE_TYPE, ENGINE
FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')
"""
_COLUMNS: Final = """
SELECT TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, NUMERIC_PRECISION, NUMERIC_SCALE, IS_NULLABLE, COLUMN_COMMENT
FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND FIND_IN_SET('select', PRIVILEGES)
"""
_KEYS: Final = """
SELECT TABLE_NAME, COLUMN_NAME FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA = %s AND INDEX_NAME = 'PRIMARY'
"""


class MySqlSource(CoreSource):
    """A MySQL server from 5.7 on, or MariaDB from 10.4 on."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._options = options
        self._session = Session(options)
        self._dialect = MySQLDialect_pymysql()

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> MySqlSource:
        """The source; it connects when it is first asked. Raises ConfigError for parameters that mean nothing here."""
        del context
        if unknown := sorted(options.url.query.keys() - {"unix_socket"}):
            raise ConfigError(
                f"sql connector: the connection's parameter {unknown[0]!r} means nothing here",
                hint="a URL may say unix_socket; encryption goes under ssl:",
            )
        return cls(options)

    def default_schema(self) -> str | None:
        """The URL's database, unless the job names exactly one."""
        schemas = self._options.schemas
        return schemas[0] if schemas is not None and len(schemas) == 1 else self._options.url.database

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Tables and views of the databases that ``schemas`` names, else of the URL's, else of all."""
        doing = "listing the tables"
        rows = self._session.all(_TABLES, None, doing)
        wanted = self._options.schemas or ((own,) if (own := self._options.url.database) else None)
        rows = [row for row in rows if (row[0] in wanted if wanted is not None else row[0] not in _SYSTEM)]
        found: list[Table] = []
        for schema, own_rows in groupby(sorted(rows, key=itemgetter(0, 1)), itemgetter(0)):
            found += self._tables(schema, list(own_rows), policy, doing)
        return found

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """The relation as it is now; the server keeps it so until the run ends, by the lock of its transaction."""
        doing = f"looking at {relation.shown}"
        if relation.query is not None:
            return self._describe_query(relation, policy, doing)
        if relation.schema is None:
            raise ConfigError(
                f"sql connector: which database holds {relation.shown}? The URL names none",
                hint=f"say stream: database.{relation.shown}",
            )
        rows = self._named(relation, doing)
        if not rows:
            raise self._missing(relation, doing)
        self._touch(relation, doing)
        (table,) = self._tables(relation.schema, rows, policy, doing)
        return table

    def rows(self, scan: Scan, options: ReadOptions) -> MyRows:
        """Fetch on the run's connection, in its turn."""
        columns = [column for column in scan.fetched if isinstance(column, MyColumn)]
        for column in columns:
            if column.refused is not None:
                raise unreadable(scan.table, column, column.refused, "cast it in a query")
        statement = self._select(scan, [column.select(ident(column.name)) for column in columns])
        return MyRows(self._session, self._compiled(statement), columns, scan, options)

    def close(self) -> None:
        """End the connection."""
        self._session.close()

    def _fetch(self, statement: sa.Select[Any], doing: str) -> Sequence[Any] | None:
        text, params = self._compiled(statement)
        return self._session.first(text, params, doing, known=True)

    def _literal(self, column: Column | None, text: str) -> sa.ColumnElement[Any]:
        """Dates that Python does not know (of the year 0, or with parts of zero) are compared as the text they are."""
        try:
            return super()._literal(column, text)
        except ConfigError:
            match = _ZERO_DATE.fullmatch(text)
            if column is None or not pa.types.is_temporal(column.type) or match is None:
                raise
            return sa.literal(match[1], sa.types.NullType())

    def _shown(self, column: Column | None, name: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return column.select(name) if isinstance(column, MyColumn) else name

    def _text(self, column: Column | None, value: Any) -> str:
        """As the server wrote it; times with zone are in UTC, because the session is."""
        zoned = column is not None and pa.types.is_timestamp(column.type) and column.type.tz is not None
        text = value.decode() if isinstance(value, bytes) else str(value)
        return f"{text}+00:00" if zoned else text

    def _tables(self, schema: str, rows: Sequence[Any], policy: StreamOptions, doing: str) -> Iterator[Table]:
        one = " AND TABLE_NAME = %s ORDER BY {}" if len(rows) == 1 else " ORDER BY {}"
        values = (schema, *([rows[0][1]] if len(rows) == 1 else []))
        columns: dict[str, list[MyColumn]] = {}
        for name, *row in self._session.all(_COLUMNS + one.format("TABLE_NAME, ORDINAL_POSITION"), values, doing):
            columns.setdefault(name, []).append(table_column(row, policy))
        keys: dict[str, list[str]] = {}
        for name, column in self._session.all(_KEYS + one.format("TABLE_NAME, SEQ_IN_INDEX"), values, doing):
            keys.setdefault(name, []).append(column)
        for _, name, count, size, comment, kind, engine in rows:
            if not (own := columns.get(name)):
                continue
            view = kind == "VIEW"
            relation = Relation(schema, name)
            yield Table(
                relation=relation,
                uri=uri(self._options, relation.shown),
                columns=tuple(own),
                key=tuple(keys.get(name, ())),
                comment=None if view else comment or None,
                estimated_rows=None if count is None else int(count),
                estimated_bytes=None if size is None else int(size),
                steady=view or str(engine).lower() in _WITH_SNAPSHOTS,
            )

    def _named(self, relation: Relation, doing: str) -> Sequence[Any]:
        """The row of that name: spelled so, else in any case where the server itself does not mind."""
        rows = self._session.all(
            f"{_TABLES} AND TABLE_SCHEMA = %s AND TABLE_NAME = %s", (relation.schema, relation.name), doing
        )
        return [row for row in rows if (row[0], row[1]) == (relation.schema, relation.name)]

    def _touch(self, relation: Relation, doing: str) -> None:
        """Lock the table against change until the transaction ends; raises when it was changed since it began."""
        statement: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(from_clause(relation)).limit(1)
        text, params = self._compiled(statement)
        self._session.first(text, params, doing)

    def _describe_query(self, relation: Relation, policy: StreamOptions, doing: str) -> Table:
        statement: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(from_clause(relation)).limit(1)
        fields = self._session.fields(*self._compiled(statement), doing)
        name = f"query/{relation.digest}"
        return Table(
            relation=relation,
            uri=uri(self._options, name),
            columns=tuple(result_column(field, policy) for field in fields),
        )

    def _missing(self, relation: Relation, doing: str) -> SourceError:
        known = (f"{row[0]}.{row[1]}" for row in self._session.all(_TABLES, None, doing))
        otherwise = "name it database.table, exactly as the server does"
        shown = f"{relation.shown} that this user may read"
        return missing(shown, relation.shown, known, uri(self._options), otherwise)


class MyRows(ScanRows):
    """One scan under way; the query is sent with the first batch."""

    def __init__(
        self, session: Session, query: tuple[str, Any], columns: Sequence[MyColumn], scan: Scan, options: ReadOptions
    ) -> None:
        super().__init__(targets_of(columns, scan, options, target_of), scan, options)
        self._session = session
        self._query = query
        self._binary = [column.binary for column in columns]
        self._uri = scan.table.uri
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Of rows, so far."""
        return self._bytes

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._stack:
            result = self._stack.enter_context(self._session.stream(*self._query, "reading rows"))
            for block in result.blocks(self._batch_rows, _BLOCK_BYTES):
                self._bytes += block.size
                yield self._converter.batch(self._cells(block), block.rows)

    def _cells(self, block: Block) -> list[pa.Array]:
        try:
            return block.columns(self._binary)
        except pa.ArrowInvalid as err:
            raise SourceError(
                "the server sent text that is not UTF-8",
                where=Where(self._uri),
                hint="cast such columns to binary in a query",
            ) from err
