"""The connector protocol: how rows come in.

Connectors import only ``lakecat.connector``, ``lakecat.types`` and ``lakecat.errors``. A connector never decides what
is committed. It says which streams its source has (``discover``), which slices of a stream are new (``plan``), reads
one slice as Arrow batches (``read``), and says afterwards what it read (``SliceReader.summary``). lakecat writes,
audits and commits; the position and the ledger of files move in that same commit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, Protocol, runtime_checkable

import pyarrow as pa

from lakecat.errors import ConfigError
from lakecat.types import FileVersion, Json, LoadedFile, Position, SourceRead, WriteMode

REJECTED: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("line", pa.int64()),
        pa.field("column", pa.string()),
        pa.field("text", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Rows that a slice could not hand out: where each stood, its text as it was, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One stream of a source, as ``discover`` finds it: a table, an endpoint, a set of files.

    ``schema`` is None where only reading shows it. ``key`` is the source's own primary key. ``cursors`` are columns
    that may serve as a cursor, the best first. ``uri`` is what lineage calls the stream.
    """

    name: str
    uri: str
    schema: pa.Schema | None = None
    key: tuple[str, ...] = ()
    cursors: tuple[str, ...] = ()
    estimated_rows: int | None = None
    description: str | None = None


class Nulls(StrEnum):
    """What becomes of rows whose cursor is NULL: the run fails, they come once at every run, or they are left out."""

    ERROR = "error"
    INCLUDE = "include"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """A column that grows with every change, by which only new rows are read.

    ``lag`` reads that far back again at each run, for commits that came late: seconds for times, a number for
    numbers. ``start`` and ``end`` bound what is read at all, ``start`` included, ``end`` not. ``step`` cuts what is
    due into slices of that width, each a commit of its own (a backfill that can be broken off): seconds or a number.
    """

    column: str
    lag: float = 0
    start: Json = None
    end: Json = None
    step: float | None = None
    nulls: Nulls = Nulls.ERROR


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRequest:
    """What a job asks of one stream.

    ``name`` is None where the job names none: the source's only stream, or the one that its options describe.
    ``options`` are the stream's own. ``checkpoint`` is the number of rows after which a long load should be
    committed, and can be resumed: a slice should hold about that many. ``batch`` is what of a source of files makes a
    slice: each new one, or all of them. ``absent``: rows that are no longer in the
    source will be deleted, so a connector that can tell its keys (``KeyedReader``) gives a slice also without news.
    """

    name: str | None = None
    mode: WriteMode = WriteMode.APPEND
    key: tuple[str, ...] = ()
    cursor: Cursor | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    checkpoint: int | None = None
    batch: Literal["file", "all"] = "file"
    absent: bool = False

    @property
    def incremental(self) -> bool:
        """Whether only what is new is asked for; else the whole source, or nothing when it is as it was."""
        return self.mode is not WriteMode.REPLACE


@dataclass(frozen=True, slots=True)
class Slice:
    """The unit that is read and committed together.

    ``key`` is stable: the same source state gives the same key, in any process (it goes into the run key).
    ``files`` are the file versions it holds (empty for sources that are no files); ``position`` is the stream's
    position once this slice has been committed, unless only reading shows it (``ReadSummary.position``).
    ``splits`` are parts that can be read at the same time, each by a reader of its own: ``read`` of the slice with
    one split reads that part only; with all of them, or none, everything. A slice that has splits knows its position.
    ``uri`` is what lineage calls the source.
    ``gone`` are files that were loaded once and are no longer there; a slice of nothing else is not read.
    """

    key: str
    files: tuple[FileVersion, ...] = ()
    position: Position | None = None
    estimated_bytes: int | None = None
    payload: Mapping[str, Json] = field(default_factory=dict)
    splits: tuple[Mapping[str, Json], ...] = ()
    uri: str | None = None
    gone: tuple[FileVersion, ...] = ()


class StreamState(Protocol):
    """What the catalog remembers of a stream, given to ``plan``; asked again, it answers with the newest commit."""

    @property
    def position(self) -> Position | None:
        """The committed position, or None before the first commit."""

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        """Those of the file versions that a commit already holds."""

    def ledger(self) -> Iterator[FileVersion]:
        """The newest loaded version of every file, in no particular order; files that are gone are left out.

        Comes in pages: memory does not grow with the number of files.
        """


@dataclass(frozen=True, slots=True)
class ReadSummary:
    """What one slice turned out to hold, known once its batches are exhausted.

    ``rejected`` has the columns of :data:`REJECTED`. ``position`` goes before the slice's own.
    """

    rows: int
    sources: tuple[SourceRead, ...]
    files: tuple[LoadedFile, ...] = ()
    position: Position | None = None
    rejected: pa.Table | None = None


