"""The connector protocol: how rows come in. Connectors import only this, ``lakecat.types`` and ``lakecat.errors``.

A connector never decides what is committed. It says which slices of its source are new (``plan``), reads one
slice as Arrow batches (``read``), and says afterwards what it read (``SliceReader.summary``). lakecat writes,
audits and commits; the position and the ledger of files move in that same commit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

import pyarrow as pa

from lakecat.types import FileVersion, Json, LoadedFile, Position, SourceRead


@dataclass(frozen=True, slots=True)
class Slice:
    """The unit that is read and committed together.

    ``key`` is stable: the same source state gives the same key, in any process (it goes into the run key).
    ``files`` are the file versions it holds (empty for sources that are no files); ``position`` is the stream's
    position once this slice has been committed.
    """

    key: str
    files: tuple[FileVersion, ...] = ()
    position: Position | None = None
    estimated_bytes: int | None = None
    payload: Mapping[str, Json] = field(default_factory=dict)


class StreamState(Protocol):
    """What the catalog remembers of a stream, given to ``plan``."""

    @property
    def position(self) -> Position | None:
        """The committed position, or None before the first commit."""

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        """Those of the file versions that a commit already holds."""


@dataclass(frozen=True, slots=True)
class ReadSummary:
    """What one slice turned out to hold, known once its batches are exhausted."""

    rows: int
    sources: tuple[SourceRead, ...]
    files: tuple[LoadedFile, ...] = ()


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


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What lakecat knows when it asks for a slice.

    ``expected`` holds the columns that the target table has already, with their types: a slice whose text fits
    them is read with them; a value that does not fit raises ParseError with file, line and column. ``declared``
    (column name to Arrow type) comes from the job's ``columns:`` and binds even on the first load.
    """

    expected: pa.Schema | None = None
    declared: Mapping[str, pa.DataType] = field(default_factory=dict)
    batch_rows: int = 65_536


@runtime_checkable
class Connector(Protocol):
    """A source of rows. One instance serves one job; it is opened with the job's ``options``."""

    @classmethod
    @abstractmethod
    def open(cls, options: Mapping[str, Json], *, base: str, storage: Mapping[str, str]) -> Connector:
        """Validate options and build the connector.

        ``base`` is the folder that relative paths are relative to; ``storage`` holds resolved fsspec options
        (endpoint, credentials) for remote URLs. Raises ConfigError naming the option.
        """

    @abstractmethod
    def plan(self, state: StreamState, *, incremental: bool) -> Sequence[Slice]:
        """New slices, in the order in which they must be committed; empty when nothing is new.

        ``incremental`` False (a replace job) asks for one slice holding the whole source, or none when the whole
        source is as it was at the last commit.
        """

    @abstractmethod
    def read(self, slice_: Slice, options: ReadOptions) -> SliceReader:
        """Open one slice. Raises SourceError."""

    @abstractmethod
    def close(self) -> None:
        """Free what the connector holds; safe to call twice."""


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
