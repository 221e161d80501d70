"""A lake whose tables are made by lakecat's own writer and staging, without a catalog."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.manifest import DataFile

from lakecat.config import EngineSettings, Retention, WriteSettings
from lakecat.engines import DuckDBEngine
from lakecat.store import LakeStore
from lakecat.tables import (
    PlannedFile,
    Scan,
    TableChange,
    TableState,
    arrow_to_iceberg,
    new_table,
    parse_partition,
    stage,
    table_location,
)
from lakecat.tables.changes import Operation
from lakecat.tables.write import write_files
from lakecat.types import DatasetName


class EngineLake:
    """Tables by name, each at its newest state."""

    def __init__(self, root: Path, store: LakeStore | None = None) -> None:
        self.root = root
        self.store = store or LakeStore.open(f"file://{root}/lake")
        self.settings = EngineSettings(memory_limit="400MB", threads=2, temp_directory=root / "spill")
        self.engine = DuckDBEngine(self.store, self.settings)
        self.states: dict[DatasetName, TableState] = {}
        self._ids = itertools.count(1)

    def create(self, name: str, rows: pa.Table, partition: Sequence[str] = (), *, file_rows: int | None = None) -> Scan:
        """A new table of these rows, one commit for each ``file_rows`` of them."""
        dataset = DatasetName.parse(name)
        schema = arrow_to_iceberg(rows.schema)
        location = table_location(self.store.url, dataset)
        spec = parse_partition(partition, schema)
        change = TableChange(
            dataset=dataset, operation=Operation.APPEND, location=location, schema=new_table(schema), spec=spec
        )
        self._commit(dataset, change)
        step = file_rows or max(rows.num_rows, 1)
        for start in range(0, rows.num_rows, step):
            self.append(name, rows.slice(start, step))
        return self.scan(name)

    def append(self, name: str, rows: pa.Table) -> None:
        dataset = DatasetName.parse(name)
        self._commit(dataset, self._change(dataset, Operation.APPEND, added=self.write(name, rows.to_reader())))

    def overwrite(self, name: str, removed: Sequence[PlannedFile], rows: pa.RecordBatchReader) -> None:
        dataset = DatasetName.parse(name)
        change = self._change(
            dataset,
            Operation.OVERWRITE,
            added=self.write(name, rows),
            removed=tuple(file.data_file for file in removed),
            base=self.states[dataset].current_snapshot_id,
        )
        self._commit(dataset, change)

    def write(self, name: str, rows: pa.RecordBatchReader) -> tuple[DataFile, ...]:
        state = self.states[DatasetName.parse(name)]
        return write_files(
            self.store,
            rows,
            schema=state.schema,
            spec=state.spec,
            prefix=f"{state.location}/data",
            settings=WriteSettings(memory=16 << 20),
        ).files

    def scan(self, name: str) -> Scan:
        return Scan(self.states[DatasetName.parse(name)])

    def relations(self, *names: str) -> dict[DatasetName, Scan]:
        return {DatasetName.parse(name): self.scan(name) for name in names or map(str, self.states)}

    def rows(self, sql: str, **parameters: object) -> list[dict[str, object]]:
        with self.engine.session(self.relations()) as session:
            return session.query(sql, parameters).read_all().to_pylist()

    def _change(
        self,
        dataset: DatasetName,
        operation: Operation,
        *,
        added: tuple[DataFile, ...],
        removed: tuple[DataFile, ...] = (),
        base: int | None = None,
    ) -> TableChange:
        return TableChange(
            dataset=dataset,
            operation=operation,
            location=self.states[dataset].location,
            added=added,
            removed=removed,
            base_snapshot_id=base,
        )

    def _commit(self, dataset: DatasetName, change: TableChange) -> None:
        number = next(self._ids)
        staged = stage(
            self.store,
            self.states.get(dataset),
            change,
            retention=Retention(),
            now_ms=1_700_000_000_000 + number,
            snapshot_id=10**15 + number,
            uuid=str(uuid.uuid4()),
            sidecar={},
        )
        self.states[dataset] = staged.state


@pytest.fixture
def lake(tmp_path: Path) -> EngineLake:
    return EngineLake(tmp_path)


@pytest.fixture(scope="session")
def lake_type() -> type[EngineLake]:
    """For lakes that live longer than one test."""
    return EngineLake
