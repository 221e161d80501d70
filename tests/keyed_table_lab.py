"""A table for tests of rewrites by key, without a catalog."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from lakecat.config import EngineSettings, Retention, WriteSettings
from lakecat.store import LakeStore
from lakecat.tables import (
    Rewrite,
    Scan,
    TableChange,
    arrow_to_iceberg,
    new_table,
    parse_partition,
    read,
    stage,
    table_location,
)
from lakecat.tables.changes import Operation
from lakecat.tables.rewrite import delete_keys, merge_upsert
from lakecat.tables.write import write_files
from lakecat.types import DatasetName

_ids = itertools.count(10**15)


class KeyedTable:
    """One table; every append is a file of its own."""

    def __init__(self, root: Path, rows: pa.Table, partition: Sequence[str] = (), file_rows: int = 2) -> None:
        self.root = root
        self.store = LakeStore.open(f"file://{root}/lake")
        self.settings = EngineSettings(memory_limit="300MB", threads=2, temp_directory=root / "spill")
        self.name = DatasetName("raw", f"t{next(_ids)}")
        schema = arrow_to_iceberg(rows.schema)
        self.location = table_location(self.store.url, self.name)
        self.state = None
        self.commit(schema=new_table(schema), spec=parse_partition(partition, schema))
        for start in range(0, rows.num_rows, file_rows):
            self.commit(added=self.write(rows.slice(start, file_rows).to_reader()))

    @property
    def scan(self) -> Scan:
        return Scan(self.state)

    def write(self, rows: pa.RecordBatchReader, schema: Any = None) -> Any:
        return write_files(
            self.store,
            rows,
            schema=schema or self.state.schema,
            spec=self.state.spec,
            prefix=f"{self.location}/data",
            settings=WriteSettings(memory=16 << 20),
        ).files

    def commit(self, **change: Any) -> None:
        self.state = stage(
            self.store,
            self.state,
            TableChange(dataset=self.name, operation=Operation.OVERWRITE, location=self.location, **change),
            retention=Retention(),
            now_ms=next(_ids),
            snapshot_id=next(_ids),
            uuid=str(uuid.uuid4()),
            sidecar={},
        ).state

    def merge(self, rows: pa.Table, key: Sequence[str], evolved: Any = None) -> tuple[int, int]:
        """Files removed, and table rows that had one of the keys."""
        schema = evolved.schema if evolved else None
        with merge_upsert(self.store, self.scan, rows.to_reader(), key, settings=self.settings, schema=schema) as done:
            removed = tuple(file.data_file for file in done.removed)
            added = self.write(done.rows, schema)
        self.commit(added=added, removed=removed, schema=evolved)
        assert not list((self.root / "spill").iterdir())
        return len(removed), done.matched

    def delete(self, keys: pa.Table, key: Sequence[str]) -> tuple[int, int]:
        with delete_keys(self.store, self.scan, keys.to_reader(), key, settings=self.settings) as done:
            removed = tuple(file.data_file for file in done.removed)
            self.commit(added=self.write(done.rows), removed=removed)
        return len(removed), done.matched

    def rows(self) -> list[dict[str, Any]]:
        return sorted(read(self.store, self.scan).read_all().to_pylist(), key=repr)

    def apply(self, rewrite: AbstractContextManager[Rewrite]) -> tuple[int, int]:
        """Commit a rewrite of this table: files removed, and rows of the table that had one of the keys."""
        with rewrite as done:
            removed = tuple(file.data_file for file in done.removed)
            added = self.write(done.rows)
        self.commit(added=added, removed=removed)
        assert not list((self.root / "spill").iterdir())
        return len(removed), done.matched
