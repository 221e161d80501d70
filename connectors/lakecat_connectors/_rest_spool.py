"""The rows of one slice, waiting in a temporary file: one line each, with the page each came from."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from lakecat.connector.shapes import Budget, Shape, ShapeError
from lakecat.errors import SourceChangedError, SourceError, Where
from lakecat_connectors._rest_json import row_of

_KEY_BYTES: Final = 16
_PAGE, _ROW, _FLAW = "@", "+", "!"


@dataclass(frozen=True, slots=True)
class SpooledRow:
    """One row: its page, its number there, its JSON. ``flaw``: why it cannot be read, and in which column."""

    source: str
    line: int
    text: str
    flaw: tuple[str, str | None] | None = None

    @property
    def value(self) -> dict[str, Any]:
        """The row."""
        return row_of(self.text)


class Spool:
    """Takes rows in; readable any number of times once ``close`` was called."""

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        """Rows go to ``path``; ``key`` names the columns that identify one, if they are known."""
        self._path = path
        self._key = key
        try:
            self._file = path.open("w", encoding="utf-8", newline="\n")
        except OSError as err:
            raise _no_room(err) from err
        self._digest = hashlib.sha256()
        self._keys = bytearray()
        self._page = ""
        self._seen_in_part = False
        self.shape = Shape(Budget())
        self.rows = 0
        self.flaws = 0
        self.pages = 0
        self.bytes = 0
        self.dropped: frozenset[int] = frozenset()

    @property
    def digest(self) -> str:
        """The same for the same rows in the same order."""
        return self._digest.hexdigest()[:40]

    def page(self, shown: str, size: int) -> None:
        """The rows that follow are of another page."""
        self.pages += 1
        self.bytes += size
        if shown != self._page:
            self._page = shown
            self._write(f"{_PAGE}{json.dumps(shown)}\n")

    def add(self, row: dict[str, Any], text: str, line: int) -> None:
        """One row, observed for its types. ``text`` is that of ``row_text``. A row that no column holds is a flaw."""
        try:
            self._observe(row)
        except ShapeError as err:
            self._seen_in_part = True
            self.flaw(text, line, err.what, err.path or None)
            return
        self.rows += 1
        if self._key:
            self._keys += self._key_digest(row)
        self._digest.update(text.encode())
        self._digest.update(b"\n")
        self._write(f"{_ROW}{line} {text}\n")

    def flaw(self, text: str, line: int, reason: str, column: str | None) -> None:
        """One row that cannot be read."""
        self.flaws += 1
        entry = json.dumps([line, text, reason, column])
        self._digest.update(entry.encode())
        self._write(f"{_FLAW}{entry}\n")

    def close(self, *, whole: bool, keyed: bool) -> None:
        """No more rows come. ``whole``: they are the stream's state, where a key stands for one row.

        Rows that came twice because pages moved under the reader are dropped. Raises SourceChangedError for a key of
        a whole stream that has different rows; with ``keyed`` all stay, and the last one of a key will count.
        """
        try:
            self._file.close()
        except OSError as err:
            raise _no_room(err) from err
        if self._seen_in_part:
            self._observe_again()
        if self._keys and not keyed:
            self.dropped = frozenset(self._repeated(whole=whole))
        self._keys = bytearray()

    def lines(self) -> Iterator[SpooledRow]:
        """Every row and flaw, in order, without those that were dropped."""
        source, number = "", -1
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                mark, rest = line[0], line[1:-1]
                if mark == _PAGE:
                    source = json.loads(rest)
                elif mark == _ROW:
                    number += 1
                    if number not in self.dropped:
                        place, _, text = rest.partition(" ")
                        yield SpooledRow(source, int(place), text)
                else:
                    place, text, reason, column = json.loads(rest)
                    yield SpooledRow(source, place, text, (reason, column))

    def delete(self) -> None:
        """Free the disk; safe to call twice."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _observe(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            self.shape.child(name, "").observe(value, name)

    def _observe_again(self) -> None:
        """Forget what was seen of rows that are flaws: they have no say in columns and types."""
        self.shape = Shape(Budget())
        for row in self.lines():
            if row.flaw is None:
                self._observe(row.value)

    def _write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError as err:
            raise _no_room(err) from err

    def _key_digest(self, row: dict[str, Any]) -> bytes:
        values = [row.get(name) for name in self._key]
        if any(value is None for value in values):
            values = ["", self.rows]  # rows without a key equal no others
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
        number = -1
        for row in self.lines():
            number += row.flaw is None
            if row.flaw is not None or number not in groups:
                continue
            texts = first[groups[number]]
            if row.text in texts:
                dropped.add(number)
            elif texts and whole:
                self._refuse_two(row)
            texts.add(row.text)
        return dropped

    def _refuse_two(self, row: SpooledRow) -> None:
        values = ", ".join(f"{name} {row.value.get(name)!r}" for name in self._key)[:100]
        raise SourceChangedError(
            f"two different rows have {values}",
            where=Where(row.source, row.line),
            hint="if the source changed while it was read, run the job again; else primary_key: names too few columns",
        )


def _no_room(err: OSError) -> SourceError:
    return SourceError(
        f"rows cannot be kept in a temporary file: {err.strerror or err}", hint="free space, or set TMPDIR"
    )
