"""How far a stream of rows has been read, by a cursor: what is new, and the position that says so.

The position holds the greatest cursor seen and, of the rows that stand there (or within the lag), who they are. So
rows that come later with an equal cursor are taken, and those that were taken are not taken again.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from lakecat.connector.protocol import Cursor, Nulls
from lakecat.connector.shapes import ShapeError
from lakecat.connector.values import basic
from lakecat.errors import ConfigError, ParseError, SourceError, Where
from lakecat.types import Json, Position

MAX_EDGE: Final = 2_000
"""How many rows a position can hold: 64 KiB at most."""

_DAY: Final = 86_400
_KEPT_ROWS: Final = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """A position's content. ``edge`` None: the rows at the edge are too many to be told apart.

    ``commits`` grows with each, so that no two slices of a stream have one key.
    """

    cursor: Any = None
    edge: Mapping[str, int] | None = field(default_factory=dict)
    commits: int = 0

    @classmethod
    def of(cls, position: Position | None, column: str) -> Mark:
        """What a position says of this cursor column. Raises ConfigError when it is another column's."""
        if position is None:
            return cls()
        value: Any = position.value
        if value.get("column") not in (None, column):
            raise ConfigError(
                f"the position is one of the cursor {value['column']!r}, the job's is {column!r}",
                hint="give the job another name, or its old cursor",
            )
        cursor = value.get("cursor")
        return cls(None if cursor is None else _decoded(cursor), value.get("edge", {}), int(value.get("commits", 0)))

    def position(self, column: str) -> Position:
        """As it is stored."""
        cursor = None if self.cursor is None else _encoded(self.cursor)
        edge: Json = None if self.edge is None else dict(self.edge)
        return Position({"column": column, "cursor": cursor, "edge": edge, "commits": self.commits})


@dataclass(slots=True)
class Watermark:
    """Lets the new rows of one reading pass, and learns the position from them. Rows must not be changed later.

    ``ordered``: the source gives rows by their cursor, so that reading may stop after ``limit`` rows. ``keyed``: the
    target takes a row twice without harm. ``like``: a value of the cursor's kind, if it is known.
    """

    cursor: Cursor
    mark: Mark
    uri: str
    keyed: bool = False
    ordered: bool = False
    limit: int | None = None
    like: Any = None
    _greatest: Any = None
    _edge: list[tuple[Any, Mapping[str, object] | str]] = field(default_factory=list)
    _forgotten: Any = None
    _known: Counter[str] = field(default_factory=Counter)
    _stopped: bool = False

    def __post_init__(self) -> None:
        self._greatest = self.mark.cursor
        self._known = Counter(self.mark.edge or {})

    @property
    def since(self) -> Any:
        """The least cursor that may be new; None: everything may."""
        if self.mark.cursor is None:
            return None if self.cursor.start is None else literal(self.cursor.start, self.like)
        return _less(self.mark.cursor, self.cursor.lag)

    def new(self, rows: Iterable[Mapping[str, object]]) -> Iterator[Mapping[str, object]]:
        """The rows that are new. Raises ParseError for cursors that cannot be compared, SourceError for bad order."""
        if self.mark.edge is None and not self.keyed:
            raise self._edge_is_lost()
        column, policy = self.cursor.column, self.cursor.nulls
        taken = 0
        bounds: _Bounds | None = None
        for line, row in enumerate(rows, 1):
            value = row.get(column) if isinstance(row, Mapping) else None
            if value is None:
                if policy is Nulls.ERROR:
                    raise ParseError(
                        "the cursor is NULL",
                        where=Where(self.uri, line, column),
                        hint="say under cursor: what becomes of such rows: nulls: include or nulls: skip",
                    )
                if policy is Nulls.INCLUDE:
                    yield row
                continue
            value = self._comparable(value, line)
            bounds = bounds or _Bounds.of(self.cursor, self.since, value)
            if not bounds.holds(value) or self._is_known(value, row):
                continue
            self._learn(value, row, line)
            yield row
            taken += 1
            if self.ordered and self.limit is not None and taken >= self.limit:
                self._stopped = True
                return

    def position(self) -> Position:
        """The position after the rows that passed. Raises SourceError for an edge that is too long to remember."""
        if self._greatest is None:
            return Mark(None, {}, self.mark.commits + 1).position(self.cursor.column)
        low = _less(self._greatest, self.cursor.lag)
        edge = Counter(who if isinstance(who, str) else _identity(who) for value, who in self._edge if value >= low)
        if self.mark.cursor is not None and self.mark.cursor >= low and (not self.cursor.lag or self._stopped):
            edge += self._known
        overflow = len(edge) > MAX_EDGE or (self._forgotten is not None and self._forgotten >= low)
        if overflow and not self.keyed:
            raise self._edge_is_lost()
        return Mark(self._greatest, None if overflow else dict(edge), self.mark.commits + 1).position(
            self.cursor.column
        )

    def _edge_is_lost(self) -> SourceError:
        return SourceError(
            f"more than {MAX_EDGE} rows stand at the cursor's edge, which a position cannot tell apart",
            where=Where(self.uri, column=self.cursor.column),
            hint="use mode: merge with a key, a finer cursor, or a shorter lag",
        )

    def _comparable(self, value: object, line: int) -> Any:
        try:
            plain = basic(value)
            kind = _kind(plain)
        except ShapeError as err:
            raise ParseError(f"the cursor {err.what}", where=Where(self.uri, line, self.cursor.column)) from err
        if self._greatest is not None and _kind(self._greatest) != kind:
            raise ParseError(
                f"the cursor is a {kind}, others are a {_kind(self._greatest)}",
                where=Where(self.uri, line, self.cursor.column),
                hint="a cursor's values must be of one kind",
            )
        return plain

    def _is_known(self, value: Any, row: Mapping[str, object]) -> bool:
        """Whether a row at the edge was taken by an earlier commit."""
        if not self._known or value > self.mark.cursor:
            return False
        name = _identity(row)
        if not self._known[name]:
            return False
        self._known[name] -= 1
        self._keep(value, row)
        return True

    def _learn(self, value: Any, row: Mapping[str, object], line: int) -> None:
        if self._greatest is None or value > self._greatest:
            self._greatest = value
            if not self.cursor.lag:
                self._edge.clear()
        elif self.ordered and value < self._greatest and not self.cursor.lag:
            raise SourceError(
                "the rows do not come by their cursor",
                where=Where(self.uri, line, self.cursor.column),
                hint="sort them, or do not say ordered=True",
            )
        if self.cursor.lag or value == self._greatest:
            self._keep(value, row)
        if len(self._edge) > 2 * MAX_EDGE:
            self._shorten()

    def _keep(self, value: Any, row: Mapping[str, object]) -> None:
        """Remember a row at the edge: a few as they are, which most often never need a name; others by their name."""
        self._edge.append((value, row if len(self._edge) < _KEPT_ROWS else _identity(row)))

    def _shorten(self) -> None:
        low = _less(self._greatest, self.cursor.lag)
        self._edge = sorted((item for item in self._edge if item[0] >= low), key=lambda item: item[0])
        if len(self._edge) > MAX_EDGE + 1:
            self._forgotten = max(self._edge[-MAX_EDGE - 2][0], self._forgotten or self._edge[0][0])
            del self._edge[: -MAX_EDGE - 1]


