"""Lines that cannot be read, set aside instead of raising, as many as the job allows."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from lakecat.connector import REJECTED
from lakecat.errors import ParseError

MAX_TEXT: Final = 64 << 20
_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Rejected:
    """One line: in which of the slice's files, where, its text as it was, and why."""

    file: int
    line: int
    column: str | None
    text: str
    reason: str


@dataclass(slots=True)
class Rejects:
    """What a slice sets aside, each line once however often it is read. ``limit`` None: nothing may be."""

    limit: int | None = None
    _found: dict[tuple[int, int], Rejected] = field(default_factory=dict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def allowed(self) -> bool:
        """Whether lines may be set aside at all."""
        return bool(self.limit)

    def take(self, file: int, text: bytes, error: ParseError, *, marked: bool = False) -> None:
        """Set the line that ``error`` tells of aside; raises it where none may be, and ParseError for too many.

        ``text`` are the line's bytes; ``marked``: undecodable ones in it were replaced by surrogates.
        """
        where = error.where
        if not self.limit or where is None or where.line is None:
            raise error
        column = None if where.column is None else str(where.column)
        entry = Rejected(file, where.line, column, shown_text(text, marked=marked), error.what)
        with self._lock:
            if (file, where.line) in self._found:
                return
            self._found[file, where.line] = entry
            self._bytes += len(text)
            if len(self._found) > self.limit:
                raise self._too_many(f"more than {self.limit} lines cannot be read", error)
            if self._bytes > MAX_TEXT:
                raise self._too_many(f"lines of more than {MAX_TEXT >> 20} MiB cannot be read", error)

    def absorb(self, row: Rejected) -> None:
        """Take over a row that another ``Rejects`` has counted, such as one of an archive's member."""
        with self._lock:
            self._found[row.file, -len(self._found) - 1] = row

    def lines(self, file: int) -> frozenset[int]:
        """The lines of a file that are set aside."""
        with self._lock:
            return frozenset(line for index, line in self._found if index == file)

    def rows(self) -> tuple[Rejected, ...]:
        """Everything set aside, by file and line."""
        return tuple(self._found[key] for key in sorted(self._found))

    def _too_many(self, what: str, last: ParseError) -> ParseError:
        return ParseError(
            f"{what}, one of them: {last.what}",
            where=last.where,
            hint="mend the source, or raise max_rows under quarantine:",
        )


def shown_text(text: bytes, *, marked: bool = False) -> str:
    """A line's text without its end; what is no text in it as U+FFFD."""
    body = text.removesuffix(b"\n").removesuffix(b"\r")
    if marked:
        return _SURROGATES.sub("\ufffd", body.decode("utf-8", "surrogatepass"))
    return body.decode("utf-8", "replace")


def to_message(rows: Sequence[Rejected]) -> list[list[Any]]:
    """The rows as JSON."""
    return [[row.file, row.line, row.column, row.text, row.reason] for row in rows]


def to_table(message: Sequence[Sequence[Any]], uris: Sequence[str]) -> pa.Table:
    """The rows of a message with the columns of :data:`lakecat.connector.REJECTED`."""
    rows = [Rejected(*row) for row in message]
    columns = [
        [uris[row.file] for row in rows],
        [row.line for row in rows],
        [row.column for row in rows],
        [row.text for row in rows],
        [row.reason for row in rows],
    ]
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, REJECTED, strict=True)]
    return pa.Table.from_arrays(arrays, schema=REJECTED)
