"""What is read when: a resource whole, or what its cursor shows to be new. Rows are fetched here, and wait in a spool.

So a slice is planned only where there is something in it, and its key follows from the rows themselves.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from lakecat.connector import Cursor, Slice, StreamRequest, StreamState
from lakecat.errors import ConfigError, SourceChangedError, SourceError, Where
from lakecat.types import Position, WriteMode
from lakecat_connectors._rest_cursor import Key, Scale
from lakecat_connectors._rest_edge import Reached, Tracker
from lakecat_connectors._rest_fetch import Fetcher, Rows, Window
from lakecat_connectors._rest_json import Flaw, field_of, flaw_in, row_text, shown_row
from lakecat_connectors._rest_options import Incremental as IncrementalOptions
from lakecat_connectors._rest_options import Resource
from lakecat_connectors._rest_paths import search
from lakecat_connectors._rest_spool import Spool

_WHOLE_ROWS: Final = (WriteMode.APPEND, WriteMode.REPLACE, WriteMode.REPLACE_PARTITIONS)
"""Modes in which every row of a slice is written; in the others the last row of a key counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One stream as a job asks for it."""

    name: str
    resource: Resource
    request: StreamRequest
    uri: str

    @property
    def keyed(self) -> bool:
        """Whether the last row of a key counts."""
        return self.request.mode not in _WHOLE_ROWS

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that identify a row, where they are known."""
        return self.request.key or tuple(self.resource.primary_key)


@dataclass(frozen=True, slots=True)
class Planned:
    """A slice's rows, and the position that its commit leaves."""

    asked: Asked
    spool: Spool
    position: Position


Keep = Callable[[Planned], str]
"""Takes a slice's rows until they are read, and says under which name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What planning needs of the connector."""

    fetcher: Fetcher
    new_spool: Callable[[Asked], Spool]
    keep: Keep
    clock: Callable[[], datetime]


def plan_whole(desk: Desk, asked: Asked, state: StreamState) -> tuple[Slice, ...]:
    """Everything in one slice; none where it is as it was at the last commit. Raises SourceError."""
    spool = desk.new_spool(asked)
    for page in desk.fetcher.pages(asked.name, asked.resource, Window()):
        spool.page(page.shown, page.bytes)
        for line, row in enumerate(page.rows, 1):
            text, flaw = judged(row, plain=page.plain)
            if flaw is None:
                spool.add(row, text, line)
            else:
                spool.flaw(text, line, *flaw)
    spool.close(whole=asked.request.mode is WriteMode.REPLACE, keyed=asked.keyed)
    if not spool.rows and not spool.flaws and asked.resource.empty != "load":
        spool.delete()
        if asked.resource.empty == "error":
            raise SourceError(f"{asked.name} is empty", where=Where(asked.uri), hint="say empty: keep to let that be")
        return ()
    position = Position({"content": spool.digest})
    if state.position is not None and state.position.value.get("content") == spool.digest:
        spool.delete()
        return ()
    return (_slice(desk, Planned(asked, spool, position), None),)


