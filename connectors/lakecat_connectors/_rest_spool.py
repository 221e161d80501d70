"""The rows of one slice, waiting on disk as lines of JSON, and what they are of, seen block by block as they come."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

from lakecat.connector.nested import without_null
from lakecat.connector.shapes import Budget, Shape, ShapeError
from lakecat.errors import SourceChangedError, SourceError, Where
from lakecat_connectors._json_fast import DoubtError, Lines, blocks, check, look_over, observed
from lakecat_connectors._rest_json import field_of, row_of

_KEY_BYTES: Final = 16
_BLOCK: Final = 1 << 20
_IN_MEMORY: Final = 4 << 20

Flawed = tuple[str, str | None]
"""Why a row cannot be read, and in which column."""


@dataclass(frozen=True, slots=True)
class SpooledRow:
    """One row: its page, its number there, its JSON."""

    source: str
    line: int
    text: str
    flaw: Flawed | None = None

    @property
    def value(self) -> dict[str, Any]:
        """The row."""
        return row_of(self.text)


class Spool:
    """Takes rows in; readable any number of times once ``close`` was called.

    The files have no names: who is killed leaves nothing behind. One holds the rows, the other where they came from:
    the page and the line of the first of those that follow each other, and the rows that are none.
    """

    def __init__(self, key: Sequence[str]) -> None:
        """``key`` names the columns that identify a row, if they are known."""
        self._key = key
        self._data = _Disk()
        self._index = _Disk()
        self._digest = hashlib.sha256()
        self._keys = bytearray()
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._page = ""
        self._expected: int | None = None
        self._number = 0
        self._late: dict[int, Flawed] = {}
        self._shape: Shape | None = None
        self.natural: pa.Schema | None = None
        self._in_doubt = False
        self.rows = 0
        self.flaws = 0
        self.pages = 0
        self.bytes = 0
        self.dropped: frozenset[int] = frozenset()

    @property
    def digest(self) -> str:
        """The same for the same rows in the same order."""
        return self._digest.hexdigest()[:40]

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """The keys of the rows, and the narrowest type that holds the values of each exactly."""
        if self.natural is not None:
            return {field.name: field.type for field in self.natural}
        return {} if self._shape is None else {name: one.decide() for name, one in self._shape.fields.items()}

    def page(self, shown: str, size: int) -> None:
        """The rows that follow are of another page."""
        self.pages += 1
        self.bytes += size
        self._page, self._expected = shown, None

    def add(self, row: dict[str, Any], text: str, line: int) -> None:
        """One row. ``text`` is that of ``row_text``."""
        if line != self._expected:
            self._index.write(_entry(self._number, self._page, line, None))
        self._expected = line + 1
        if self._key:
            self._keys += self._key_digest(row)
        self._number += 1
        self.rows += 1
        self._waiting.append(text)
        self._waiting_size += len(text)
        if self._waiting_size >= _BLOCK:
            self._write_waiting()

    def flaw(self, text: str, line: int, reason: str, column: str | None) -> None:
        """One row that cannot be read."""
        self.flaws += 1
        self._expected = None
        self._index.write(_entry(self._number, self._page, line, [text, reason, column]))
        self._digest.update(json.dumps([line, text, reason, column]).encode())

    def close(self, *, whole: bool, keyed: bool) -> None:
        """No more rows come. ``whole``: they are the stream's state, where a key stands for one row.

        Rows that came twice because pages moved under the reader are dropped. Raises SourceChangedError for a key of
        a whole stream that has different rows; with ``keyed`` all stay, and the last one of a key will count.
        """
        self._write_waiting()
        if self._in_doubt:
            self._observe_exactly()
        elif self.natural is not None:
            self.natural = pa.schema([field.with_type(without_null(field.type)) for field in self.natural])
        if self._keys and not keyed:
            self.dropped = frozenset(self._repeated(whole=whole))
        self._keys = bytearray()

    def lines(self, first: int = 0) -> Iterator[SpooledRow]:
        """The rows from a number on and all flaws before and between them, without the rows that were dropped."""
        for number, row in self._numbered():
            if number is None or (number >= first and number not in self.dropped):
                yield row

    def blocks(self) -> Iterator[Lines]:
        """The rows that are no flaws as lines of JSON, those that were dropped included. Raises DoubtError."""
        return blocks(self._data.chunks())

    def delete(self) -> None:
        """Free the disk; safe to call twice."""
        self._data.close()
        self._index.close()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        data = "\n".join([*self._waiting, ""]).encode()
        self._waiting, self._waiting_size = [], 0
        self._digest.update(data)
        self._data.write(data)
        if self._in_doubt:
            return
        try:
            for block in blocks(iter([data])):
                look_over(block)
                self.natural, _ = observed(block, self.natural)
                check(self.natural)
        except DoubtError:
            self.natural, self._in_doubt = None, True

    def _observe_exactly(self) -> None:
        """Types by the exact rules; a row that no column holds is a flaw, and has no say in them."""
        sound = False
        while not sound:
            sound, self._shape = True, Shape(Budget())
            for number, row in self._numbered():
                if number is None or number in self._late:
                    continue
                try:
                    for name, value in row.value.items():
                        self._shape.child(name, "").observe(value, name)
                except ShapeError as err:
                    self._late[number], sound = (err.what, err.path or None), False
        self.rows -= len(self._late)
        self.flaws += len(self._late)

    def _numbered(self) -> Iterator[tuple[int | None, SpooledRow]]:
        """Rows with their numbers, and flaws that have none, in their order."""
        entries = map(json.loads, self._index.lines())
        coming = next(entries, None)
        source, line, number = "", 0, 0
        for data in self._data.lines():
            while coming is not None and coming[0] <= number:
                if coming[3] is None:
                    _, source, line, _ = coming
                else:
                    yield None, _flaw_of(coming)
                coming = next(entries, None)
            yield number, SpooledRow(source, line, data.decode(), self._late.get(number))
            number, line = number + 1, line + 1
        while coming is not None:
            yield None, _flaw_of(coming)
            coming = next(entries, None)

    def _key_digest(self, row: dict[str, Any]) -> bytes:
        values = [field_of(row, name) for name in self._key]
        if any(value is None for value in values):
            values = ["", self._number]  # rows without a key equal no others
        return hashlib.blake2b(json.dumps(values, default=str).encode(), digest_size=_KEY_BYTES).digest()

    def _repeated(self, *, whole: bool) -> set[int]:
        """The numbers of the rows that only repeat an earlier one with the same key."""
        keys = np.frombuffer(bytes(self._keys), dtype=f"V{_KEY_BYTES}")
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        twice = np.flatnonzero(counts[inverse] > 1)
        if not len(twice):
            return set()
        groups = {int(number): int(inverse[number]) for number in twice}
        first: dict[int, set[str]] = defaultdict(set)
        dropped: set[int] = set()
        for number, row in self._numbered():
            if number is None or number not in groups or row.flaw is not None:
                continue
            texts = first[groups[number]]
            if row.text in texts:
                dropped.add(number)
            elif texts and whole:
                self._refuse_two(row)
            texts.add(row.text)
        return dropped

    def _refuse_two(self, row: SpooledRow) -> None:
        values = ", ".join(f"{name} {field_of(row.value, name)!r}" for name in self._key)[:100]
        raise SourceChangedError(
            f"two different rows have {values}",
            where=Where(row.source, row.line),
            hint="if the source changed while it was read, run the job again; else primary_key: names too few columns",
        )


class _Disk:
    """Bytes in a temporary file without a name; a few stay in memory."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - closed by close

    def write(self, data: bytes) -> None:
        """At the end. Raises SourceError where there is no room."""
        try:
            self._file.write(data)
        except OSError as err:
            raise SourceError(
                f"rows cannot be kept in a temporary file: {err.strerror or err}", hint="free space, or set TMPDIR"
            ) from err

    def chunks(self) -> Iterator[bytes]:
        """All of it, in pieces."""
        place = 0
        while True:
            self._file.seek(place)
            if not (data := self._file.read(_BLOCK)):
                return
            place += len(data)
            yield data

    def lines(self) -> Iterator[bytes]:
        """All of it, in lines without their ends; the last one ended."""
        carry: list[bytes] = []
        for chunk in self.chunks():
            first, *others = chunk.split(b"\n")
            carry.append(first)
            if others:
                yield b"".join(carry)
                *whole, last = others
                yield from whole
                carry = [last]

    def close(self) -> None:
        self._file.close()


def _entry(number: int, source: str, line: int, flaw: Sequence[str | None] | None) -> bytes:
    return json.dumps([number, source, line, flaw]).encode() + b"\n"


def _flaw_of(entry: Sequence[Any]) -> SpooledRow:
    _, source, line, (text, reason, column) = entry
    return SpooledRow(source, line, text, (reason, column))
