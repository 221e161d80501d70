"""A table in a lake without a catalog: commits are staged one after the other, and the newest is the current one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import StaticTable

from lakecat.config import Retention, WriteSettings
from lakecat.store import LakeStore
from lakecat.tables import (
    Operation,
    Removal,
    Scan,
    SchemaChange,
    StagedTable,
    TableChange,
    TableState,
    arrow_to_iceberg,
    data_prefix,
    load_state,
    new_table,
    parse_partition,
    read,
    stage,
    table_location,
)
from lakecat.tables.write import write_files
from lakecat.types import DatasetName

KEEP_ALL = Retention(snapshots=1_000_000)
DATASET = DatasetName("raw", "t")


@dataclass
class TableLab:
    """Times are milliseconds: the n-th commit happens at ``n * 1000`` after the start."""

    store: LakeStore
    dataset: DatasetName = DATASET
    retention: Retention = KEEP_ALL
    state: TableState | None = None
    commits: int = 0
    now_ms: int = 1_700_000_000_000
    step: timedelta = timedelta(seconds=1)
    history: list[StagedTable] = field(default_factory=list)

    @property
    def location(self) -> str:
        return table_location(self.store.url, self.dataset)

    @property
    def current(self) -> TableState:
        assert self.state is not None
        return self.state

    def create(self, rows: pa.Table, *partition: str) -> StagedTable:
        schema = arrow_to_iceberg(rows.schema)
        spec = parse_partition(partition, schema)
        added = self.write(rows, schema=schema, spec=spec)
        return self.commit(Operation.APPEND, added=added, schema=new_table(schema), spec=spec)

    def append(self, rows: pa.Table, schema: SchemaChange | None = None) -> StagedTable:
        added = self.write(rows, schema=schema.schema if schema else None)
        return self.commit(Operation.APPEND, added=added, schema=schema)

    def write(
        self, rows: pa.Table, *, schema: object = None, spec: PartitionSpec | None = None
    ) -> tuple[DataFile, ...]:
        """Data files of these rows, in the folder of the next commit."""
        written = write_files(
            self.store,
            rows.to_reader(),
            schema=schema or self.current.schema,
            spec=spec or self.current.spec,
            prefix=data_prefix(self.location, f"execution-{self.commits}"),
            settings=WriteSettings(),
        )
        return written.files

    def change(
        self,
        operation: Operation,
        *,
        added: tuple[DataFile, ...] = (),
        removed: tuple[DataFile, ...] | Removal = (),
        schema: SchemaChange | None = None,
        spec: PartitionSpec | None = None,
        base_snapshot_id: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> TableChange:
        return TableChange(
            dataset=self.dataset,
            operation=operation,
            location=self.location,
            added=added,
            removed=removed,
            schema=schema,
            spec=spec,
            base_snapshot_id=base_snapshot_id,
            properties={"lakecat.execution": f"execution-{self.commits}", **(properties or {})},
        )

    def commit(self, operation: Operation, **parts: object) -> StagedTable:
        return self.publish(self.stage(self.change(operation, **parts)))

    def stage(self, change: TableChange, base: TableState | str | None = "current") -> StagedTable:
        """Stage without making it current."""
        self.commits += 1
        self.now_ms += int(self.step.total_seconds() * 1000)
        return stage(
            self.store,
            self.state if base == "current" else base,
            change,
            retention=self.retention,
            now_ms=self.now_ms,
            snapshot_id=1_000_000_000_000 + self.commits,
            uuid=str(uuid.UUID(int=self.commits)),
            sidecar={"number": self.commits},
        )

    def publish(self, staged: StagedTable) -> StagedTable:
        self.state = load_state(self.store, staged.metadata_location)
        self.history.append(replace(staged))
        return staged

    def rows(self, snapshot_id: int | None = None) -> list[dict[str, object]]:
        """What lakecat reads."""
        return read(self.store, Scan(self.current, snapshot_id)).read_all().to_pylist()

    def static(self) -> StaticTable:
        """What plain PyIceberg sees, with its own file access."""
        return StaticTable.from_metadata(self.current.metadata_location)