class Incremental:
    """What is new of one resource, in one run."""

    def __init__(self, desk: Desk, asked: Asked, cursor: Cursor, state: StreamState) -> None:
        """Find out from where. Raises ConfigError for what cannot be meant."""
        self._desk = desk
        self._asked = asked
        self._cursor = cursor
        self._options = asked.resource.incremental or IncrementalOptions()
        self._before = state.position
        self._reached = Reached.of(state.position, cursor.column, keyed=asked.keyed)
        self._tracker = Tracker(cursor=cursor, scale=None, reached=self._reached, keyed=asked.keyed)
        self._scale = self._known_scale()
        self._last: Key | None = None
        self._began = desk.clock()
        self._bounded: tuple[Key | None, Key | None] = (None, None)
        if self._scale is not None:
            self._follow(self._scale)

    def slices(self) -> Iterator[Slice]:
        """One slice for each window, or more where pages come in order and ``checkpoint`` is reached."""
        for low, high in self._windows():
            yield from self._window(low, high)
        self._refuse_lower()

    def _known_scale(self) -> Scale | None:
        """The scale, where it is known before any row."""
        declared, form = self._options.type, self._options.format
        if self._reached is not None and self._reached.kind is not None:
            return Scale(self._cursor.column, self._reached.kind, form)  # type: ignore[arg-type]  # as it was written
        if declared != "auto":
            return Scale(self._cursor.column, declared, form)
        bound = self._cursor.start if self._cursor.start is not None else self._cursor.end
        return None if bound is None else Scale.of(self._cursor.column, bound, "auto", form)

    def _follow(self, scale: Scale) -> None:
        """Take a scale for what is asked; the tracker's own comes with the position, or with the first row."""
        if scale.kind == "text" and self._options.param and self._options.boundary is None and not self._asked.keyed:
            raise ConfigError(
                "incremental: whether the API gives rows that equal a text it is asked from must be said",
                hint="say boundary: inclusive if it does; with exclusive, rows that equal the last value and come "
                "later are not seen",
            )
        self._take_scale(scale)
        if self._reached is not None and self._reached.kind is not None:
            self._tracker.scale = scale

    def _take_scale(self, scale: Scale) -> None:
        """Raises ConfigError where rows would be lost that come to one parent while those of another are read."""
        self._tracker.lag = scale.distance(self._cursor.lag, "lag")
        if self._asked.resource.parent is not None and not scale.sure and not self._cursor.lag:
            raise ConfigError(
                f"cursor: {self._cursor.column!r} is not known to be a moment, so it does not say which rows came to "
                "one parent while those of another were read",
                hint="say lag: under cursor:, for how far such rows may lie behind the greatest; or leave cursor: out",
            )

    def _start(self, scale: Scale) -> Key | None:
        start = None if self._cursor.start is None else scale.bound(self._cursor.start, "start")
        if self._reached is None or self._reached.cursor is None:
            return start
        low = scale.back(self._reached.cursor, self._tracker.lag)
        return low if start is None or low > start else start  # type: ignore[operator]  # one scale, one type

    def _windows(self) -> Iterator[tuple[Key | None, Key | None]]:
        scale, step = self._scale, self._cursor.step
        if scale is None:
            if step is not None:
                raise self._no_step()
            yield None, None
            return
        low = self._start(scale)
        end = None if self._cursor.end is None else scale.bound(self._cursor.end, "end")
        if step is None:
            yield low, end
            return
        if not isinstance(low, Decimal) or step <= 0:
            raise self._no_step()
        yield from self._steps(scale, low, end)

    def _steps(self, scale: Scale, low: Decimal, end: Key | None) -> Iterator[tuple[Key, Key | None]]:
        if end is None and not scale.timely:
            raise self._no_step()
        stop = Decimal(str(self._desk.clock().timestamp())) if end is None else end
        width = scale.distance(self._cursor.step or 0, "step")
        here: Decimal = low
        while isinstance(stop, Decimal) and here + width < stop:
            yield here, here + width
            here += width
        yield here, end

    def _no_step(self) -> ConfigError:
        return ConfigError(
            f"cursor: step needs to know where {self._asked.name} starts and ends",
            hint="say start: (and end: where the cursor is a number) under cursor:; text has no steps",
        )

    def _window(self, low: Key | None, high: Key | None) -> Iterator[Slice]:
        self._bounded = low, high
        if self._tracker.scale is not None:
            self._tracker.low, self._tracker.high = low, high
        self._last = None
        spool = self._desk.new_spool(self._asked)
        for page in self._desk.fetcher.pages(self._asked.name, self._asked.resource, self._asking(low, high)):
            self._bound_edge(page)
            self._take(page, spool)
            if self._is_enough(spool) and (position := self._safe_position()) is not None:
                yield self._slice(spool, position)
                spool.delete()
                spool = self._desk.new_spool(self._asked)
            if self._is_below(low):
                break
        if spool.rows or spool.flaws:
            yield self._slice(spool, self._tracker.position())
        spool.delete()

    def _bound_edge(self, page: Rows) -> None:
        """What is newer than the moment at which reading began need not be all there was; but in order it is."""
        in_order = self._options.order == "ascending" and self._asked.resource.parent is None
        if self._tracker.until is None and not in_order:
            self._tracker.until = Decimal(math.floor(self._began.timestamp() + page.ahead))

    def _asking(self, low: Key | None, high: Key | None) -> Window:
        """The parameters. From a step below ``low``: an API that leaves out the value itself gives its rows too."""
        options, scale = self._options, self._scale
        params: dict[str, Any] = {}
        if scale is not None and low is not None and options.param is not None:
            exact = options.boundary == "inclusive" or scale.kind == "text"
            params[options.param] = scale.text(low if exact else scale.back(low, scale.unit))
        if scale is not None and high is not None and options.end_param is not None:
            params[options.end_param] = scale.text(high, upwards=True)
        return Window(params, options.place)

    def _take(self, page: Rows, spool: Spool) -> None:
        spool.page(page.shown, page.bytes)
        for line, row in enumerate(page.rows, 1):
            where = Where(page.shown, line)
            text, flaw = judged(row, plain=page.plain)
            key: Key | None = None
            if flaw is None:
                try:
                    key = self._key(row, where)
                except SourceError as err:
                    flaw = (err.what, self._cursor.column)
            if flaw is not None:
                if self._tracker.take_flawed(text):
                    spool.flaw(text, line, *flaw)
                continue
            self._check_order(key, where)
            if self._tracker.take(key, row, where):
                spool.add(row, text, line)

    def _key(self, row: dict[str, Any], where: Where) -> Key | None:
        path = self._options.path
        value = field_of(row, self._cursor.column) if path is None else search(path, row, where)
        if value is None or value == "":
            return None
        scale = self._tracker.scale
        if scale is None:
            scale = self._tracker.scale = Scale.of(self._cursor.column, value, self._options.type, self._options.format)
            self._take_scale(scale)
            self._tracker.low, self._tracker.high = self._bounds_on(scale)
        return scale.key(value)

    def _bounds_on(self, scale: Scale) -> tuple[Key | None, Key | None]:
        """The window, once a row showed the scale; a bound that was a date is one of times then."""
        if self._cursor.step is not None:
            return self._bounded
        end = None if self._cursor.end is None else scale.bound(self._cursor.end, "end")
        return self._start(scale), end

    def _check_order(self, key: Key | None, where: Where) -> None:
        """Hold the API to the order that the job declares. Raises SourceError."""
        order = self._options.order
        if order is None or key is None:
            return
        last, self._last = self._last, key
        if last is None:
            return
        wrong = key < last if order == "ascending" else key > last  # type: ignore[operator]
        if wrong and self._asked.resource.parent is None:
            raise SourceError(
                f"the rows do not come in {order} order of {self._cursor.column!r}",
                where=where,
                hint="ask the API for that order under params:, or leave order: out",
            )

    def _is_below(self, low: Key | None) -> bool:
        """Whether all that may follow was read before: only where pages come newest first."""
        if self._options.order != "descending" or self._asked.resource.parent is not None:
            return False
        return low is not None and self._last is not None and self._last < low  # type: ignore[operator]

    def _is_enough(self, spool: Spool) -> bool:
        most = self._asked.request.checkpoint
        in_order = self._options.order == "ascending" and self._asked.resource.parent is None
        return most is not None and in_order and spool.rows >= most

    def _safe_position(self) -> Position | None:
        """The position in the midst; None where the edge is too broad to stop at."""
        try:
            return self._tracker.position()
        except SourceError:
            return None

    def _slice(self, spool: Spool, position: Position) -> Slice:
        spool.close(whole=False, keyed=self._asked.keyed)
        before, self._before = self._before, position
        return _slice(self._desk, Planned(self._asked, spool, position), before)

    def _refuse_lower(self) -> None:
        """A greatest value below what was read: the source was set back, and would be silent until it caught up."""
        reached = None if self._reached is None else self._reached.cursor
        greatest = self._tracker.greatest
        if reached is None or self._options.went_back == "ignore" or self._cursor.end is not None:
            return
        if self._options.param is not None and self._options.boundary == "exclusive":
            return
        if greatest is None or greatest < reached:  # type: ignore[operator]
            raise SourceChangedError(
                f"{self._asked.name} has no row any more at or behind the last value of {self._cursor.column!r} read",
                where=Where(self._asked.uri),
                hint="was the source restored from a backup? Load it anew into another target; "
                "if only its newest rows were deleted, say went_back: ignore under incremental:",
            )


def judged(row: Any, *, plain: bool) -> tuple[str, tuple[str, str | None] | None]:
    """A row's text, and why it is none that a table can hold, with the column. ``plain``: as its document is."""
    if not isinstance(row, dict):
        if isinstance(row, Flaw):
            return shown_row(row), (row.reason, None)
        kind = {list: "a list", str: "a text", type(None): "null"}.get(type(row), "a number or boolean")
        return shown_row(row), (f"a row is {kind}, not an object", None)
    if not plain and (found := flaw_in(row)) is not None:
        return shown_row(row), (found[1].reason, found[0] or None)
    try:
        return row_text(row, plain=plain), None
    except ValueError as err:
        return shown_row(row), (str(err), None)


def _slice(desk: Desk, planned: Planned, before: Position | None) -> Slice:
    """The slice; its key follows from where the stream stood and from the rows."""
    asked, spool = planned.asked, planned.spool
    known = None if before is None else dict(before.value)
    parts = [asked.name, asked.uri, known, spool.digest]
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]
    return Slice(
        key=f"rest:{key}",
        position=planned.position,
        estimated_bytes=spool.bytes,
        payload={"spool": desk.keep(planned)},
        uri=asked.uri,
    )
