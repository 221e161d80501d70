r"""Rows out of PostgreSQL: ``COPY … TO STDOUT`` as CSV, parsed by pyarrow with the catalogue's types.

CSV, because pyarrow reads it in C++, and because it keeps apart what the text format of COPY cannot without its
backslashes: NULL is an unquoted ``\N``, which PostgreSQL quotes where a value spells it. (COPY BINARY, decoded by
NumPy column by column, took twice the time.) Each message of the protocol is one row, so batches are cut at rows, and
a row that does not convert is found in its batch.
"""

from __future__ import annotations

import contextlib
import json
import select
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.pq import ExecStatus
from pyarrow import csv

from lakecat.connector import REJECTED, ReadOptions
from lakecat.connector.columns import fold
from lakecat.connector.fit import is_text_type
from lakecat.errors import ParseError, SourceError, Where
from lakecat_connectors._faults import excerpt
from lakecat_connectors._sql_options import ConnectionOptions, StreamOptions
from lakecat_connectors._sql_postgres_session import Sessions, from_state, ours
from lakecat_connectors._sql_postgres_types import PgColumn
from lakecat_connectors._sql_source import Table
from lakecat_connectors._sql_text import BEYOND, Convert, cast

_BATCH_BYTES: Final = 4 * 2**20
_POLL_MILLISECONDS: Final = 1_000
_SHOWN_ROW: Final = 64 * 1024
_READING: Final = "reading rows"


@dataclass(frozen=True, slots=True)
class _Target:
    """A column as it leaves: ``parsed`` by the CSV reader, else converted from text."""

    name: str
    type: pa.DataType
    native: str
    parsed: bool
    convert: Convert

    @property
    def csv_type(self) -> pa.DataType:
        """What the CSV reader makes of it."""
        return self.type if self.parsed else pa.string()


def _target(column: PgColumn, declared: pa.DataType | None) -> _Target:
    if declared is None or declared == column.type:
        return _Target(column.name, column.type, column.native, column.parsed, column.convert)
    if column.parsed and is_text_type(declared):
        return _Target(column.name, declared, column.native, True, cast(declared))
    before = column.convert
    return _Target(column.name, declared, column.native, False, lambda texts: before(texts).cast(declared))


class CopyRows:
    """One scan under way; the COPY starts with the first batch."""

    def __init__(
        self,
        sessions: Sessions,
        statement: str,
        columns: Sequence[PgColumn],
        table: Table,
        policy: StreamOptions,
        options: ReadOptions,
    ) -> None:
        self._sessions = sessions
        self._statement = statement
        declared = {fold(name): type_ for name, type_ in options.declared.items()}
        self._targets = [_target(column, declared.get(fold(column.name))) for column in columns]
        self._parser = _Parser(self._targets, table, policy, options.rejects)
        self._batch_rows = options.batch_rows
        self._stack = contextlib.ExitStack()
        self._bytes = 0

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return pa.schema([(target.name, target.type) for target in self._targets])

    @property
    def rejected(self) -> pa.Table | None:
        """Rows set aside so far."""
        return self._parser.rejected()

    @property
    def bytes(self) -> int:
        """Of CSV, so far."""
        return self._bytes

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        connection = self._stack.enter_context(self._sessions.reading())
        try:
            yield from map(self._parser.parse, self._texts(connection))
        finally:
            self._stack.close()

    def close(self) -> None:
        """End the connection, also in the midst."""
        self._stack.close()

    def _texts(self, connection: psycopg.Connection[Any]) -> Iterator[bytearray]:
        copy = _Copy(connection, self._sessions.options)
        try:
            copy.start(self._statement)
            while block := copy.block(self._batch_rows, _BATCH_BYTES):
                self._bytes += len(block)
                yield block
        except psycopg.Error as err:
            raise ours(err, self._sessions.options, _READING, known=True) from err


class _Copy:
    """The protocol of one COPY. Waiting is done here and not in libpq, so that an interrupt is heard."""

    def __init__(self, connection: psycopg.Connection[Any], options: ConnectionOptions) -> None:
        self._pgconn = connection.pgconn
        self._options = options
        self._poll = select.poll()
        self._poll.register(self._pgconn.socket, select.POLLIN)
        self._ended = False

    def start(self, statement: str) -> None:
        """Send the statement. Raises SourceError when the server refuses it."""
        self._pgconn.send_query(f"COPY ({statement}) TO STDOUT (FORMAT csv, NULL '\\N')".encode())
        result = self._result()
        if result is None or result.status != ExecStatus.COPY_OUT:
            self._raise(result)

    def block(self, rows: int, size: int) -> bytearray:
        """The next rows, at most so many, and about so many bytes; empty at the end. Raises SourceError."""
        found = bytearray()
        take, pgconn, count = self._pgconn.get_copy_data, self._pgconn, 0
        while not self._ended and count < rows and len(found) < size:
            length, data = take(1)
            if length > 0:
                # Copied at once: memory that libpq gets back at once is given out again warm.
                found += data
                count += 1
            elif length == 0:
                self._poll.poll(_POLL_MILLISECONDS)
                pgconn.consume_input()
            else:
                self._ended = True
                self._finish()
        return found

    def _finish(self) -> None:
        result = self._result()
        if result is None or result.status != ExecStatus.COMMAND_OK:
            self._raise(result)
        while self._result() is not None:
            pass

    def _result(self) -> Any:
        self._pgconn.flush()
        while self._pgconn.is_busy():
            self._poll.poll(_POLL_MILLISECONDS)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _raise(self, result: Any) -> None:
        state = None if result is None else result.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        message = b"" if result is None else result.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        raise from_state(
            None if state is None else state.decode(),
            message.decode("utf-8", "replace"),
            self._options,
            _READING,
            known=True,
        )


