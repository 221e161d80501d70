"""The rows at the edge of what was read: known again by a hash of what identifies them.

Rows with a cursor that equals the last one read, or that lies within ``lag`` below it, may still get company: they are
read again at the next run, and those that were there before are dropped. What is remembered of a row is 8 bytes of
BLAKE2b over its key (else all of its columns) and its cursor, so that a position stays below its limit. That a new row
at the edge is taken for one of 5,000 others has a chance of 1 in 3 * 10^15.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final, Protocol

from lakecat.types import Json

MAX_HASHES: Final = 5_000
"""So many hashes are 53 KiB of base64; a position may have 64 KiB."""

_HASH_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What was there: every row whose cursor is at least ``low`` (None: no such row, only NULLs), and no others.

    ``hashes`` is None where there were more than :data:`MAX_HASHES`; then only the number of rows is known.
    """

    low: str | None
    columns: tuple[str, ...]
    rows: int
    hashes: tuple[bytes, ...] | None

    def to_json(self) -> dict[str, Json]:
        """For the position."""
        return {
            "low": self.low,
            "columns": list(self.columns),
            "rows": self.rows,
            "hashes": None if self.hashes is None else packed(self.hashes),
        }

    @classmethod
    def from_json(cls, value: Any) -> Edge:
        """The edge that ``to_json`` described."""
        hashes = value["hashes"]
        return cls(
            low=value["low"],
            columns=tuple(value["columns"]),
            rows=value["rows"],
            hashes=None if hashes is None else tuple(unpacked(hashes)),
        )

    def has_all(self, other: Edge) -> bool:
        """Whether every row of ``other`` is one of these; by their number where hashes are missing."""
        if self.hashes is None or other.hashes is None:
            return self.hashes is other.hashes and self.rows == other.rows
        return not Counter(other.hashes) - Counter(self.hashes)


def packed(hashes: Sequence[bytes]) -> str:
    """Hashes as one text."""
    return base64.b64encode(b"".join(hashes)).decode()


def unpacked(text: str) -> list[bytes]:
    """The hashes that ``packed`` put together."""
    whole = base64.b64decode(text)
    return [whole[start : start + _HASH_BYTES] for start in range(0, len(whole), _HASH_BYTES)]


class Sieve(Protocol):
    """What looks at rows by their hashes before anything else is done with them."""

    def keep(self, rows: int, hashes: Callable[[], Sequence[bytes]]) -> Sequence[bool]:
        """Which of so many rows go on; ``hashes`` gives theirs, at a cost."""


class Gathered:
    """The edge of the rows that come by, none of which goes on; hashes are given up beyond :data:`MAX_HASHES`."""

    def __init__(self) -> None:
        self._rows = 0
        self._found: list[bytes] = []

    def keep(self, rows: int, hashes: Callable[[], Sequence[bytes]]) -> Sequence[bool]:
        """None."""
        self._rows += rows
        if self._rows <= MAX_HASHES:
            self._found += hashes()
        return [False] * rows

    def edge(self, low: str | None, columns: Sequence[str]) -> Edge:
        """The edge, once all rows have come by."""
        hashes = tuple(sorted(self._found)) if self._rows <= MAX_HASHES else None
        return Edge(low=low, columns=tuple(columns), rows=self._rows, hashes=hashes)


class Known:
    """Lets go on what is not known; each hash drops as many rows as there were of it."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        self._left = Counter(hashes)

    def keep(self, rows: int, hashes: Callable[[], Sequence[bytes]]) -> Sequence[bool]:
        """Those that are new."""
        del rows
        return [not self._take(one) for one in hashes()]

    def _take(self, one: bytes) -> bool:
        if not self._left[one]:
            return False
        self._left[one] -= 1
        return True


def row_hashes(columns: Sequence[Sequence[Any]]) -> list[bytes]:
    """A hash of each row, from Python's values; the same for equal values, however wide their column's type is."""
    return [_hash(row) for row in zip(*columns, strict=True)]


def misfit_hash(shown: Sequence[str | None]) -> bytes:
    """The hash of a row of which some value has no place in its column: by what people see of it."""
    return _hash([list(shown)])


def _hash(row: Sequence[Any]) -> bytes:
    digest = hashlib.blake2b(digest_size=_HASH_BYTES)
    for value in row:
        text = _canonical(value).encode("utf-8", "surrogatepass")
        digest.update(f"{len(text)}:".encode())
        digest.update(text)
    return digest.digest()


def _canonical(value: Any) -> str:
    """A text that differs for different values, and stays when a column becomes wider (int to long, more scale)."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, int):
        return f"n{value}"
    if isinstance(value, Decimal):
        text = format(value, "f")
        return f"n{text.rstrip('0').rstrip('.') if '.' in text else text}"
    if isinstance(value, float):
        return f"f{value!r}" if math.isfinite(value) else f"f{value}"
    if isinstance(value, list):
        return f"[{','.join(f'{len(text)}:{text}' for text in map(_canonical, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name!r}:{_canonical(part)}' for name, part in value.items())}}}"
    if isinstance(value, datetime | time):
        return f"t{value.isoformat()}"
    return f"{type(value).__name__}{value!r}"
