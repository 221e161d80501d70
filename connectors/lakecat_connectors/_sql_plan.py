"""What is read when: whole tables, or windows of a cursor, each slice with the position that its commit leaves.

How a cursor moves. A position says: every row whose cursor is below ``cursor`` was read (``closed``: those that equal
it too), and which rows there were at its edge (``_sql_edge``). The next window starts at the edge's low end, ``lag``
below the cursor; rows that the edge knows are dropped, others are new, whether they came late or equal the last value.
The upper end of a window is the greatest value in the run's snapshot. So a row is missed only when it is committed
later than ``lag`` behind a greater one, and none comes twice.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

from lakecat.connector import Cursor, Nulls, ReadOptions, Slice, StreamRequest, StreamState
from lakecat.errors import ConfigError, SourceChangedError, SourceError, Where
from lakecat.types import Json, Position, WriteMode
from lakecat_connectors._sql_cursor import Scale
from lakecat_connectors._sql_edge import MAX_HASHES, Edge, Gathered, packed
from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import XMIN, Bounds, Column, Scan, SqlSource, Table, Window

_SHOWN: Final = 60
_BARE: Final = StreamOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One stream as a job asks for it: the table as the source describes it, and its columns that are read."""

    name: str
    table: Table
    columns: tuple[Column, ...]
    options: StreamOptions
    request: StreamRequest

    def scan(self, window: Window | None = None, columns: Sequence[Column] | None = None) -> Scan:
        """A scan of the stream."""
        return Scan(
            table=self.table,
            columns=self.columns if columns is None else tuple(columns),
            policy=self.options,
            window=window,
        )


def plan(source: SqlSource, asked: Asked, state: StreamState) -> Iterator[Slice]:
    """The slices that are due, lazily. Raises ConfigError for what cannot be meant; SourceError."""
    mode, cursor = asked.request.mode, asked.request.cursor
    if cursor is None or mode is WriteMode.REPLACE:
        if mode is WriteMode.APPEND:
            raise ConfigError(
                f"mode append needs cursor: for {asked.name}; without one all of its rows would come at every run",
                hint="name a column that grows under cursor:, or use mode: replace or merge",
            )
        return iter((_whole(source, asked),))
    if mode in (WriteMode.REPLACE_PARTITIONS, WriteMode.REPLACE_KEYS):
        raise ConfigError(
            f"mode {mode.value} and cursor: do not go together for {asked.name}: a window may hold only a part of what "
            "would be replaced",
            hint="choose what is read with where:, or use mode: merge",
        )
    return Incremental(source, asked, cursor, state).slices()


