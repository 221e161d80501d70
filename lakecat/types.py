"""Frozen values that every room may use. No I/O, no heavy imports."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from lakecat.errors import SelectorError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_PART: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}\Z")
_TAG: Final = re.compile(r"(?!v[0-9])[a-z][a-z0-9_]*(?:[.-][a-z0-9_]+)*\Z")
_TAG_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """A dataset's name, ``namespace.name``; both parts ``[A-Za-z_][A-Za-z0-9_]*``, at most 127 characters.

    Kept in lower case: SQL folds unquoted names and engines differ in the direction.
    """

    namespace: str
    name: str

    def __post_init__(self) -> None:
        for part in (self.namespace, self.name):
            if not _PART.match(part):
                raise SelectorError(
                    f"{part!r} is not a dataset name part",
                    hint="letters, digits and _ only, not starting with a digit, at most 127 characters",
                )
        object.__setattr__(self, "namespace", self.namespace.lower())
        object.__setattr__(self, "name", self.name.lower())

    @classmethod
    def parse(cls, text: str) -> DatasetName:
        """Read ``namespace.name``. Raises SelectorError."""
        parts = text.split(".")
        if len(parts) != 2:
            raise SelectorError(f"{text!r} is not a dataset name", hint="write it as namespace.name, e.g. raw.orders")
        return cls(*parts)

    def __str__(self) -> str:
        return f"{self.namespace}.{self.name}"


def is_tag_name(text: str) -> bool:
    """Whether a version may be called so: ``prod``, ``q3-2026``, ``model.v2``; not ``v2``, and not ``v2x`` either."""
    return len(text) <= _TAG_CHARACTERS and _TAG.match(text) is not None


@dataclass(frozen=True, slots=True)
class VersionRef:
    """A dataset at a version: ``raw.orders@v7``, ``@2026-11-01T12:00:00Z``, ``@<snapshot id>``, ``@<tag>``.

    At most one of ``version`` (1, 2, …), ``as_of`` (aware, UTC; a bare date means its end), ``snapshot_id`` and
    ``tag`` is set; none means the current version.
    """

    dataset: DatasetName
    version: int | None = None
    as_of: datetime | None = None
    snapshot_id: int | None = None
    tag: str | None = None

    @classmethod
    def parse(cls, text: str) -> VersionRef:
        """Read a dataset name with an optional ``@`` part. Raises SelectorError."""
        name, at, ref = text.partition("@")
        dataset = DatasetName.parse(name)
        if not at:
            return cls(dataset)
        if re.fullmatch(r"v[1-9][0-9]{0,17}", ref):
            return cls(dataset, version=int(ref[1:]))
        if re.fullmatch(r"[0-9]{9,19}", ref):
            return cls(dataset, snapshot_id=int(ref))
        if is_tag_name(ref):
            return cls(dataset, tag=ref)
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", ref):
                day = date.fromisoformat(ref)
                return cls(dataset, as_of=datetime(day.year, day.month, day.day, 23, 59, 59, 999999, tzinfo=UTC))
            moment = datetime.fromisoformat(ref)
            as_of = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # the latter: the year 0 in UTC
            raise SelectorError(
                f"{ref!r} is not a version",
                hint="write @v7, @2026-11-01, @2026-11-01T12:00:00Z, @<snapshot id> or @<tag>, such as @prod",
            ) from None
        return cls(dataset, as_of=as_of)

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.dataset}@v{self.version}"
        if self.snapshot_id is not None:
            return f"{self.dataset}@{self.snapshot_id}"
        if self.tag is not None:
            return f"{self.dataset}@{self.tag}"
        if self.as_of is not None:
            return f"{self.dataset}@{self.as_of.isoformat().replace('+00:00', 'Z')}"
        return str(self.dataset)


@dataclass(frozen=True, slots=True)
class Version:
    """One immutable state of a dataset, as the catalog knows it."""

    dataset: DatasetName
    version: int
    snapshot_id: int
    metadata_location: str
    artifact_id: int
    execution_id: int
    committed_at: datetime
    operation: str
    rows: int
    added_rows: int
    removed_rows: int
    files: int
    bytes: int
    schema_fingerprint: str
    expired: bool = False
    """Its snapshot is gone by retention: history, no longer readable."""

    def __str__(self) -> str:
        return f"{self.dataset}@v{self.version}"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a job has read one stream: any JSON object, at most 64 KiB; moves only in a commit."""

    value: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class FileVersion:
    """One state of a source file. ``etag`` where the store has one; ``mtime`` aware UTC."""

    uri: str
    size: int
    etag: str | None = None
    mtime: datetime | None = None

    @classmethod
    def gone(cls, uri: str) -> FileVersion:
        """What the ledger says of a file that was loaded once and is no longer there."""
        return cls(uri, 0, "gone")

    @property
    def is_gone(self) -> bool:
        """Whether the file is no longer there."""
        return self.size == 0 and self.etag == "gone"

    @property
    def identity(self) -> str:
        """What tells two states of one path apart: the etag, else the mtime to the microsecond; and the size."""
        stamp = self.etag or (self.mtime.isoformat(timespec="microseconds") if self.mtime else "")
        return f"{self.size}:{stamp}"


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A ledger entry: this state of this file became these rows."""

    file: FileVersion
    rows: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class SourceRead:
    """What a connector read, to be recorded as an artifact of type ``lakecat.Source``.

    ``datasets`` are those that its rows went to, which the ingest says, not the connector; None: every one that the
    execution wrote.
    """

    uri: str
    rows: int
    bytes: int | None = None
    properties: Mapping[str, str | int | float] = field(default_factory=dict)
    datasets: tuple[str, ...] | None = None

    def went_to(self, dataset: str) -> bool:
        """Whether its rows went to a dataset that the execution wrote."""
        return self.datasets is None or dataset in self.datasets


class WriteMode(StrEnum):
    """How a job's rows change its table."""

    APPEND = "append"
    REPLACE = "replace"
    REPLACE_PARTITIONS = "replace_partitions"
    REPLACE_KEYS = "replace_keys"
    REPLACE_FILES = "replace_files"
    MERGE = "merge"
    APPEND_NEW = "append_new"
    HISTORY = "history"
    DELETE = "delete"


