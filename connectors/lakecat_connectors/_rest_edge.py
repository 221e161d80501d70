"""How far an incremental resource was read, and which rows stood at the edge.

A position says: every row whose cursor is below ``cursor - lag`` was read, and of those from there on, the ones whose
hashes it holds. The next run asks from a step below that edge, whether the API includes the value it is given or not,
and drops what it knows: rows that equal the last value and come later are neither lost nor doubled.

While pages are read, rows change on those that were read already, and a later page may show what is newer still. So the
edge is no higher than the time at which reading began (``until``), where the cursor is a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Final

from lakecat.connector import Cursor, Nulls
from lakecat.errors import ConfigError, SourceError, Where
from lakecat.types import Json, Position
from lakecat_connectors._rest_cursor import Key, Scale
from lakecat_connectors._rest_json import row_text

MOST_BYTES: Final = 60_000
"""Of the edge as JSON; a position may have 64 KiB."""

_MOST_HASHES: Final = 4_000
_HASH_BYTES: Final = 12

Edge = dict[Key, Counter[str]]


def row_hash(text: str) -> str:
    """What is remembered of a row."""
    digest = hashlib.blake2b(text.encode(), digest_size=_HASH_BYTES).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _hash_of(row: dict[str, Any]) -> str:
    """The same for a row whose keys come in another order."""
    return row_hash(row_text(row, ordered=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A position. ``cursor`` None: only rows without one were read, ``others``.

    ``edge`` is None where too many rows stood there to be known again (in the keyed modes only). Rows above ``cursor``
    may be part of it.
    """

    column: str
    kind: str | None
    cursor: Key | None
    edge: Edge | None
    others: Counter[str]

    def to_position(self) -> Position:
        """For the commit."""
        edge: Json = None
        if self.edge is not None:
            edge = {str(key): _listed(hashes) for key, hashes in sorted(self.edge.items(), key=lambda one: str(one[0]))}
        return Position(
            {
                "column": self.column,
                "kind": self.kind,
                "cursor": None if self.cursor is None else str(self.cursor),
                "edge": edge,
                "others": _listed(self.others),
            }
        )

    @classmethod
    def of(cls, position: Position | None, column: str, *, keyed: bool) -> Reached | None:
        """What an earlier commit left. Raises ConfigError when it followed another column, or none."""
        if position is None:
            return None
        value: Mapping[str, Any] = position.value
        if "column" not in value:
            if keyed:
                return None
            raise ConfigError(
                "cursor: the stream was read whole so far; by a cursor its rows would be appended once more",
                hint="load into another target, or use mode: merge",
            )
        if value["column"] != column:
            raise ConfigError(
                f"cursor: the stream was read by {value['column']!r} so far, not by {column!r}",
                hint="keep the column, or load into another target",
            )
        kind, cursor, edge = value["kind"], value["cursor"], value["edge"]
        return cls(
            column=column,
            kind=kind,
            cursor=None if cursor is None else _key(kind, cursor),
            edge=None if edge is None else {_key(kind, key): Counter(hashes) for key, hashes in edge.items()},
            others=Counter(value["others"]),
        )


def _key(kind: str, text: str) -> Key:
    return text if kind == "text" else Decimal(text)


def _listed(hashes: Counter[str]) -> list[Json]:
    return [*sorted(hashes.elements())]


