"""A catalog with a lake beside it, and small executions on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest
from sqlalchemy.engine import URL

from lakecat import tables
from lakecat.catalog import (
    Catalog,
    CommitResult,
    ExecutionStart,
    Holder,
    Lease,
    RunningExecution,
    Script,
)
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.config import Retention, WriteSettings
from lakecat.errors import NotFoundError
from lakecat.store import LakeStore
from lakecat.tables import Operation, TableChange
from lakecat.tables.write import write_files
from lakecat.types import ColumnEdge, DatasetName, ExecutionType, LoadedFile, Position, SourceRead, Version

HOLDER = Holder("host", 1, "user", "lakecat run")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Bench:
    """Runs executions that write one small table each."""

    catalog: Catalog
    store: LakeStore
    url: URL
    clock: datetime = NOW
    retention: Retention = field(default_factory=Retention)

    def start(self, dataset: str, run_key: str | None = None, **more: object) -> ExecutionStart:
        values = {
            "type": ExecutionType.INGEST, "job": f"load {dataset}", "run_key": run_key,
            "targets": (DatasetName.parse(dataset),), **more,
        }  # fmt: skip
        return ExecutionStart(**values)  # type: ignore[arg-type]

    def begin(self, dataset: str, run_key: str | None = None, **more: object) -> tuple[Lease, RunningExecution]:
        lease = self.catalog.acquire(dataset, HOLDER, timedelta(seconds=60))
        begun = self.catalog.begin(lease, self.start(dataset, run_key, **more))
        assert isinstance(begun, RunningExecution)
        return lease, begun

    def change(
        self,
        execution: RunningExecution,
        dataset: str,
        rows: pa.Table | None = None,
        operation: Operation = Operation.APPEND,
        base_snapshot_id: int | None = None,
    ) -> TableChange:
        name = DatasetName.parse(dataset)
        rows = pa.table({"x": pa.array([1, 2, 3], pa.int64())}) if rows is None else rows
        location = tables.table_location(self.store.url, name)
        try:
            base = tables.load_state(self.store, self.catalog.metadata_location(name))
        except NotFoundError:
            schema_change = tables.new_table(tables.arrow_to_iceberg(rows.schema))
        else:
            schema_change = tables.evolve(base.schema, rows.schema, last_column_id=base.last_column_id)
        schema = schema_change.schema if schema_change else base.schema
        written = write_files(
            self.store,
            rows.to_reader(),
            schema=schema,
            spec=tables.parse_partition((), schema),
            prefix=tables.data_prefix(location, execution.uuid),
            settings=WriteSettings(),
        )
        return TableChange(
            dataset=name,
            operation=operation,
            location=location,
            schema=schema_change,
            added=written.files,
            removed=tables.ALL if operation is Operation.REPLACE else (),
            base_snapshot_id=base_snapshot_id,
        )

    def commit(self, execution: RunningExecution, *changes: TableChange, **more: object) -> CommitResult:
        self.clock += timedelta(seconds=1)
        plan = CommitPlan(execution=execution, changes=changes, **more)  # type: ignore[arg-type]
        return commit(self.catalog, self.store, plan, retention=self.retention, now=self.clock)

    def load(
        self,
        dataset: str,
        *,
        run_key: str | None = None,
        inputs: tuple[Version, ...] = (),
        script: Script | None = None,
        operation: Operation = Operation.APPEND,
        rows: pa.Table | None = None,
        sources: tuple[SourceRead, ...] = (),
        positions: dict[str, Position] | None = None,
        files: dict[str, tuple[LoadedFile, ...]] | None = None,
        edges: tuple[ColumnEdge, ...] = (),
    ) -> Version:
        """One whole execution; the version it made."""
        lease, execution = self.begin(
            dataset, run_key or str(uuid4()), inputs=inputs, script=script,
            type=ExecutionType.TRANSFORM if script else ExecutionType.INGEST,
        )  # fmt: skip
        change = self.change(execution, dataset, rows, operation)
        result = self.commit(
            execution, change, sources=sources, positions=positions or {}, files=files or {}, edges=edges
        )
        self.catalog.release(lease)
        return result.versions[0]


@pytest.fixture
def bench(catalog_url: URL, tmp_path: Path) -> Iterator[Bench]:
    store = LakeStore.open(f"file://{tmp_path}/lake")
    with Catalog.open(catalog_url, create=True) as catalog:
        yield Bench(catalog, store, catalog_url)
