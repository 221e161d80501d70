"""DuckDB files, opened for reading only; rows come as Arrow from DuckDB itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import duckdb
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.connector.columns import fold
from lakecat.errors import SourceError, SourceUnavailableError, Where
from lakecat_connectors._sql_convert import ScanRows, declared_of, targets_of
from lakecat_connectors._sql_core import CoreSource, from_clause, ident, missing, unreadable
from lakecat_connectors._sql_duckdb_types import DuckColumn, as_text, column_of, is_text, target_of
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_source import Column, Relation, Scan, Table
from lakecat_connectors._sql_sqlite import file_of

_VECTORS: Final = 2_048
_BATCH_BYTES: Final = 16 * 2**20
_CONFIG: Final[Mapping[str, str | bool | int | float | list[str]]] = {
    # What a view of the file or a job's query can reach ends at the file.
    "enable_external_access": "false",
    "autoload_known_extensions": "false",
    "autoinstall_known_extensions": "false",
    "allow_community_extensions": "false",
    "python_enable_replacements": "false",
}
_RELATIONS: Final = """
SELECT schema_name, table_name, estimated_size, comment FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal
UNION ALL SELECT schema_name, view_name, NULL, comment FROM duckdb_views()
WHERE database_name = current_database() AND NOT internal ORDER BY ALL
"""
_KEYS: Final = """
SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints()
WHERE database_name = current_database() AND constraint_type = 'PRIMARY KEY'
"""
_COLUMNS: Final = """
SELECT column_name, is_nullable, comment FROM duckdb_columns()
WHERE database_name = current_database() AND schema_name = ? AND table_name = ?
"""


class _Native(sa.types.UserDefinedType[Any]):
    """A type as DuckDB itself spells it."""

    cache_ok = True

    def __init__(self, spelled: str) -> None:
        self.spelled = spelled

    def get_col_spec(self, **_: Any) -> str:
        """For CAST."""
        return self.spelled


class DuckDbSource(CoreSource):
    """A DuckDB file; nobody can write it while it is open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._uri = f"duckdb://{quote(str(path))}"
        self._dialect = DefaultDialect(paramstyle="named")
        self._lock = threading.RLock()
        self._connection: duckdb.DuckDBPyConnection | None = None

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> DuckDbSource:
        """The source of the URL's path, relative to the project's folder. Raises ConfigError."""
        return cls(file_of(options, context, "duckdb"))

    def default_schema(self) -> str:
        """``main``."""
        return "main"

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Tables and views; views that no longer work are left out."""
        found = []
        for schema, name, *_ in self._all(_RELATIONS, "listing the tables"):
            with contextlib.suppress(SourceError):
                found.append(self.describe(Relation(schema, name), policy))
        return found

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """The relation, which stays as it is: the file is open for reading only."""
        doing = f"looking at {relation.shown}"
        if relation.query is not None:
            columns = self._columns(relation, policy, {}, doing)
            return Table(relation=relation, uri=f"{self._uri}/query/{relation.digest}", columns=columns)
        rows = self._all(_RELATIONS, doing)
        row = next((one for one in rows if _folded(one[0], one[1]) == _folded(relation.schema, relation.name)), None)
        if row is None:
            raise self._missing(relation, rows)
        names = tuple(row[:2])
        about = {name: (null, comment) for name, null, comment in self._all(_COLUMNS, doing, names)}
        keys = {(schema, table): tuple(key) for schema, table, key in self._all(_KEYS, doing)}
        return Table(
            relation=relation,
            uri=f"{self._uri}/{relation.shown}",
            columns=self._columns(relation, policy, about, doing),
            key=keys.get((row[0], row[1]), ()),
            comment=row[3],
            estimated_rows=row[2],
        )

    def rows(self, scan: Scan, options: ReadOptions) -> DuckRows:
        """Fetch by a connection of its own to the same open file."""
        declared = declared_of(options)
        columns, expressions = [], []
        for number, column in enumerate(scan.fetched):
            if not isinstance(column, DuckColumn):
                continue
            type_ = declared.get(fold(column.name)) if number < len(scan.columns) else None
            textual = type_ is not None and is_text(type_)
            if column.refused is not None and not textual:
                raise unreadable(scan.table, column, column.refused, "declare it as string under columns:")
            name = ident(column.name)
            columns.append(column)
            expressions.append(as_text(name) if textual else column.select(name))
        return DuckRows(self, self._text_of(self._select(scan, expressions)), columns, scan, options)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    @contextlib.contextmanager
    def reading(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own. Raises SourceError."""
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = self._opened()
                cursor = self._connection.cursor()
            with cursor:
                cursor.execute("SET arrow_lossless_conversion = true")
                cursor.execute("SET TimeZone = 'UTC'")
                yield cursor
        except duckdb.Error as err:
            raise self.failed(err, doing) from err

    def _opened(self) -> duckdb.DuckDBPyConnection:
        if not self._path.is_file():
            raise SourceUnavailableError(
                "there is no such file", where=Where(self._uri), hint="mend the connection's URL"
            )
        return duckdb.connect(str(self._path), read_only=True, config=dict(_CONFIG))

    def _fetch(self, statement: sa.Select[Any], doing: str) -> Sequence[Any] | None:
        rows = self._all(self._text_of(statement), doing)
        return rows[0] if rows else None

    def _all(self, text: str, doing: str, params: Sequence[Any] = ()) -> Sequence[Any]:
        with self.reading(doing) as cursor:
            return cursor.execute(text, list(params)).fetchall()

    def _text_of(self, statement: sa.Select[Any]) -> str:
        """With its values inside: DuckDB keeps the whole result of a statement with parameters."""
        return str(statement.compile(dialect=self._dialect, compile_kwargs={"literal_binds": True}))

    def _literal(self, column: Column | None, text: str) -> sa.ColumnElement[Any]:
        value = sa.literal(text, sa.types.String())
        return value if column is None else sa.cast(value, _Native(column.native))

    def _shown(self, column: Column | None, name: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        del column
        return as_text(name)

    def _columns(
        self, relation: Relation, policy: StreamOptions, about: Mapping[str, Any], doing: str
    ) -> tuple[Column, ...]:
        statement: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(from_clause(relation))
        with self.reading(doing) as cursor:
            result = cursor.sql(self._text_of(statement))
            found = [column_of(name, type_, policy) for name, type_ in zip(result.columns, result.types, strict=True)]
        known = ((column, *about.get(column.name, (True, None))) for column in found)
        return tuple(replace(column, nullable=nullable, comment=comment) for column, nullable, comment in known)

    def _missing(self, relation: Relation, rows: Sequence[Any]) -> SourceError:
        known = (f"{row[0]}.{row[1]}" for row in rows)
        return missing(relation.shown, relation.shown, known, self._uri, "name it schema.table")

    def failed(self, err: Exception, doing: str) -> SourceError:
        """A driver's error as ours."""
        where, message = Where(self._uri), str(err).split("\n", 1)[0][:300]
        if isinstance(err, duckdb.IOException) and "lock" in message:
            return SourceUnavailableError(
                "another program has the file open for writing", where=where, hint="wait until it closes the file"
            )
        if isinstance(err, duckdb.IOException | duckdb.SerializationException | duckdb.FatalException):
            return SourceError(
                "the file cannot be opened, is no DuckDB database, or is damaged",
                where=where,
                hint="was it written by a newer DuckDB, or is its extension installed?",
            )
        return SourceError(
            f"failed: {doing}: {message}",
            where=where,
            hint="look at the table, view or query that the stream names; it reaches nothing outside the file",
        )


class DuckRows(ScanRows):
    """One scan under way."""

    def __init__(
        self, source: DuckDbSource, query: str, columns: Sequence[DuckColumn], scan: Scan, options: ReadOptions
    ) -> None:
        super().__init__(targets_of(columns, scan, options, target_of), scan, options)
        self._source = source
        self._query = query

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._stack:
            cursor = self._stack.enter_context(self._source.reading("reading rows"))
            waiting: list[pa.RecordBatch] = []
            for batch in self._arriving(cursor.sql(self._query).to_arrow_reader(min(_VECTORS, self._batch_rows))):
                waiting.append(batch)
                if _rows(waiting) + _VECTORS > self._batch_rows or sum(one.nbytes for one in waiting) > _BATCH_BYTES:
                    yield self._converted(waiting)
                    waiting = []
            if _rows(waiting):
                yield self._converted(waiting)

    def _arriving(self, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except (OSError, pa.ArrowException) as err:  # what fails in DuckDB comes as a fault of the reader
                raise self._source.failed(err, "reading rows") from err
            yield batch

    def _converted(self, waiting: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
        batch = pa.concat_batches(waiting)
        return self._converter.batch(batch.columns, batch.num_rows)


def _rows(batches: Sequence[pa.RecordBatch]) -> int:
    return sum(batch.num_rows for batch in batches)


def _folded(schema: str | None, name: str | None) -> tuple[str, str]:
    """DuckDB's names do not know case."""
    return (schema or "").casefold(), (name or "").casefold()
