"""The ``sql`` connector: tables, views and queries of a database, whole or by a cursor; see docs/connectors-sql.md."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

import pyarrow as pa

from lakecat.connector import (
    ConnectorContext,
    ReadOptions,
    ReadSummary,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
)
from lakecat.connector.columns import check_names
from lakecat.errors import ConfigError, SourceChangedError, SourceError, UsageError, Where
from lakecat.types import Json, SourceRead
from lakecat_connectors._sql_edge import Known, unpacked
from lakecat_connectors._sql_left import Left
from lakecat_connectors._sql_options import SqlOptions, connection_options, parse_options, stream_options
from lakecat_connectors._sql_plan import Asked, identity_columns, plan, refuse_grown
from lakecat_connectors._sql_registry import open_source
from lakecat_connectors._sql_source import Column, Relation, Scan, SqlSource, Table, Window, cursor_kind

_SHOWN: Final = 2_000
_NAME: Final = re.compile(r'(?:("(?:[^"]|"")+"|[^".][^.]*)\.)?("(?:[^"]|"")+"|[^"].*)', re.DOTALL)


class Sql:
    """Reads databases; see docs/connectors-sql.md for its options."""

    def __init__(self, options: SqlOptions, source: SqlSource) -> None:
        self._options = options
        self._source = source
        self._asked: dict[str, Asked] = {}
        self._lock = threading.Lock()
        self._left = Left(self._release)

    @classmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Sql:
        """Validate the options and fetch the password; connects later. Raises ConfigError naming the option."""
        parsed = parse_options(options)
        return cls(parsed, open_source(connection_options(parsed, context), context))

    def discover(self) -> Sequence[Stream]:
        """The tables and views that ``schemas`` and ``tables`` leave and this user may read. Raises SourceError."""
        tables = [table for table in self._source.tables(self._options) if self._is_wanted(table)]
        return tuple(map(_stream, tables))

    def plan(self, request: StreamRequest, state: StreamState) -> Iterable[Slice]:
        """The windows that are due, one slice each; the whole without a cursor. Raises ConfigError, SourceError."""
        asked = self._ask(request)
        with self._lock:
            self._asked[asked.name] = asked
        return self._left.planned(plan(self._source, asked, state))

    def settled(self) -> None:
        """Every stream is planned: the snapshot goes once the last row has been read, before it is committed."""
        self._left.settle()

    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Fetch a slice, or one split of it. Raises SourceError."""
        done = functools.partial(self._left.closed, self._left.opened(), slice_)
        try:
            return self._reader(slice_, options, done)
        except BaseException:
            done(finished=False)
            raise

    def _reader(self, slice_: Slice, options: ReadOptions, done: Callable[..., None]) -> SqlReader:
        name = str(slice_.payload["stream"])
        with self._lock:
            asked = self._asked.get(name)
        if asked is None:
            own = slice_.payload["options"]
            asked = self._ask(StreamRequest(name=name, options=own if isinstance(own, dict) else {}))
            refuse_grown(self._source, asked, slice_)
        return SqlReader(self._source, asked, slice_, options, done)

    def close(self) -> None:
        """End every connection, and with them the snapshot."""
        self._source.close()

    def _release(self) -> None:
        """End the snapshot; who reads a slice once more does so in another, as another instance would."""
        with self._lock:
            self._asked.clear()
        self._source.close()

    def _is_wanted(self, table: Table) -> bool:
        patterns = self._options.tables
        shown = table.relation.shown
        names = (shown, table.relation.name or "")
        return patterns is None or any(fnmatchcase(name, pattern) for name in names for pattern in patterns)

    def _ask(self, request: StreamRequest) -> Asked:
        options = stream_options(self._options, request.options)
        if options.query is not None:
            relation = Relation(query=options.query)
        else:
            named = options.table or request.name
            if named is None:
                raise ConfigError(
                    "sql connector: which table? The job names none",
                    hint="say stream: schema.table, or table: or query: under options",
                )
            relation = self._relation(named)
        table = self._source.describe(relation, options)
        columns = _chosen(table, options.include, options.exclude)
        name = request.name or table.relation.shown
        return Asked(name=name, table=table, columns=columns, options=options, request=request)

    def _relation(self, named: str) -> Relation:
        """A name as ``discover`` gives it, else ``schema.table``, each in double quotes where it has a dot itself.

        A name without a dot is a table of the default schema. Raises ConfigError.
        """
        match = _NAME.fullmatch(named)
        if match is None:
            raise ConfigError(
                f"sql connector: {named!r} is no name of a table",
                hint='write schema.table, and names that hold dots in double quotes: "odd.schema".table',
            )
        schema, name = (None if part is None else _unquoted(part) for part in match.groups())
        return Relation(self._source.default_schema() if schema is None else schema, name)


