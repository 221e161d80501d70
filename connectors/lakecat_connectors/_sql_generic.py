"""Any database that SQLAlchemy reaches, the slow way: reflected types, and each value by its Python type."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import IsolationLevel

from lakecat.connector import ConnectorContext, ReadOptions
from lakecat.errors import ConfigError, LakecatError, SourceAccessError, SourceError, SourceUnavailableError, Where
from lakecat_connectors._sql_convert import ScanRows, targets_of
from lakecat_connectors._sql_core import CoreSource, Turn, missing, unreadable, value_of
from lakecat_connectors._sql_generic_types import AnyColumn, column_of, target_of
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_source import Column, Relation, Scan, Table

_FETCH: Final = 256
_BLOCK_BYTES: Final = 16 * 2**20
_SNAPSHOTS: Final[dict[str, IsolationLevel]] = {
    "postgresql": "REPEATABLE READ",
    "mysql": "REPEATABLE READ",
    "mariadb": "REPEATABLE READ",
    "oracle": "SERIALIZABLE",
    "cockroachdb": "SERIALIZABLE",
}
"""Databases in which a transaction of that level reads one snapshot."""

_ACCESS: Final = re.compile(
    r"password|authenticat|log(?:in|on)|access denied|denied|permission|privilege", re.IGNORECASE
)


class GenericSource(CoreSource):
    """A database by its SQLAlchemy dialect; everything on one connection, in one transaction."""

    quotes = False

    def __init__(self, options: ConnectionOptions, engine: sa.Engine) -> None:
        self._options = options
        self._engine = engine
        self._dialect = engine.dialect
        self.consistent = engine.dialect.name in _SNAPSHOTS
        self._turn = Turn()
        self._connection: sa.Connection | None = None

    @classmethod
    def open(cls, options: ConnectionOptions, context: ConnectorContext) -> GenericSource:
        """The source; it connects when it is first asked. Raises ConfigError for a driver that is not installed."""
        del context
        if options.ssl is not None:
            raise ConfigError(
                f"sql connector: option 'ssl' means nothing for {options.url.drivername}://",
                hint="give the driver's own parameters in the URL",
            )
        try:
            engine = sa.create_engine(options.url.set(password=options.password), poolclass=sa.NullPool)
        except (ImportError, sa.exc.ArgumentError) as err:
            raise ConfigError(
                f"sql connector: the driver for {options.url.drivername}:// is not installed, or refuses the URL",
                hint="install its package beside lakecat",
            ) from err
        return cls(options, engine)

    def default_schema(self) -> str | None:
        """The dialect's own, unless the job names exactly one."""
        schemas = self._options.schemas
        if schemas is not None and len(schemas) == 1:
            return schemas[0]
        with self.asking("looking for the default schema") as connection:
            return sa.inspect(connection).default_schema_name

    def tables(self, policy: StreamOptions) -> Sequence[Table]:
        """Tables and views of the schemas that the job names, else of the default one."""
        schemas = self._options.schemas or (self.default_schema(),)
        found = []
        for schema in schemas:
            with self.asking("listing the tables") as connection:
                inspector = sa.inspect(connection)
                names = sorted({*inspector.get_table_names(schema), *inspector.get_view_names(schema)})
            found += [self.describe(Relation(schema, name), policy) for name in names]
        return found

    def describe(self, relation: Relation, policy: StreamOptions) -> Table:
        """The relation as the dialect reflects it. Raises ConfigError for queries, whose types nothing tells."""
        if relation.query is not None:
            raise ConfigError(
                f"sql connector: a query through {self._options.url.drivername}:// has columns of unknown types",
                hint="make the query a view in the database, and name that",
            )
        with self.asking(f"looking at {relation.shown}") as connection:
            inspector = sa.inspect(connection)
            try:
                rows = inspector.get_columns(relation.name or "", relation.schema)
                key = inspector.get_pk_constraint(relation.name or "", relation.schema)["constrained_columns"]
            except sa.exc.NoSuchTableError as err:
                raise self._missing(inspector, relation) from err
        columns = tuple(
            column_of(row["name"], row["type"], policy, nullable=row["nullable"], comment=row.get("comment"))
            for row in rows
        )
        return Table(relation=relation, uri=f"{self._uri}/{relation.shown}", columns=columns, key=tuple(key))

    def rows(self, scan: Scan, options: ReadOptions) -> GenericRows:
        """Fetch on the run's connection, in its turn."""
        columns = [column for column in scan.fetched if isinstance(column, AnyColumn)]
        for column in columns:
            if column.refused is not None:
                raise unreadable(scan.table, column, column.refused, "cast it in a view")
        expressions = [
            sa.cast(sa.column(column.name), sa.types.Text()) if column.textual else sa.column(column.name)
            for column in columns
        ]
        return GenericRows(self, self._select(scan, expressions), columns, scan, options)

    def close(self) -> None:
        """End the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError, OSError):  # it may have been lost before
                connection.close()

    @contextlib.contextmanager
    def asking(self, doing: str) -> Iterator[sa.Connection]:
        """The connection, for this thread alone. Raises SourceError."""
        with self._turn.taken(self._uri):
            try:
                if self._connection is None:
                    self._connection = self._connected()
                yield self._connection
            except sa.exc.SQLAlchemyError as err:
                raise self._ours(err, doing) from err
            except LakecatError:
                raise
            except Exception as err:  # a driver is anybody's code: some raise what they like for a value
                raise SourceError(
                    f"the driver failed while {doing}: {type(err).__name__}: {str(err)[:300]}",
                    where=Where(self._uri),
                    hint="leave such rows out with where:, or the column with exclude:",
                ) from err

    @property
    def _uri(self) -> str:
        url = self._options.url
        own = URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database)
        return own.render_as_string()

    def _fetch(self, statement: sa.Select[Any], doing: str) -> Sequence[Any] | None:
        with self.asking(doing) as connection:
            return connection.execute(statement).first()

    def _literal(self, column: Column | None, text: str) -> sa.ColumnElement[Any]:
        value = value_of(column, text)
        return sa.literal(value, column.reflected) if isinstance(column, AnyColumn) else sa.literal(value)

    def _connected(self) -> sa.Connection:
        try:
            connection = self._engine.connect()
        except Exception as err:  # a driver is anybody's code, and what it says may quote the URL
            raise self._no_connection(err) from err
        if (level := _SNAPSHOTS.get(self._dialect.name)) is not None:
            connection = connection.execution_options(isolation_level=level)
        return connection

    def _no_connection(self, err: Exception) -> SourceError:
        """What the driver says is looked at, not shown: it may quote what was in the URL."""
        where = Where(self._uri)
        if _ACCESS.search(str(getattr(err, "orig", err))):
            return SourceAccessError(
                f"the server refuses the user {self._options.url.username!r}",
                where=where,
                hint="mend the user, or the secret that password: names; the server's log says more",
            )
        return SourceUnavailableError(
            "the server does not answer", where=where, hint="is it running, and reachable from here under this name?"
        )

    def _ours(self, err: sa.exc.SQLAlchemyError, doing: str) -> SourceError:
        where, own = Where(self._uri), getattr(err, "orig", None)
        lost = getattr(err, "connection_invalidated", False) or isinstance(own, OSError)
        if lost or isinstance(err, sa.exc.InterfaceError | sa.exc.ResourceClosedError | sa.exc.PendingRollbackError):
            return SourceUnavailableError(
                f"the connection broke off while {doing}",
                where=where,
                hint="run the job again; nothing of this is lost",
            )
        message = "" if own is None else f": {str(own)[:300]}"
        return SourceError(
            f"failed: {doing}{message}", where=where, hint="look at the table or view that the stream names"
        )

    def _missing(self, inspector: sa.Inspector, relation: Relation) -> SourceError:
        names = [*inspector.get_table_names(relation.schema), *inspector.get_view_names(relation.schema)]
        return missing(
            relation.shown, relation.name or "", names, self._uri, "name it schema.table, as the database does"
        )


class GenericRows(ScanRows):
    """One scan under way."""

    def __init__(
        self,
        source: GenericSource,
        statement: sa.Select[Any],
        columns: Sequence[AnyColumn],
        scan: Scan,
        options: ReadOptions,
    ) -> None:
        super().__init__(targets_of(columns, scan, options, target_of), scan, options)
        self._source = source
        self._statement = statement

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._stack:
            connection = self._stack.enter_context(self._source.asking("reading rows"))
            streamed = {"stream_results": True, "max_row_buffer": _FETCH}
            result = self._stack.enter_context(connection.execute(self._statement, execution_options=streamed))
            rows: list[Any] = []
            size = 0
            for chunk in result.partitions(_FETCH):
                rows += chunk
                size += sum(len(cell) for row in chunk for cell in row if isinstance(cell, _SIZED))
                if len(rows) + _FETCH > self._batch_rows or size > _BLOCK_BYTES:
                    yield self._batch(rows)
                    rows, size = [], 0
            if rows:
                yield self._batch(rows)

    def _batch(self, rows: Sequence[Any]) -> pa.RecordBatch:
        return self._converter.batch(list(zip(*rows, strict=True)), len(rows))


_SIZED: Final = (str, bytes)