@dataclass(slots=True)
class _Parser:
    """CSV to batches; rows that do not convert are found, and set aside where that is allowed."""

    targets: Sequence[_Target]
    table: Table
    policy: StreamOptions
    rejects: int | None
    _aside: list[dict[str, Any]] = field(default_factory=list)
    _rows: int = 0

    def parse(self, text: bytearray) -> pa.RecordBatch:
        """A block of whole rows. Raises ParseError."""
        try:
            table = self._read(text, {str(n): target.csv_type for n, target in enumerate(self.targets)})
            arrays = [
                _array(column) if target.parsed else target.convert(_array(column))
                for target, column in zip(self.targets, table.columns, strict=True)
            ]
        except (pa.ArrowInvalid, ValueError):
            return self._slowly(text)
        self._rows += table.num_rows
        return self._batch(arrays)

    def rejected(self) -> pa.Table | None:
        """Rows set aside so far."""
        return pa.Table.from_pylist(self._aside, REJECTED) if self._aside else None

    def _batch(self, arrays: Sequence[pa.Array]) -> pa.RecordBatch:
        schema = pa.schema([(target.name, target.type) for target in self.targets])
        return pa.RecordBatch.from_arrays(list(arrays), schema=schema)

    def _read(self, text: bytearray, types: dict[str, pa.DataType]) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(pa.py_buffer(text)),
            read_options=csv.ReadOptions(column_names=list(types), block_size=len(text) + 1, use_threads=False),
            parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=["\\N"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                true_values=["t"],
                false_values=["f"],
            ),
        )

    def _slowly(self, text: bytearray) -> pa.RecordBatch:
        """The same from texts, with the rows that do not convert taken out, or changed as the policy says."""
        try:
            table = self._read(text, {str(n): pa.string() for n in range(len(self.targets))})
        except pa.ArrowInvalid as err:
            raise SourceError(
                "the server sent text that is not UTF-8, or no CSV",
                where=Where(self.table.uri),
                hint="a database whose encoding is SQL_ASCII may hold any bytes: cast such columns to bytea in a query",
            ) from err
        texts = [
            self._within(target, _array(column)) for target, column in zip(self.targets, table.columns, strict=True)
        ]
        bad: dict[int, int] = {}
        for number, target in enumerate(self.targets):
            for row in _misfits(texts[number], target.convert):
                if row not in bad:
                    bad[row] = number
                    self._set_aside(row, number, texts)
        self._rows += table.num_rows
        if bad:
            keep = pa.array([row not in bad for row in range(table.num_rows)], pa.bool_())
            texts = [column.filter(keep) for column in texts]
        return self._batch([target.convert(column) for target, column in zip(self.targets, texts, strict=True)])

    def _within(self, target: _Target, texts: pa.Array) -> pa.Array:
        if self.policy.out_of_range != "null" or not pa.types.is_temporal(target.type):
            return texts
        beyond = pc.match_substring_regex(texts, f"^(?:{BEYOND})$")
        return pc.if_else(pc.fill_null(beyond, False), pa.scalar(None, pa.string()), texts)

    def _set_aside(self, row: int, number: int, texts: Sequence[pa.Array]) -> None:
        target, value = self.targets[number], texts[number][row].as_py()
        reason = f"{excerpt(value)} does not fit {target.name!r}, {target.native} read as {target.type}"
        if self.rejects is None or len(self._aside) >= self.rejects:
            raise ParseError(
                f"{self._named(row, texts)}: {reason}",
                where=Where(self.table.uri, column=target.name),
                hint=_hint(target),
            )
        whole = {one.name: column[row].as_py() for one, column in zip(self.targets, texts, strict=True)}
        self._aside.append(
            {
                "source": self.table.uri,
                "line": None,
                "column": target.name,
                "text": json.dumps(whole, ensure_ascii=False)[:_SHOWN_ROW],
                "reason": f"{self._named(row, texts)}: {reason}",
            }
        )

    def _named(self, row: int, texts: Sequence[pa.Array]) -> str:
        """The row by its key, else by its number among those read."""
        names = [target.name for target in self.targets]
        if self.table.key and all(name in names for name in self.table.key):
            shown = (f"{name} = {excerpt(texts[names.index(name)][row].as_py())}" for name in self.table.key)
            return f"the row with {', '.join(shown)}"
        return f"row {self._rows + row + 1} of those read"


def _hint(target: _Target) -> str:
    if pa.types.is_temporal(target.type):
        return "say out_of_range: null to read it as NULL, declare the column as string, or say quarantine: true"
    return "declare the column under columns: with a type that holds it (string holds all), or say quarantine: true"


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _misfits(texts: pa.Array, convert: Callable[[pa.Array], pa.Array], first: int = 0) -> Iterator[int]:
    """Rows whose text does not convert, in order, by halving."""
    try:
        convert(texts)
    except (pa.ArrowInvalid, ValueError):
        if len(texts) == 1:
            yield first
            return
        middle = len(texts) // 2
        yield from _misfits(texts.slice(0, middle), convert, first)
        yield from _misfits(texts.slice(middle), convert, first + middle)