class SliceReader(Protocol):
    """One slice being read: a schema that holds for every batch, then the batches, then the summary.

    Iterating ends only after the source proved unchanged since ``plan``; else it raises SourceChangedError.
    """

    @property
    def schema(self) -> pa.Schema:
        """The slice's columns; they hold for every batch and are never widened on the way.

        Decided over the whole slice before the first batch is handed out, or enforced on every row.
        """

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of bounded size (about 64 Ki rows or 32 MiB)."""

    def summary(self) -> ReadSummary:
        """Valid after exhaustion."""

    def close(self) -> None:
        """Free files and child processes; safe to call twice."""


@runtime_checkable
class KeyedReader(SliceReader, Protocol):
    """A reader that can also tell which keys the stream has now, so that what was deleted is known."""

    def keys(self) -> pa.RecordBatchReader:
        """Every key, at the moment of which the slice's rows are; asked for after the last batch, at most once.

        Its columns are those that ``ReadOptions.keys`` names.
        """


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What lakecat knows when it asks for a slice.

    ``expected`` holds the columns that the target table has already, with their types: a slice whose text fits
    them is read with them; a value that does not fit raises ParseError with file, line and column; a source that says
    its types may hand out a wider one, as :func:`lakecat.connector.nested.promoted` has it. ``declared``
    (column name to Arrow type) comes from the job's ``columns:`` and binds even on the first load. ``rejects`` is how
    many rows may be set aside (``ReadSummary.rejected``) instead of raising; None: not one, the first bad row raises.
    ``file_column`` asks a connector that reads files for one more column, the last: the URI of the row's file.
    ``keys`` names the key columns where :meth:`KeyedReader.keys` will be asked for.
    """

    expected: pa.Schema | None = None
    declared: Mapping[str, pa.DataType] = field(default_factory=dict)
    batch_rows: int = 65_536
    rejects: int | None = None
    keys: tuple[str, ...] = ()
    file_column: str | None = None


def _no_secret(_reference: str) -> str:
    raise ConfigError("no secrets are to be had here", hint="open the connector with a context that has them")


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorContext:
    """Where a connector is opened.

    ``root`` is the folder that relative paths are relative to; ``storage`` holds resolved fsspec options (endpoint,
    credentials) for remote URLs; ``secret`` gives the text behind a reference (``env:NAME``, ``file:PATH``) and
    raises ConfigError for any other text; ``clock`` gives the time, aware and in UTC.
    """

    root: Path
    storage: Mapping[str, str] = field(default_factory=dict)
    secret: Callable[[str], str] = _no_secret
    clock: Callable[[], datetime] = _utc_now


@runtime_checkable
class Connector(Protocol):
    """A source of rows. One instance serves one run of one job; it is opened with the job's ``options``.

    ``plan`` and ``read`` may be called from several threads once ``open`` returned, ``read`` for splits at the same
    time. What belongs together in a run (a snapshot of a database, a session) lives as long as the instance.
    """

    @classmethod
    @abstractmethod
    def open(cls, options: Mapping[str, Json], context: ConnectorContext) -> Connector:
        """Validate the options and build the connector. Raises ConfigError naming the option."""

    @abstractmethod
    def discover(self) -> Sequence[Stream]:
        """The source's streams, by name. Raises SourceError."""

    @abstractmethod
    def plan(self, request: StreamRequest, state: StreamState) -> Iterable[Slice]:
        """New slices of a stream, in the order in which they must be committed; none when nothing is new.

        May be lazy: the next slice is asked for when the one before is committed. A request that is not incremental
        asks for the whole source in one slice, or none when it is as it was at the last commit. Raises SourceError,
        and ConfigError for what the stream cannot do.
        """

    @abstractmethod
    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Open one slice, or one split of it; also a second time. Raises SourceError."""

    @abstractmethod
    def close(self) -> None:
        """Free what the connector holds; safe to call twice."""


@runtime_checkable
class SettlingConnector(Connector, Protocol):
    """A connector that holds something dear for the run, such as a snapshot, and can let go of it before ``close``."""

    @abstractmethod
    def settled(self) -> None:
        """No further stream will be planned: what is held may go once every slice has been read to its end.

        The plans there are still give slices, and a slice may still be read again.
        """


_NAMES: Final[dict[pa.DataType, str]] = {
    pa.bool_(): "boolean",
    pa.int8(): "int",
    pa.int16(): "int",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.large_string(): "string",
    pa.large_binary(): "binary",
}


def type_name(type_: pa.DataType) -> str:
    """A type as tables, jobs and messages spell it: Iceberg's name, or Arrow's own for what no table holds."""
    if (name := _NAMES.get(type_)) is not None:
        return name
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision}, {type_.scale})"
    if pa.types.is_timestamp(type_) and type_.unit == "us":
        return "timestamp" if type_.tz is None else "timestamptz"
    if pa.types.is_struct(type_):
        return f"struct<{', '.join(f'{part.name}: {type_name(part.type)}' for part in type_)}>"
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        return f"list<{type_name(type_.value_type)}>"
    if pa.types.is_map(type_):
        return f"map<{type_name(type_.key_type)}, {type_name(type_.item_type)}>"
    return str(type_)
