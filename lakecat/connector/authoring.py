"""A connector in one small file: a class with a generator of dicts for each stream. See docs/writing-connectors.md."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, ClassVar, Final, Self, TypeVar

import pyarrow as pa

from lakecat.connector.options import parse_options
from lakecat.connector.protocol import (
    ConnectorContext,
    Cursor,
    Nulls,
    ReadOptions,
    Slice,
    SliceReader,
    Stream,
    StreamRequest,
    StreamState,
)
from lakecat.connector.rows import Row, RowsReader, guarded, rows_reader
from lakecat.connector.watermark import Mark, Watermark
from lakecat.errors import ConfigError, SourceChangedError, SourceError, Where
from lakecat.types import Json, Position, WriteMode

_MARKED: Final = "__lakecat_stream__"
_F = TypeVar("_F", bound=Callable[..., Iterable[Row]])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsStream:
    """A stream of rows.

    ``rows`` yields a new mapping for each row. Where there is a cursor it is called with the least value that may be
    new (None: all), else with nothing. ``ordered``: the rows come by their cursor, so that a long load can stop and be
    resumed. ``version`` tells the state of a stream without cursor (an etag, a date): while it is the same, nothing is
    read.
    """

    name: str
    rows: Callable[..., Iterable[Row]]
    key: tuple[str, ...] = ()
    cursor: str | None = None
    schema: pa.Schema | None = None
    description: str | None = None
    ordered: bool = False
    version: Callable[[], str | None] | None = None


@dataclass(frozen=True, slots=True)
class _Declared:
    name: str | None
    keywords: Mapping[str, Any] = field(default_factory=dict)


def stream(
    name: str | None = None,
    *,
    key: str | Sequence[str] = (),
    cursor: str | None = None,
    schema: pa.Schema | None = None,
    ordered: bool = False,
) -> Callable[[_F], _F]:
    """Make a method a stream of a :class:`RowsConnector`, under its own name or ``name``; see :class:`RowsStream`."""

    def mark(method: _F) -> _F:
        keys = (key,) if isinstance(key, str) else tuple(key)
        keywords = {"key": keys, "cursor": cursor, "schema": schema, "ordered": ordered}
        setattr(method, _MARKED, _Declared(name, keywords))
        return method

    return mark


@dataclass(frozen=True)
class _NoOptions:
    pass


class RowsConnector:
    """Base of connectors that yield dicts. A subclass names its ``Options`` (a dataclass) and marks methods as streams.

    Rows of a stream with a cursor arrive exactly once: the position is the greatest cursor seen, rows at the edge are
    told apart. A stream without one is read whole at every run, for the modes that replace or merge.
    """

    Options: ClassVar[type[Any]] = _NoOptions

    def __init__(self, options: Any, context: ConnectorContext) -> None:
        self.options = options
        self.context = context

    @classmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Self:
        """Check the options against ``Options``. Raises ConfigError naming the option."""
        return cls(parse_options(cls.Options, options, context), context)

    def streams(self) -> Sequence[RowsStream]:
        """The streams: the marked methods, in their order. Override it where only the source knows them."""
        found: dict[str, RowsStream] = {}
        for kind in reversed(type(self).__mro__):
            for attribute, method in vars(kind).items():
                declared = getattr(method, _MARKED, None)
                if isinstance(declared, _Declared):
                    name = declared.name or attribute
                    text = (method.__doc__ or "").strip().partition("\n")[0] or None
                    rows = getattr(self, attribute)
                    found[name] = RowsStream(name=name, rows=rows, description=text, **declared.keywords)
        return tuple(found.values())

    def uri(self, name: str) -> str:
        """What lineage and errors call a stream; never with a secret in it. Override it to say where the rows are."""
        return f"{type(self).__module__}:{type(self).__qualname__}/{name}"

    def discover(self) -> Sequence[Stream]:
        """The streams, by name. Raises SourceError."""
        found = [
            Stream(
                name=one.name,
                uri=self.uri(one.name),
                schema=one.schema,
                key=one.key,
                cursors=(one.cursor,) if one.cursor else (),
                description=one.description,
            )
            for one in self.streams()
        ]
        return tuple(sorted(found, key=lambda one: one.name))

    def plan(self, request: StreamRequest, state: StreamState) -> Iterable[Slice]:
        """The next slice, if a first new row shows that there is one; see ``Connector.plan``."""
        one = self._stream(request.name)
        cursor = _cursor(one, request)
        if cursor is None:
            if request.mode is WriteMode.APPEND:
                raise ConfigError(
                    f"the stream {one.name!r} has no cursor, so its rows would be appended at every run",
                    hint="use mode: replace or merge, or say cursor: {column: …}",
                )
            return self._whole(one, state)
        if not request.incremental:
            commits = 0 if state.position is None else int(str(state.position.value.get("commits", 0)))
            return (self._slice(one, cursor, Mark(commits=commits), request),)
        return self._new(one, cursor, request, state)

    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Take all rows of a slice. Raises SourceError."""
        payload: Mapping[str, Any] = slice_.payload
        one = self._stream(str(payload["stream"]))
        if "mark" not in payload:
            return self._read_whole(one, payload, options)
        cursor = Cursor(**{**payload["cursor"], "nulls": Nulls(payload["cursor"]["nulls"])})
        mark = Mark.of(Position(payload["mark"]), cursor.column)
        watermark = self._watermark(one, cursor, mark, WriteMode(payload["mode"]), payload["limit"])
        rows = watermark.new(_called(one, self.uri(one.name), (watermark.since,)))
        return rows_reader(rows, options, uri=self.uri(one.name), schema=one.schema, position=watermark.position)

    def close(self) -> None:
        """Free what the connector holds. Override it; it may be called twice."""

    def _read_whole(self, one: RowsStream, payload: Mapping[str, Any], options: ReadOptions) -> RowsReader:
        uri = self.uri(one.name)
        rows = _called(one, uri, ())
        position = Position({"version": payload["version"], "commits": payload["commits"]})
        reader = rows_reader(rows, options, uri=uri, schema=one.schema, position=position)
        if one.version is not None and one.version() != payload["version"]:
            reader.close()
            raise SourceChangedError(
                "the source changed after the run was planned", where=Where(uri), hint="run the job again"
            )
        return reader

    def _stream(self, name: str | None) -> RowsStream:
        streams = {one.name: one for one in self.streams()}
        if name is None and len(streams) == 1:
            return next(iter(streams.values()))
        if name not in streams:
            what = "name a stream" if name is None else f"there is no stream {name!r}"
            raise ConfigError(what, hint=f"there are: {', '.join(sorted(streams)) or 'none'}")
        return streams[name]

    def _whole(self, one: RowsStream, state: StreamState) -> Iterator[Slice]:
        version = None if one.version is None else one.version()
        old: Mapping[str, Any] = {} if state.position is None else state.position.value
        if version is not None and old.get("version") == version:
            return
        commits = int(old.get("commits", 0)) + 1
        yield Slice(
            key=f"{one.name}:{commits}:{_digest(version)}",
            position=None if version is None else Position({"version": version, "commits": commits}),
            payload={"stream": one.name, "version": version, "commits": commits},
            uri=self.uri(one.name),
        )

    def _new(self, one: RowsStream, cursor: Cursor, request: StreamRequest, state: StreamState) -> Iterator[Slice]:
        """One slice, or with ``ordered`` and a checkpoint as many as it takes."""
        commits = -1
        while (mark := Mark.of(state.position, cursor.column)).commits > commits:
            commits = mark.commits
            watermark = self._watermark(one, cursor, mark, request.mode)
            with closing(_called(one, self.uri(one.name), (watermark.since,))) as rows:
                first = next(watermark.new(rows), None)
            if first is None:
                return
            yield self._slice(one, cursor, mark, request)
            if not one.ordered or not request.checkpoint:
                return

    def _watermark(
        self, one: RowsStream, cursor: Cursor, mark: Mark, mode: WriteMode, limit: int | None = None
    ) -> Watermark:
        return Watermark(
            cursor,
            mark,
            self.uri(one.name),
            keyed=mode is not WriteMode.APPEND,
            ordered=one.ordered,
            limit=limit,
            like=_like(one, cursor.column),
        )

    def _slice(self, one: RowsStream, cursor: Cursor, mark: Mark, request: StreamRequest) -> Slice:
        """What is new after ``mark``; the number of the commit keeps keys apart where the mark stays."""
        stored = dict(mark.position(cursor.column).value)
        told = {name: getattr(cursor, name) for name in ("column", "lag", "start", "end")}
        return Slice(
            key=f"{one.name}:{mark.commits}:{_digest(stored)}",
            payload={
                "stream": one.name,
                "mark": stored,
                "cursor": {**told, "nulls": cursor.nulls.value},
                "mode": request.mode.value,
                "limit": request.checkpoint if request.incremental else None,
            },
            uri=self.uri(one.name),
        )