@dataclass(slots=True, kw_only=True)
class Tracker:
    """Follows the cursor through the rows of one run; ``low`` is included, ``high`` is not."""

    cursor: Cursor
    scale: Scale | None
    reached: Reached | None
    keyed: bool
    lag: Decimal = Decimal(0)
    low: Key | None = None
    high: Key | None = None
    until: Decimal | None = None
    greatest: Key | None = None
    _known: Edge = field(default_factory=dict)
    _left: Edge = field(default_factory=dict)
    _seen: Edge = field(default_factory=dict)
    _others: Counter[str] = field(default_factory=Counter)
    _others_seen: Counter[str] = field(default_factory=Counter)
    _newest: Key | None = None
    _overflow: Key | None = None
    _count: int = 0

    def __post_init__(self) -> None:
        if self.reached is not None:
            self._newest = self.reached.cursor
            self._others = Counter(self.reached.others)
            if self.reached.edge is not None:
                self._known = self.reached.edge
                self._left = {key: Counter(hashes) for key, hashes in self._known.items()}
            else:
                self._overflow = self.reached.cursor

    def take(self, key: Key | None, row: dict[str, Any], where: Where) -> bool:
        """Whether a row is new and wanted. ``key`` None: it has no cursor. Raises SourceError by policy."""
        if key is None:
            return self._take_other(row, where)
        if self.greatest is None or key > self.greatest:  # type: ignore[operator]  # all keys of a scale are of one type
            self.greatest = key
        if (self.low is not None and key < self.low) or (self.high is not None and key >= self.high):  # type: ignore[operator]
            return False
        return self._take_key(key, row)

    def take_flawed(self, text: str) -> bool:
        """Whether a row that cannot be read is new."""
        return self._once(row_hash(text))

    def _take_key(self, key: Key, row: dict[str, Any]) -> bool:
        if self._newest is None or key > self._newest:  # type: ignore[operator]
            self._newest = key
        left = self._left.get(key)
        if left is None and self._is_passed(key):
            return True
        hashed = _hash_of(row)
        self._remember(key, hashed)
        if left is None or not left[hashed]:
            return True
        left[hashed] -= 1
        return False

    def _is_passed(self, key: Key) -> bool:
        """Whether a value lies below the edge, or where too many did to be known again."""
        low = self._edge_low()
        if low is None or key < low:  # type: ignore[operator]
            return True
        return self._overflow is not None and key <= self._overflow  # type: ignore[operator]

    def _remember(self, key: Key, hashed: str) -> None:
        if self._is_passed(key):
            return
        self._seen.setdefault(key, Counter())[hashed] += 1
        self._count += 1
        if self._count > 2 * _MOST_HASHES and (low := self._edge_low()) is not None:
            self._prune(low)

    def _cursor(self) -> Key | None:
        """Up to where everything was read: the newest value, or as far as there were no later ones yet."""
        timed = self.scale is not None and self.scale.sure
        if self.until is None or not timed or not isinstance(self._newest, Decimal):
            return self._newest
        known = min(self._newest, self.until)
        before = None if self.reached is None else self.reached.cursor
        return max(known, before) if isinstance(before, Decimal) else known

    def _edge_low(self) -> Key | None:
        cursor = self._cursor()
        return cursor if self.scale is None or cursor is None else self.scale.back(cursor, self.lag)

    def _prune(self, low: Key) -> None:
        """Forget what lies below the edge, and the lowest of the edge where it is too much."""
        for key in sorted(self._seen):
            if key >= low and self._count <= _MOST_HASHES:  # type: ignore[operator]
                return
            self._count -= sum(self._seen.pop(key).values())
            if key >= low:  # type: ignore[operator]
                self._overflow = key

    def _take_other(self, row: dict[str, Any], where: Where) -> bool:
        if self.cursor.nulls is Nulls.ERROR:
            raise SourceError(
                f"a row's cursor {self.cursor.column!r} is NULL: such rows would never be read",
                where=where,
                hint="say nulls: include (read whenever they are new) or nulls: skip under cursor:",
            )
        return self.cursor.nulls is Nulls.INCLUDE and self._once(_hash_of(row))

    def _once(self, hashed: str) -> bool:
        self._others_seen[hashed] += 1
        if self._others_seen[hashed] <= self._others[hashed]:
            return False
        self._others[hashed] += 1
        return True

    def position(self) -> Position:
        """Where the rows taken so far leave the stream. Raises SourceError for more than a position may hold."""
        edge: Edge = {}
        full = False
        if (low := self._edge_low()) is not None:
            edge = self._edge(low)
            full = self._overflow is not None and self._overflow >= low  # type: ignore[operator]
        found = Reached(
            column=self.cursor.column,
            kind=None if self.scale is None else self.scale.kind,
            cursor=self._cursor(),
            edge=None if full else edge,
            others=self._others,
        )
        if not full and len(json.dumps(found.to_position().value)) <= MOST_BYTES:
            return found.to_position()
        if self.keyed:
            bare = replace(found, edge=None).to_position()
            if len(json.dumps(bare.value)) <= MOST_BYTES:
                return bare
        raise SourceError(
            f"too many rows lie at the edge of the cursor {self.cursor.column!r} to be known again",
            hint="use mode: merge with key:, a smaller lag, or a cursor with finer values; where the API can give rows "
            "in the order of the cursor, say order: ascending under incremental:",
        )

    def _edge(self, low: Key) -> Edge:
        """The rows from ``low`` on: those that were there (in the keyed modes only if they still are), and new ones."""
        keys: Iterable[Key] = self._seen if self.keyed else {**self._known, **self._seen}
        edge: Edge = {}
        for key in keys:
            if key >= low:  # type: ignore[operator]
                seen, known = self._seen.get(key, Counter()), self._known.get(key, Counter())
                edge[key] = Counter(seen) if self.keyed else seen | known
        return edge
