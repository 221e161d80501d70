"""What a commit does to a table, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Final

from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec

from lakecat.errors import TableError
from lakecat.tables.evolution import SchemaChange
from lakecat.tables.state import TableState
from lakecat.types import DatasetName


class Operation(StrEnum):
    """What a change is, in lakecat's words. Iceberg calls ``replace`` overwrite, and ``rewrite`` replace."""

    APPEND = "append"
    OVERWRITE = "overwrite"
    REPLACE = "replace"
    DELETE = "delete"
    REWRITE = "rewrite"


class Removal(Enum):
    """Sets of files that are known only when the change is staged."""

    ALL = "all"
    PARTITIONS = "partitions"


ALL: Final = Removal.ALL
"""Every file of the table."""
PARTITIONS: Final = Removal.PARTITIONS
"""Every file of the partitions that the added files lie in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableChange:
    """One table's part of a commit.

    ``schema`` creates or evolves the table; ``spec`` sets its partitioning (None keeps it, or none for a new table).
    ``removed`` are files that must still be there. ``base_snapshot_id`` is the snapshot that a rewrite has read: if
    rows were added or removed since, the change is a conflict. Without it a change holds whatever came in between.
    ``properties`` go to the snapshot's summary; ``lakecat.execution`` also names the metadata's folder.
    ``table_properties`` are laid over those of the table.
    Raises TableError for an append that removes files: readers of "what was appended since" trust the operation.
    """

    dataset: DatasetName
    operation: Operation
    location: str
    schema: SchemaChange | None = None
    spec: PartitionSpec | None = None
    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] | Removal = ()
    base_snapshot_id: int | None = None
    properties: Mapping[str, str] = field(default_factory=dict)
    table_properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.operation is Operation.APPEND and self.removed:
            raise TableError(f"{self.dataset}: an append removes no files", hint="this is an overwrite")

    @property
    def iceberg_operation(self) -> str:
        """The operation of Iceberg's snapshot summary: a delete that rewrites files is its overwrite, too."""
        if self.operation is Operation.REWRITE:
            return "replace"
        rewrites = self.operation is Operation.DELETE and self.added
        return "overwrite" if rewrites or self.operation is Operation.REPLACE else self.operation.value

    @property
    def execution(self) -> str | None:
        """The execution that makes this change."""
        return self.properties.get("lakecat.execution")


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What a snapshot holds, and what its commit changed. Bytes are those of the data files."""

    rows: int
    files: int
    bytes: int
    added_rows: int = 0
    added_files: int = 0
    added_bytes: int = 0
    removed_rows: int = 0
    removed_files: int = 0
    removed_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedTable:
    """A change whose files are all written, and which nobody can see before the pointer is swapped.

    ``written`` are the locations of manifests, metadata and sidecar: what to remove if the commit surely failed.
    """

    dataset: DatasetName
    metadata_location: str
    base_location: str | None
    snapshot_id: int
    sequence_number: int
    timestamp_ms: int
    operation: Operation
    totals: Totals
    expired_snapshot_ids: tuple[int, ...]
    written: tuple[str, ...]
    state: TableState