class SqlReader:
    """One slice, or one split of it: its parts one after the other."""

    def __init__(
        self, source: SqlSource, asked: Asked, slice_: Slice, options: ReadOptions, done: Callable[..., None]
    ) -> None:
        self._source = source
        self._done = done
        self._asked = asked
        self._options = options
        self._parts = _parts(slice_)
        self._payload = slice_.payload
        self._rows = 0
        self._bytes: int | None = 0
        self._rejected: list[pa.Table] = []
        self._taken = False
        self._finished = False
        first: Mapping[str, Json] = self._parts[0] if self._parts else {}
        self._current = source.rows(self._scan(first), options)
        self._schema = self._chosen(self._current.schema)

    @property
    def schema(self) -> pa.Schema:
        """The chosen columns, by the database's catalogue and the policy."""
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._taken:
            raise UsageError("a slice can be read once")
        self._taken = True
        for number, part in enumerate(self._parts):
            if number:
                self._current = self._source.rows(self._scan(part), self._left())
            if self._chosen(self._current.schema) != self._schema:
                raise SourceChangedError(f"{self._asked.name} was altered while it was read", hint="run the job again")
            for batch in self._current:
                self._rows += batch.num_rows
                if batch.num_rows:
                    yield batch
            self._account()
        self._finished = True

    def summary(self) -> ReadSummary:
        """Rows, and the source with the text of its query. Raises UsageError before the last batch was taken."""
        if not self._finished:
            raise UsageError("the slice has not been read to its end")
        properties = {}
        if (query := self._asked.table.relation.query) is not None:
            properties["query"] = query[:_SHOWN]
        return ReadSummary(
            rows=self._rows,
            sources=(SourceRead(self._asked.table.uri, self._rows, self._bytes, properties),),
            rejected=pa.concat_tables(self._rejected) if self._rejected else None,
        )

    def keys(self) -> pa.RecordBatchReader:
        """Every key that the table, view or query has in the run's snapshot; ``where`` holds for them as well."""
        table = self._asked.table
        columns = tuple(column for name in self._options.keys if (column := table.column(name)) is not None)
        self._current = self._source.rows(self._scan({}, columns), self._options)
        return pa.RecordBatchReader.from_batches(self._current.schema, self._current)

    def close(self) -> None:
        """End the connection, also in the midst."""
        self._current.close()
        self._done(finished=self._finished)

    def _chosen(self, schema: pa.Schema) -> pa.Schema:
        return pa.schema([schema.field(column.name) for column in self._asked.columns])

    def _identity(self, part: Mapping[str, Json]) -> tuple[tuple[Column, ...], Known | None]:
        """What tells the rows of a part apart, and those that an earlier run has read."""
        hashes, names = self._payload.get("known"), self._payload.get("identity")
        if not part.get("known") or not isinstance(hashes, str) or not isinstance(names, list):
            return (), None
        return identity_columns(self._source, self._asked, list(map(str, names))), Known(unpacked(hashes))

    def _account(self) -> None:
        if (rejected := self._current.rejected) is not None:
            self._rejected.append(rejected)
        if self._bytes is not None:
            self._bytes = None if self._current.bytes is None else self._bytes + self._current.bytes
        self._current.close()

    def _left(self) -> ReadOptions:
        """The options for the next part: what may still be set aside."""
        options = self._options
        if options.rejects is None:
            return options
        gone = sum(table.num_rows for table in self._rejected)
        return replace(options, rejects=max(options.rejects - gone, 0))

    def _scan(self, part: Mapping[str, Json], columns: tuple[Column, ...] | None = None) -> Scan:
        window, split = part.get("window"), part.get("split")
        identity, known = self._identity(part)
        return Scan(
            table=self._asked.table,
            columns=self._asked.columns if columns is None else columns,
            policy=self._asked.options,
            window=Window.from_json(window) if isinstance(window, dict) else None,
            split=split if isinstance(split, dict) else None,
            identity=identity,
            sieve=known,
        )


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _parts(slice_: Slice) -> Sequence[Mapping[str, Json]]:
    if slice_.splits:
        return slice_.splits
    parts = slice_.payload["parts"]
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _stream(table: Table) -> Stream:
    ordered = [column for column in table.columns if cursor_kind(column.type) is not None]
    return Stream(
        name=table.relation.shown,
        uri=table.uri,
        schema=pa.schema([(column.name, column.type) for column in table.columns]),
        key=table.key,
        cursors=tuple(column.name for column in sorted(ordered, key=lambda one: _cursor_rank(one, table))),
        estimated_rows=table.estimated_rows,
        description=table.comment,
    )


def _cursor_rank(column: Column, table: Table) -> tuple[int, int]:
    """Times of change first, then growing keys, then what else has an order."""
    name, type_ = column.name.lower(), column.type
    if pa.types.is_timestamp(type_):
        return (0 if any(word in name for word in ("updat", "modif", "chang")) else 1, 0)
    if pa.types.is_integer(type_) and table.key == (column.name,):
        return (2, 0)
    return (3 if pa.types.is_date(type_) or pa.types.is_integer(type_) else 4, 0)


def _chosen(table: Table, include: Sequence[str] | None, exclude: Sequence[str]) -> tuple[Column, ...]:
    """The columns to read, in the table's order. Raises ConfigError for names that are not there."""
    known = {column.name for column in table.columns}
    for option, names in (("include", include or ()), ("exclude", exclude)):
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"sql connector: option {option!r}: {table.relation.shown} has no column {name!r}",
                    hint=f"it has {', '.join(sorted(known))[:200]}",
                )
    wanted = known if include is None else set(include)
    chosen = tuple(column for column in table.columns if column.name in wanted and column.name not in exclude)
    if not chosen:
        raise SourceError(f"{table.relation.shown} has no columns that are read", where=Where(table.uri))
    check_names([column.name for column in chosen], Where(table.uri))
    return chosen


__all__ = ["Sql", "SqlReader"]