def _whole(source: SqlSource, asked: Asked) -> Slice:
    parts: tuple[Mapping[str, Json], ...] = tuple(
        {"split": dict(split)} for split in source.splits(asked.scan(), asked.options.splits)
    )
    return Slice(
        key=f"sql:{_digest(asked.name, None, 'whole')}",
        estimated_bytes=asked.table.estimated_bytes,
        payload=_payload(asked, parts or ({},)),
        splits=parts,
        uri=asked.table.uri,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A position of a cursor, see the module."""

    column: str
    cursor: str | None
    closed: bool
    edge: Edge | None

    def to_position(self) -> Position:
        """For the commit."""
        edge = None if self.edge is None else self.edge.to_json()
        return Position({"column": self.column, "cursor": self.cursor, "closed": self.closed, "edge": edge})

    @classmethod
    def of(cls, position: Position | None, column: str) -> Reached | None:
        """What an earlier commit left. Raises ConfigError when it followed another column."""
        if position is None:
            return None
        value: Mapping[str, Any] = position.value
        if value.get("column") != column:
            raise ConfigError(
                f"cursor: the stream was read by {value.get('column')!r} so far, not by {column!r}",
                hint="keep the column, or load into another target",
            )
        edge = value["edge"]
        return cls(
            column=column,
            cursor=value["cursor"],
            closed=value["closed"],
            edge=None if edge is None else Edge.from_json(edge),
        )


class Incremental:
    """The windows of one stream in one run."""

    def __init__(self, source: SqlSource, asked: Asked, cursor: Cursor, state: StreamState) -> None:
        self._source = source
        self._asked = asked
        self._cursor = cursor
        self._state = state
        self._column = self._cursor_column()
        self._scale = Scale(self._column)
        self._lag = self._scale.distance(cursor.lag, "lag") if cursor.lag else None
        self._step = self._scale.distance(cursor.step, "step") if cursor.step else None
        self._start = self._bound(cursor.start, "start")
        self._end = self._bound(cursor.end, "end")
        self._nulls = cursor.nulls is Nulls.INCLUDE
        self._check()

    def slices(self) -> Iterator[Slice]:
        """One window after the other; each is planned from what the commit before it left."""
        reached = Reached.of(self._state.position, self._column.name)
        self._refuse_nulls()
        bounds = self._bounds(reached)
        if bounds.greatest is None and reached is not None:
            self._refuse_lower(reached)
        if not self._is_news(reached, bounds):
            if reached is not None and self._asked.request.absent:
                yield self._nothing(reached)
            return
        while True:
            window, last = self._window(reached, bounds)
            yield self._slice(reached, window, bounds, last=last)
            if last:
                return
            reached = Reached.of(self._state.position, self._column.name)
            bounds = self._bounds(reached)
            if bounds.greatest is None:
                return

    def _cursor_column(self) -> Column:
        asked, name = self._asked, self._cursor.column
        column = asked.table.column(name) or self._source.identity_type(name)
        if column is None:
            names = ", ".join(one.name for one in asked.table.columns)[:_SHOWN]
            raise ConfigError(f"cursor: {asked.name} has no column {name!r}", hint=f"it has {names}")
        return column

    def _bound(self, value: Json, what: str) -> str | None:
        if value is None:
            return None
        text = str(value)
        if not isinstance(value, str):
            self._scale.distance(0, what)
        return self._scale.moment(text)

    def _check(self) -> None:
        mode = self._asked.request.mode
        _refuse_unknown_key(self._asked.table, self._asked.request.key)
        if self._column.name == XMIN and mode is WriteMode.APPEND:
            raise ConfigError(
                "cursor: xmin finds rows that were inserted or changed, some of them again: it needs mode: merge",
                hint="use mode: merge with key:, or a column of the table as cursor",
            )
        if self._column.name == XMIN and (self._lag or self._step or self._start or self._end):
            raise ConfigError("cursor: lag, step, start and end mean nothing for xmin")
        if self._step is not None and self._step <= 0:
            raise ConfigError("cursor: step must be greater than 0")
        self._refuse_unsteady()

    def _refuse_unsteady(self) -> None:
        """Without a snapshot a row may come between the look at an edge and its rows: it would come once more.

        Only an edge that no other row can join is sure: one of a unique value, or none at all.
        """
        asked = self._asked
        if asked.request.mode is not WriteMode.APPEND or (self._source.consistent and asked.table.steady):
            return
        bare = self._lag is None and not self._nulls
        alone = asked.table.key == (self._column.name,)
        if not bare or not (alone or (self._holds() and asked.request.checkpoint is None)):
            raise ConfigError(
                f"mode append could double rows of {asked.name}: it is not read in one snapshot",
                hint="use mode: merge with key:, the primary key as cursor without lag, or edge: hold without lag and "
                "checkpoint",
            )

    def _refuse_nulls(self) -> None:
        if self._cursor.nulls is Nulls.ERROR and self._column.nullable:
            scan = self._asked.scan(Window(column=self._column.name, only_nulls=True))
            if self._source.has_nulls(scan, self._column.name):
                raise SourceError(
                    f"{self._asked.name} has rows whose cursor {self._column.name!r} is NULL: they would never be read",
                    hint="say nulls: include (read whenever they are new) or nulls: skip under cursor:",
                )

    def _refuse_lower(self, reached: Reached) -> None:
        """A greatest value below what was read: the source was set back, and would be silent until it caught up."""
        if not reached.closed or reached.cursor is None or self._asked.options.went_back == "ignore":
            return
        if self._greatest(low=reached.cursor) is not None:
            return
        now = self._greatest(low=None)
        if now is not None:
            raise SourceError(
                f"the greatest {self._column.name!r} of {self._asked.name} went back from {reached.cursor} to {now}",
                hint="was the source restored from a backup? Rows added since are not told apart from those read "
                "before: load anew with mode: replace or merge, or say went_back: ignore when only rows were deleted",
            )

    def _greatest(self, low: str | None) -> str | None:
        window = Window(column=self._column.name, low=low, high=self._end, high_closed=False)
        return self._source.bounds(self._asked.scan(window), self._column.name).greatest

    def _low(self, reached: Reached | None) -> str | None:
        """From where on rows may be new."""
        if reached is None or reached.cursor is None:
            return self._start
        if self._asked.request.mode is WriteMode.APPEND or self._lag is None:
            # Rows below the edge are not known one by one: a greater lag than before must not bring them again.
            return reached.cursor if reached.edge is None or reached.edge.low is None else reached.edge.low
        return self._scale.back(reached.cursor, self._lag)

    def _bounds(self, reached: Reached | None) -> Bounds:
        column = self._column.name
        low = self._start if reached is None or reached.cursor is None else reached.cursor
        window = Window(
            column=column,
            low=low,
            low_closed=reached is None or not reached.closed,
            high=self._end,
            high_closed=False,
        )
        found = self._source.bounds(self._asked.scan(window), column)
        if found.greatest is not None:
            self._scale.refuse_end(found.greatest)
        if self._holds() and found.least == found.greatest:
            return Bounds(least=None, greatest=None)  # the greatest value is left to a later run
        return found

    def _is_news(self, reached: Reached | None, bounds: Bounds) -> bool:
        """Whether there is a row that no commit holds."""
        if not bounds.open_top and bounds.greatest is not None:
            return True
        if bounds.open_top and (bounds.least is None or reached is None):
            return bounds.least is not None
        if reached is None or reached.edge is None or (reached.cursor is None and not self._nulls):
            return self._nulls and self._source.has_nulls(self._null_scan(), self._column.name)
        high = None if bounds.open_top else reached.cursor
        now = self._edge(reached.edge.low, high, closed=reached.closed, columns=reached.edge.columns)
        return not reached.edge.has_all(now)

    def _holds(self) -> bool:
        return self._asked.options.edge == "hold" and self._column.name != XMIN

    def _null_scan(self) -> Scan:
        return self._asked.scan(Window(column=self._column.name, only_nulls=True))

    def _window(self, reached: Reached | None, bounds: Bounds) -> tuple[Window, bool]:
        """The next window, and whether it is the run's last."""
        window = Window(column=self._column.name, low=self._low(reached), nulls=self._nulls)
        top = bounds.greatest
        if bounds.open_top:
            return window, True
        if top is None or bounds.least is None:
            # Nothing above the cursor: what is new stands at the edge, or is NULL.
            cursor = None if reached is None else reached.cursor
            closed = reached is None or reached.closed
            only_nulls = cursor is None
            return replace(window, high=cursor, high_closed=closed, only_nulls=only_nulls), True
        if self._step is not None:
            base = self._start or (bounds.least if reached is None or reached.cursor is None else reached.cursor)
            end = self._scale.window_end(bounds.least, base, self._step)
            if self._scale.number(end) <= self._scale.number(top):
                return replace(window, high=end, high_closed=False), False
        if (checkpoint := self._asked.request.checkpoint) is not None:
            scan = self._asked.scan(
                replace(window, low=bounds.least, high=top, nulls=False)  # least: above all that was read
            )
            end_of_part = self._source.after(scan, self._column.name, checkpoint)
            if end_of_part is not None and end_of_part != top:
                return replace(window, high=end_of_part), False
        return replace(window, high=top, high_closed=not self._holds()), True

    def _slice(self, reached: Reached | None, window: Window, bounds: Bounds, *, last: bool) -> Slice:
        left = self._left(reached, window, bounds)
        parts = self._parts(reached, window)
        known = None if reached is None or reached.edge is None else reached.edge
        payload = _payload(self._asked, parts, last=last)
        if left.edge is not None and not bounds.open_top:
            payload["edge"] = self._edge_window(left.edge.low, left.cursor, closed=left.closed).to_json()
        if known is not None and known.hashes:
            payload |= {"known": packed(known.hashes), "identity": list(known.columns)}
        before = None if reached is None else reached.to_position().value
        return Slice(
            key=f"sql:{_digest(self._asked.name, before, json.dumps(window.to_json()))}",
            position=left.to_position(),
            estimated_bytes=self._asked.table.estimated_bytes if reached is None else None,
            payload=payload,
            splits=parts if len(parts) > 1 else (),
            uri=self._asked.table.uri,
        )

    def _nothing(self, reached: Reached) -> Slice:
        """No rows, only the keys that are there, so that rows that are not are deleted."""
        position = reached.to_position()
        return Slice(
            key=f"sql:{_digest(self._asked.name, position.value, 'keys')}",
            position=position,
            payload=_payload(self._asked, ()),
            uri=self._asked.table.uri,
        )

    def _parts(self, reached: Reached | None, window: Window) -> tuple[Mapping[str, Json], ...]:
        """The edge, whose known rows are dropped, and what is above it, cut into splits."""
        if reached is None or reached.cursor is None or self._column.name == XMIN:
            return self._split(window) if reached is None else ({"window": window.to_json(), "known": True},)
        low_part = replace(window, high=reached.cursor, high_closed=reached.closed)
        parts: tuple[Mapping[str, Json], ...] = ()
        if reached.closed or self._nulls or window.low != reached.cursor:
            parts = ({"window": low_part.to_json(), "known": True},)
        if window.high != reached.cursor or window.high_closed != reached.closed:
            above = replace(window, low=reached.cursor, low_closed=not reached.closed, nulls=False)
            parts += ({"window": above.to_json()},)
        return parts

    def _split(self, window: Window) -> tuple[Mapping[str, Json], ...]:
        """Only a first load is worth it: later windows are narrow, and an index knows them."""
        shown = window.to_json()
        splits = self._source.splits(self._asked.scan(window), self._asked.options.splits)
        return tuple({"window": shown, "split": dict(split)} for split in splits) or ({"window": shown},)

    def _left(self, reached: Reached | None, window: Window, bounds: Bounds) -> Reached:
        """The position after the window."""
        cursor, closed = (bounds.greatest, False) if bounds.open_top else (window.high, window.high_closed)
        if cursor is None:
            edge = self._edge(None, None, closed=closed) if self._nulls else None
            return Reached(column=self._column.name, cursor=None, closed=True, edge=edge)
        low = self._scale.back(cursor, self._lag) if self._lag is not None else cursor
        if reached is not None and reached.edge is not None and self._asked.request.mode is WriteMode.APPEND:
            low = self._not_below(low, reached.edge.low)
        if closed or self._lag is not None or self._nulls or bounds.open_top:
            edge = self._edge(low, None if bounds.open_top else cursor, closed=closed)
        else:
            edge = None
        self._refuse_wide(edge)
        return Reached(column=self._column.name, cursor=cursor, closed=closed, edge=edge)

    def _not_below(self, low: str, known: str | None) -> str:
        """What lies below the known edge was read, but not remembered row by row."""
        if known is None or self._lag is None:
            return low
        return known if self._scale.number(known) > self._scale.number(low) else low

    def _edge(self, low: str | None, high: str | None, *, closed: bool, columns: Sequence[str] | None = None) -> Edge:
        window = self._edge_window(low, high, closed=closed)
        return _read_edge(self._source, self._asked, window, columns or self._identity())

    def _edge_window(self, low: str | None, high: str | None, *, closed: bool) -> Window:
        return Window(
            column=self._column.name,
            low=low,
            high=high,
            high_closed=closed,
            nulls=self._nulls,
            only_nulls=low is None and high is None,
        )

    def _identity(self) -> tuple[str, ...]:
        """What tells rows apart: the key and the cursor; all columns where there is no key."""
        key = self._asked.request.key or self._asked.table.key
        names = key or tuple(column.name for column in self._asked.columns)
        return tuple(dict.fromkeys((*names, self._column.name)))

    def _refuse_wide(self, edge: Edge | None) -> None:
        if edge is not None and edge.hashes is None and self._asked.request.mode is WriteMode.APPEND:
            raise SourceError(
                f"{edge.rows} rows of {self._asked.name} stand at the edge of what is read "
                f"({self._column.name!r} from {edge.low} on); more than {MAX_HASHES} are not remembered one by one",
                hint="use mode: merge with key:, a cursor with fewer equal values, a smaller lag, or edge: hold, which "
                "leaves the greatest value to the next run",
            )


def refuse_grown(source: SqlSource, asked: Asked, slice_: Slice) -> None:
    """For a slice that another instance planned, in another snapshot: whether its upper edge holds the same rows.

    Raises SourceChangedError.
    """
    window = slice_.payload.get("edge")
    if not isinstance(window, dict) or slice_.position is None:
        return
    reached = Reached.of(slice_.position, str(slice_.position.value["column"]))
    if reached is None or reached.edge is None:
        return
    now = _read_edge(source, asked, Window.from_json(window), reached.edge.columns)
    if now != reached.edge:
        raise SourceChangedError(
            f"{asked.name} has other rows at the end of this slice than when it was planned",
            where=Where(asked.table.uri),
            hint="plan it again",
        )


def _refuse_unknown_key(table: Table, key: Sequence[str]) -> None:
    """Raises ConfigError for a key's column that the source does not have under this very name."""
    for name in key:
        if table.column(name) is None:
            names = ", ".join(column.name for column in table.columns)[:_SHOWN]
            raise ConfigError(f"key: {table.relation.shown} has no column {name!r}", hint=f"it has {names}")


def identity_columns(source: SqlSource, asked: Asked, names: Sequence[str]) -> tuple[Column, ...]:
    """Those of the columns that are there, as they are without the job's policy: it may change from run to run."""
    own = asked.options
    bare = own.model_copy(update={name: getattr(_BARE, name) for name in ("numeric", "interval", "uuid")})
    table = asked.table if bare == own else source.describe(asked.table.relation, bare)
    found = (table.column(name) or source.identity_type(name) for name in names)
    return tuple(column for column in found if column is not None)


def _read_edge(source: SqlSource, asked: Asked, window: Window, columns: Sequence[str]) -> Edge:
    there = identity_columns(source, asked, columns)
    if len(there) < len(columns):
        raise SourceError(
            f"{asked.name} has lost a column by which the last rows read are known again",
            where=Where(asked.table.uri),
            hint="use mode: merge with key:, or load into another target",
        )
    gathered = Gathered()
    scan = replace(asked.scan(window, ()), identity=there, sieve=gathered)
    with closing(source.rows(scan, ReadOptions())) as rows:
        deque(rows, maxlen=0)
    return gathered.edge(window.low, columns)


def _payload(asked: Asked, parts: Sequence[Mapping[str, Json]], *, last: bool = True) -> dict[str, Json]:
    """``last``: the run has no further slice of the stream."""
    return {
        "stream": asked.name,
        "last": last,
        "options": asked.options.model_dump(mode="json", exclude_unset=True),
        "parts": [dict(part) for part in parts],
    }


def _digest(name: str, before: Mapping[str, Json] | None, what: str) -> str:
    text = json.dumps([name, before, what], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40]