class ExecutionState(StrEnum):
    """Life of an execution; MLMD's Execution.State by name."""

    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


class ExecutionType(StrEnum):
    """MLMD type names of executions."""

    INGEST = "lakecat.Ingest"
    TRANSFORM = "lakecat.Transform"
    MAINTENANCE = "lakecat.Maintenance"
    EXTERNAL = "lakecat.External"


class EdgeKind(StrEnum):
    """OpenLineage's column lineage: DIRECT (value) subtypes, then INDIRECT (influence) subtypes (facet 1-2-0)."""

    IDENTITY = "IDENTITY"
    TRANSFORMATION = "TRANSFORMATION"
    AGGREGATION = "AGGREGATION"
    JOIN = "JOIN"
    FILTER = "FILTER"
    GROUP_BY = "GROUP_BY"
    SORT = "SORT"
    WINDOW = "WINDOW"
    CONDITIONAL = "CONDITIONAL"
    UNRESOLVED = "UNRESOLVED"

    @property
    def direct(self) -> bool:
        """Whether the value itself flows, not only its influence."""
        return self in (EdgeKind.IDENTITY, EdgeKind.TRANSFORMATION, EdgeKind.AGGREGATION)


@dataclass(frozen=True, slots=True)
class ColumnEdge:
    """Output column came from input column, and how.

    ``output_column`` is None for an edge that concerns the whole output (JOIN, FILTER, GROUP_BY, SORT).
    ``input_dataset`` is a dataset name, or a source URI for ingests; None with kind UNRESOLVED, where
    ``expression`` holds the reason. ``line`` is the 1-based line in the script.
    """

    output_dataset: str
    output_column: str | None
    input_dataset: str | None
    input_column: str | None
    kind: EdgeKind
    expression: str | None = None
    line: int | None = None
    masked: bool = False