def _cursor(one: RowsStream, request: StreamRequest) -> Cursor | None:
    """The cursor that the job asks for, or the stream's own. Raises ConfigError for what there is not."""
    asked = request.cursor
    if asked is None:
        nulls = Nulls.ERROR if request.incremental else Nulls.INCLUDE
        return Cursor(column=one.cursor, nulls=nulls) if one.cursor else None
    if one.cursor is None or asked.column != one.cursor:
        has = f"its cursor is {one.cursor!r}" if one.cursor else "it has none"
        raise ConfigError(f"the stream {one.name!r} has no cursor {asked.column!r}: {has}")
    if asked.step is not None:
        raise ConfigError("cursor: step is not for this connector", hint="say checkpoint: where the stream allows it")
    return asked


def _like(one: RowsStream, column: str) -> Any:
    """A value of the cursor's type, if the schema says it."""
    at = -1 if one.schema is None else one.schema.get_field_index(column)
    if one.schema is None or at < 0:
        return None
    kind = one.schema.field(at).type
    if pa.types.is_timestamp(kind):
        return datetime(1970, 1, 1, tzinfo=UTC) if kind.tz else datetime(1970, 1, 1)  # noqa: DTZ001 - as the column is
    if pa.types.is_date(kind):
        return date(1970, 1, 1)
    return "" if pa.types.is_string(kind) else None


def _called(one: RowsStream, uri: str, arguments: tuple[Any, ...]) -> Generator[Row, None, None]:
    """The rows that the author's function gives, its errors made ours."""

    def rows() -> Iterable[Row]:
        given: Any = one.rows(*arguments)
        if not isinstance(given, Iterable):
            raise SourceError(
                f"the stream {one.name!r} gave no rows but {type(given).__name__}",
                where=Where(uri),
                hint="yield a dict for each row",
            )
        return given

    return guarded(rows, uri)


def _digest(value: Any) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