@dataclass(frozen=True, slots=True)
class _Bounds:
    low: Any
    end: Any

    @classmethod
    def of(cls, cursor: Cursor, since: Any, like: Any) -> _Bounds:
        """``like``: a value of the stream, whose kind the job's texts take."""
        start = None if cursor.start is None else literal(cursor.start, like)
        end = None if cursor.end is None else literal(cursor.end, like)
        low = since if since is None or _kind(since) == _kind(like) else start
        if start is not None and (low is None or start > low):
            low = start
        return cls(low, end)

    def holds(self, value: Any) -> bool:
        return (self.low is None or value >= self.low) and (self.end is None or value < self.end)


def _kind(value: Any) -> str:
    """The kinds of values that can be compared. Raises ShapeError for what has no order, or not a total one."""
    if isinstance(value, bool) or (isinstance(value, float | Decimal) and not math.isfinite(value)):
        raise ShapeError(f"is {value}, which has no place in an order")
    if isinstance(value, int | float | Decimal):
        return "number"
    if isinstance(value, datetime):
        return "time" if value.tzinfo is None else "time with a zone"
    if isinstance(value, date):
        return "date"
    if isinstance(value, str):
        return "text"
    raise ShapeError(f"is a {type(value).__name__}, which cannot be a cursor")


def _less(value: Any, lag: float) -> Any:
    """The value ``lag`` before."""
    if not lag or isinstance(value, str):
        return value
    try:
        if isinstance(value, datetime):
            return value - timedelta(seconds=lag)
        if isinstance(value, date):
            return value - timedelta(days=math.ceil(lag / _DAY))
    except OverflowError:
        least = type(value).min
        return least.replace(tzinfo=value.tzinfo) if isinstance(least, datetime) else least
    if isinstance(value, float):
        return value - lag
    return value - (int(lag) if lag == int(lag) else Decimal(repr(lag)))


def _identity(row: Mapping[str, object]) -> str:
    """Who a row is: 96 bits of a digest of its values, the same in any process."""
    try:
        text = repr(_sorted(basic(row)))
    except ShapeError:
        text = repr(sorted(row.items(), key=lambda item: str(item[0])))
    return base64.b64encode(hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()[:12]).decode()


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [(name, _sorted(value[name])) for name in sorted(value)]
    return [_sorted(part) for part in value] if isinstance(value, list) else value


_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "int": int,
    "float": float,
    "Decimal": Decimal,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "str": str,
}


def _encoded(value: Any) -> Json:
    text = value.isoformat() if isinstance(value, date) else repr(value) if isinstance(value, float) else str(value)
    return [type(value).__name__, text]


def _decoded(value: Any) -> Any:
    kind, text = value
    return _READ[kind](text)


def literal(value: Json, like: Any = None) -> Any:
    """A job's ``start`` or ``end`` as a value of the kind of ``like``; else as it looks. Raises ConfigError."""
    try:
        if isinstance(like, datetime):
            moment = datetime.fromisoformat(str(value))
            moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
            return moment.replace(tzinfo=None) if like.tzinfo is None else moment
        if isinstance(like, date):
            return date.fromisoformat(str(value))
        if isinstance(like, str):
            return str(value)
        if like is not None:
            return Decimal(str(value))
    except (ValueError, InvalidOperation) as err:
        raise ConfigError(f"cursor: {value!r} is no {_kind(like)}", hint="mend start: or end: under cursor:") from err
    if not isinstance(value, str):
        return value
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(value)
        except ValueError:
            continue
    return value
