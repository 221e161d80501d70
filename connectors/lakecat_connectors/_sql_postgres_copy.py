r"""Rows out of PostgreSQL: ``COPY … TO STDOUT`` as CSV, parsed by pyarrow with the catalogue's types.

CSV, because pyarrow reads it in C++, and because it keeps apart what the text format of COPY cannot without its
backslashes: NULL is an unquoted ``\N``, which PostgreSQL quotes where a value spells it. (COPY BINARY, decoded by
NumPy column by column, took twice the time.) Each message of the protocol is one row, so batches are cut at rows, and
a row that does not convert is found in its batch.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
from psycopg.pq import ExecStatus
from pyarrow import csv

from lakecat.connector import ReadOptions
from lakecat.connector.fit import is_text_type
from lakecat.errors import SourceError, Where
from lakecat_connectors._sql_convert import MISFITS, ScanRows, Target, targets_of, then_cast
from lakecat_connectors._sql_options import ConnectionOptions
from lakecat_connectors._sql_postgres_session import LockedError, Sessions, from_state, ours
from lakecat_connectors._sql_postgres_types import PgColumn
from lakecat_connectors._sql_source import Scan
from lakecat_connectors._sql_text import BEYOND, cast

_BATCH_BYTES: Final = 4 * 2**20
_POLL_MILLISECONDS: Final = 1_000
_READING: Final = "reading rows"


@dataclass(frozen=True, slots=True)
class _Target(Target):
    """A column as it leaves: ``parsed`` by the CSV reader, else converted from text."""

    parsed: bool = False


def _target(column: PgColumn, declared: pa.DataType | None) -> _Target:
    type_, convert, parsed = declared or column.type, column.convert, column.parsed
    if type_ != column.type:
        parsed = parsed and is_text_type(type_)
        convert = cast(type_) if parsed else then_cast(convert, type_)
    return _Target(column.name, type_, column.native, convert, _without_beyond, parsed)


def _without_beyond(texts: pa.Array) -> pa.Array:
    beyond = pc.match_substring_regex(texts, f"^(?:{BEYOND})$")
    return pc.if_else(pc.fill_null(beyond, False), pa.scalar(None, pa.string()), texts)


class CopyRows(ScanRows):
    """One scan under way; the COPY starts with the first batch."""

    def __init__(
        self,
        sessions: Sessions,
        statement: str,
        columns: Sequence[PgColumn],
        scan: Scan,
        options: ReadOptions,
        prove: Callable[[], None],
    ) -> None:
        self._targets = targets_of(columns, scan, options, _target)
        super().__init__(self._targets, scan, options)
        self._sessions = sessions
        self._statement = statement
        self._uri = scan.table.uri
        self._prove = prove
        self._bytes = 0

    @property
    def bytes(self) -> int:
        """Of CSV, so far."""
        return self._bytes

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from map(self._batch, self._texts())
        finally:
            self._stack.close()
        self._prove()

    def _texts(self) -> Iterator[bytearray]:
        try:
            copy = self._started()
            while block := copy.block(self._batch_rows, _BATCH_BYTES):
                self._bytes += len(block)
                yield block
        except psycopg.Error as err:
            raise ours(err, self._sessions.options, _READING, known=True) from err

    def _started(self) -> _Copy:
        """The COPY under way, on a connection of its own.

        Where somebody waits for an exclusive lock that the run's first connection keeps from them, ours would wait
        behind them: then the first one reads, whose lock is held already.
        """
        for first in (False, True):
            connection = self._stack.enter_context(self._sessions.reading(first=first))
            copy = _Copy(connection, self._sessions.options)
            try:
                copy.start(self._statement)
            except LockedError:
                if first or not self._sessions.shares:
                    raise
                self._stack.close()
            else:
                break
        return copy

    def _batch(self, text: bytearray) -> pa.RecordBatch:
        """A block of whole rows; from texts where the CSV reader cannot parse a value. Raises ParseError."""
        try:
            cells = _cells(text, [target.type if target.parsed else pa.string() for target in self._targets])
            arrays = [
                column if target.parsed else target.convert(column)
                for target, column in zip(self._targets, cells, strict=True)
            ]
        except MISFITS:
            texts = self._as_texts(text)
            return self._converter.batch(texts, len(texts[0]))
        return self._converter.converted(arrays, len(arrays[0]))

    def _as_texts(self, text: bytearray) -> list[pa.Array]:
        try:
            return _cells(text, [pa.string()] * len(self._targets))
        except pa.ArrowInvalid as err:
            raise SourceError(
                "the server sent text that is not UTF-8, or no CSV",
                where=Where(self._uri),
                hint="a database whose encoding is SQL_ASCII may hold any bytes: cast such columns to bytea in a query",
            ) from err


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


def _cells(text: bytearray, types: Sequence[pa.DataType]) -> list[pa.Array]:
    """The columns of CSV. Raises ArrowInvalid for what is none, and for a value that is not of its type."""
    named = {str(n): type_ for n, type_ in enumerate(types)}
    table = csv.read_csv(
        pa.BufferReader(pa.py_buffer(text)),
        read_options=csv.ReadOptions(column_names=list(named), block_size=len(text) + 1, use_threads=False),
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            column_types=named,
            null_values=["\\N"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return [one.chunk(0) if one.num_chunks == 1 else one.combine_chunks() for one in table.columns]
