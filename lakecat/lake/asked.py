"""Answers to the questions of ``asking``: executions, impact, whereabouts, history; the same behind ``--json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lakecat.catalog import ExecutionInfo, Script
from lakecat.catalog.impact import Affected
from lakecat.catalog.whereabouts import Holding, SourceLoad
from lakecat.lake.answers import Change, ColumnDifference, Reader
from lakecat.types import Json, SourceRead, Version


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionReport:
    """One execution in full. ``seconds`` is None while it runs; what was not recorded is None.

    ``rows_read`` and ``bytes_read`` are those of all the sources and versions it read from: a script that reads only
    what changed reads fewer. ``environment``: versions of lakecat and Python, platform, engine.
    ``failed_streams``: the error of each stream of an ingest that failed where others were committed, by its dataset.
    """

    info: ExecutionInfo
    seconds: float | None
    user: str | None
    host: str | None
    command: str | None
    git_commit: str | None
    parameters: Json
    environment: Mapping[str, Json]
    inputs: tuple[Version, ...]
    sources: tuple[SourceRead, ...]
    script: Script | None
    outputs: tuple[Version, ...]
    rows_read: int | None
    bytes_read: int | None
    rows_written: int | None
    bytes_written: int | None
    files_written: int | None
    failed_streams: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionComparison:
    """How two executions differ. ``script`` is a unified diff, line by line; the others only what differs.

    ``inputs`` and ``outputs`` are versions by dataset (``"v7"``), ``sources`` their URIs; ``columns`` how the columns
    of each dataset that both wrote changed.
    """

    before: ExecutionReport
    after: ExecutionReport
    script: tuple[str, ...]
    parameters: tuple[Change, ...]
    inputs: tuple[Change, ...]
    sources: tuple[Change, ...]
    outputs: tuple[Change, ...]
    columns: Mapping[str, tuple[ColumnDifference, ...]]
    environment: tuple[Change, ...]
    numbers: tuple[Change, ...]

    @property
    def same(self) -> bool:
        """Whether the same script ran with the same parameters on the same inputs in the same environment."""
        return not (self.script or self.parameters or self.inputs or self.sources or self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impact:
    """Everything downstream of a column (or a dataset, where ``column`` is None), nearest first.

    ``affected`` are columns, or (column None) datasets whose rows are decided; ``datasets`` the distance of each
    dataset; ``readers`` the scripts; ``owners`` by dataset, where there are any.
    """

    version: Version
    column: str | None
    affected: tuple[Affected, ...]
    datasets: Mapping[str, int]
    readers: tuple[Reader, ...]
    owners: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTrace:
    """Where a file's rows went: every time it was read, and the versions that may hold its rows, nearest first."""

    uri: str
    loads: tuple[SourceLoad, ...]
    holdings: tuple[Holding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """A version, what made it, and how its columns differ from those of the version before."""

    version: Version
    execution: ExecutionInfo | None
    columns: tuple[ColumnDifference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A dataset's versions, newest first; of a column only those that changed it. ``more``: there are older ones."""

    dataset: str
    column: str | None
    entries: tuple[HistoryEntry, ...]
    more: bool
