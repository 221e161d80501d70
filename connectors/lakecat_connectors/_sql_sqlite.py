"""SQLite: a file opened for reading only, everything in one read transaction."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.sql.elements import quoted_name

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.errors import ConfigError, SourceAccessError, SourceError, SourceUnavailableError, Where
from lakecat_connectors._sql_convert import ScanRows, targets_of
from lakecat_connectors._sql_core import CoreSource, from_clause, ident, missing
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_source import Bounds, Column, Relation, Scan, Table
from lakecat_connectors._sql_sqlite_types import LiteColumn, column_by_values, declared_column, is_by_values, target_of

_CHUNK: Final = 64
_PIECE: Final = 2_048
_BLOCK_BYTES: Final = 16 * 2**20
_KINDS: Final = ("integer", "real", "text", "blob")
_LISTED: Final = (
    "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'view', 'virtual') "
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
)
_INFO: Final = 'SELECT name, type, "notnull", pk, hidden FROM pragma_table_xinfo(?, ?) ORDER BY cid'
_KIND: Final = "SELECT type FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE"
_HIDDEN: Final = 1
_INT64: Final = 2**63

Decode = Callable[[bytes], str] | type[str]


class Database:
    """The file, open for reading, in the transaction of this run; its cursors may be used from several threads."""

    def __init__(self, path: Path, lock_timeout: int) -> None:
        self.path = path
        self._timeout = lock_timeout
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None

    @property
    def uri(self) -> str:
        """What lineage calls the file."""
        return f"sqlite://{quote(str(self.path))}"

    @contextlib.contextmanager
    def asking(self, doing: str, decode: Decode = str) -> Iterator[sqlite3.Connection]:
        """The connection, for this thread alone; texts are decoded so. Raises SourceError."""
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                self._connection.text_factory = decode
                yield self._connection
            except sqlite3.Error as err:
                if "decode to UTF-8" in str(err):
                    raise
                raise self._ours(err, doing) from err

    def close(self) -> None:
        """End the transaction."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise SourceUnavailableError(
                "there is no such file", where=Where(self.uri), hint="mend the connection's URL"
            )
        uri = f"file:{quote(str(self.path))}?mode=ro"
        connection = sqlite3.connect(
            uri, uri=True, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        # A view in a file that others wrote runs no functions with side effects.
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # this takes the snapshot
        return connection

    def _ours(self, err: sqlite3.Error, doing: str) -> SourceError:
        where, name = Where(self.uri), getattr(err, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return SourceUnavailableError(
                f"{doing}: another program has locked the file", where=where, hint="wait, or raise lock_timeout"
            )
        if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_READONLY")):
            return SourceAccessError(
                "the file cannot be opened",
                where=where,
                hint="may this user read it, and, in WAL mode, write into its folder?",
            )
        if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
            return SourceError(
                "is no SQLite database, or is damaged", where=where, hint="try PRAGMA integrity_check in sqlite3"
            )
        if name.startswith("SQLITE_IOERR"):
            return SourceUnavailableError(f"{doing}: the file cannot be read", where=where, hint="run the job again")
        return SourceError(
            f"failed: {doing}: {str(err)[:300]}",
            where=where,
            hint="look at the table, view or query that the stream names",
        )


class SqliteSource(CoreSource):
    """A SQLite file."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = SQLiteDialect_pysqlite()

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> SqliteSource:
        """The source of the URL's path, relative to the project's folder. Raises ConfigError."""
        return cls(Database(file_of(options, context, "sqlite"), options.lock_timeout))

    def default_schema(self) -> None:
        """None: a file has one schema."""

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Tables and views; views that no longer work are left out."""
        doing = "listing the tables"
        found = []
        for (name,) in self._all(_LISTED, (), doing):
            with contextlib.suppress(SourceError):
                found.append(self.describe(Relation(None, name), policy))
        return found

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """The relation in the run's snapshot."""
        doing = f"looking at {relation.shown}"
        if relation.query is not None:
            name = f"lakecat_{relation.digest}"
            self._view(relation.query, name, doing)
            columns = self._columns(relation, self._all(_INFO, (name, "temp"), doing), policy, view=True, doing=doing)
            return Table(relation=relation, uri=f"{self._database.uri}/query/{relation.digest}", columns=columns)
        kinds = self._all(_KIND, (relation.name,), doing)
        if not kinds or relation.schema not in (None, "main"):
            raise self._missing(relation, doing)
        rows = self._all(_INFO, (relation.name, "main"), doing)
        key = sorted((row[3], row[0]) for row in rows if row[3])
        return Table(
            relation=relation,
            uri=f"{self._database.uri}/{relation.name}",
            columns=self._columns(relation, rows, policy, view=kinds[0][0] == "view", doing=doing),
            key=tuple(name for _, name in key),
        )

    def bounds(self, scan: Scan, column: str) -> Bounds:
        """Raises SourceError for a cursor with numbers and texts: numbers stand below all texts, and would be lost."""
        known = scan.table.column(column)
        if isinstance(known, LiteColumn) and known.numbers:
            whole, name, first = replace(scan, window=None), ident(column), sa.literal("", sa.types.NullType())
            some = self._select(whole, [sa.literal_column("1")]).limit(1)
            doing = f"looking at {column!r}"
            if all(self._fetch(some.where(kind), doing) for kind in (name < first, name >= first)):
                raise SourceError(
                    f"the cursor {column!r} is {known.native}, and holds both numbers and texts: they have no order",
                    where=Where(self._database.uri, column=column),
                    hint="mend the rows of one kind, or leave them out with where: typeof(...) = 'text'",
                )
        return super().bounds(scan, column)

    def rows(self, scan: Scan, options: ReadOptions) -> SqliteRows:
        """Fetch in the run's transaction."""
        columns = [column for column in scan.fetched if isinstance(column, LiteColumn)]
        statement = self._select(scan, [ident(column.name) for column in columns])
        return SqliteRows(self._database, self._compiled(statement), columns, scan, options)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _fetch(self, statement: sa.Select[Any], doing: str) -> Sequence[Any] | None:
        text, params = self._compiled(statement)
        rows = self._all(text, params, doing)
        return rows[0] if rows else None

    def _all(self, text: str, params: Any, doing: str) -> Sequence[Any]:
        with self._database.asking(doing, _tolerant) as connection:
            return connection.execute(text, params).fetchall()

    def _literal(self, column: Column | None, text: str) -> sa.ColumnElement[Any]:
        """The value as SQLite stores it: what looks like a number is one, unless the column holds texts."""
        if isinstance(column, LiteColumn) and (column.numbers or not pa.types.is_string(column.type)):
            value: Any = _number(text)
            if isinstance(value, str) and not column.numbers:
                raise ConfigError(
                    f"cursor: {text!r} is no value for {column.name!r}, which is {column.native}",
                    hint="mend start: or end: under cursor:",
                )
            return sa.literal(value, sa.types.NullType())
        return sa.literal(text, sa.types.NullType())

    def _text(self, column: Column | None, value: Any) -> str:
        """Raises SourceError for values that are not of the column's type: the order knows them, the table does not."""
        if isinstance(column, LiteColumn):
            wanted: tuple[type, ...] = (int, float) if not pa.types.is_string(column.type) else (str,)
            if column.numbers:
                wanted = (int, float, str)
            if not isinstance(value, wanted):
                raise SourceError(
                    f"the cursor {column.name!r} is {column.native}, but holds a {type(value).__name__} as well",
                    where=Where(self._database.uri, column=column.name),
                    hint="mend that row, or leave it out with where:",
                )
        return repr(value) if isinstance(value, float) else str(value)

    def _view(self, query: str, name: str, doing: str) -> None:
        """A temporary view of the query, which lives in memory: SQLite then tells its columns' declared types."""
        own = query.strip().rstrip(";")
        quoted = self._dialect.identifier_preparer.quote(quoted_name(name, True))
        with self._database.asking(doing) as connection:
            connection.execute(f"CREATE TEMP VIEW IF NOT EXISTS {quoted} AS\n{own}\n")

    def _columns(
        self, relation: Relation, rows: Sequence[Any], policy: StreamOptions, *, view: bool, doing: str
    ) -> tuple[LiteColumn, ...]:
        rows = [row for row in rows if row[4] != _HIDDEN]
        kinds = self._kinds(relation, [row[0] for row in rows if is_by_values(row[1], in_view=view)], doing)
        return tuple(
            column_by_values(name, kinds[name], nullable=True)
            if name in kinds
            else declared_column(name, declared, policy, nullable=view or not (not_null or key))
            for name, declared, not_null, key, _ in rows
        )

    def _kinds(self, relation: Relation, names: Sequence[str], doing: str) -> Mapping[str, frozenset[str]]:
        """What values columns of no type have: all of them are looked at."""
        if not names:
            return {}
        asked: list[sa.ColumnElement[Any]] = [
            sa.func.max(sa.func.typeof(ident(name)) == kind) for name in names for kind in _KINDS
        ]
        statement: sa.Select[Any] = sa.select(*asked).select_from(from_clause(relation))
        row = self._fetch(statement, doing) or [0] * len(asked)
        found = iter(row)
        return {name: frozenset(kind for kind in _KINDS if next(found)) for name in names}

    def _missing(self, relation: Relation, doing: str) -> SourceError:
        known = (row[0] for row in self._all(_LISTED, (), doing))
        return missing(relation.shown, relation.name or "", known, self._database.uri, "name it as sqlite_schema does")


class SqliteRows(ScanRows):
    """One scan under way."""

    def __init__(
        self,
        database: Database,
        query: tuple[str, Any],
        columns: Sequence[LiteColumn],
        scan: Scan,
        options: ReadOptions,
    ) -> None:
        super().__init__(targets_of(columns, scan, options, target_of), scan, options)
        self._database = database
        self._query = query
        self._wide = [
            n for n, one in enumerate(columns) if pa.types.is_string(one.type) or pa.types.is_binary(one.type)
        ]
        self._piece_rows = min(options.batch_rows, _PIECE)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        rows = size = 0
        for piece in self._pieces():
            waiting.append(piece)
            rows, size = rows + piece.num_rows, size + piece.nbytes
            if rows + self._piece_rows > self._batch_rows or size > _BLOCK_BYTES:
                yield pa.concat_batches(waiting)
                waiting, rows, size = [], 0, 0
        if rows:
            yield pa.concat_batches(waiting)

    def _pieces(self) -> Iterator[pa.RecordBatch]:
        """Rows as they come, converted; only few are Python's objects at a time, which its collector looks through."""
        given = 0
        try:
            for rows in self._blocks(str):
                yield self._batch(rows)
                given += len(rows)
        except sqlite3.OperationalError:
            # Bytes that are no UTF-8: once more, with a decoder that lets them through to where rows are judged. The
            # same statement gives the same rows in the same order within a transaction.
            for rows in self._blocks(_tolerant):
                old, given = min(given, len(rows)), max(given - len(rows), 0)
                if old < len(rows):
                    yield self._batch(rows[old:])

    def _batch(self, rows: Sequence[Any]) -> pa.RecordBatch:
        return self._converter.batch(list(zip(*rows, strict=True)), len(rows))

    def _blocks(self, decode: Decode) -> Iterator[Sequence[Any]]:
        """Rows of bounded number and size."""
        doing = "reading rows"
        with self._database.asking(doing, decode) as connection:
            cursor = connection.execute(*self._query)
        self._stack.callback(_end, cursor)
        rows: list[Any] = []
        size = 0
        while True:
            with self._database.asking(doing, decode):
                chunk = cursor.fetchmany(_CHUNK)
            rows += chunk
            size += self._size(chunk)
            if rows and (not chunk or len(rows) + _CHUNK > self._piece_rows or size > _BLOCK_BYTES):
                yield rows
                rows, size = [], 0
            if not chunk:
                return

    def _size(self, rows: Sequence[Any]) -> int:
        """About the bytes of texts and blobs."""
        return sum(map(_length, (map(itemgetter(n), rows) for n in self._wide)))


def file_of(options: ConnectionOptions, context: ConnectorContext, scheme: str) -> Path:
    """The file that the URL names, relative to the project's folder. Raises ConfigError."""
    name = options.url.database
    if not name or name == ":memory:" or options.url.host:
        raise ConfigError(
            f"sql connector: option 'connection' names no file: {options.url.render_as_string()}",
            hint=f"{scheme}:///data/file.db is a file in the project, {scheme}:////data/file.db is /data/file.db",
        )
    return context.root / name


def _end(cursor: sqlite3.Cursor) -> None:
    with contextlib.suppress(sqlite3.Error):  # the file may have been closed before
        cursor.close()


def _tolerant(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _number(text: str) -> Any:
    try:
        value = int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text
    return value if -_INT64 <= value < _INT64 else float(value)


def _length(cells: Iterable[Any]) -> int:
    """Of all texts and blobs; numbers among them count nothing."""
    found = list(filter(None, cells))
    try:
        return sum(map(len, found))
    except TypeError:
        return sum(len(cell) for cell in found if isinstance(cell, str | bytes))
