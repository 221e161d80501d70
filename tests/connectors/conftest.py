from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakecat.connector import ConnectorContext, ReadOptions, ReadSummary, StreamRequest
from lakecat.types import FileVersion, Position, WriteMode
from lakecat_connectors._worker import Worker
from lakecat_connectors.files import Files


@dataclass
class Ledger:
    """What the catalog would remember of a stream."""

    files: set[FileVersion] = field(default_factory=set)
    position: Position | None = None

    def loaded(self, files: Iterable[FileVersion]) -> frozenset[FileVersion]:
        return frozenset(files) & self.files

    def ledger(self) -> Iterator[FileVersion]:
        return iter(self.files)


@dataclass(frozen=True)
class Loaded:
    table: pa.Table
    summary: ReadSummary

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [] if self.summary.rejected is None else self.summary.rejected.to_pylist()

    @property
    def types(self) -> dict[str, str]:
        return {column.name: str(column.type) for column in self.table.schema}


Load = Callable[..., Loaded]


@pytest.fixture
def ledger_type() -> type[Ledger]:
    return Ledger


@pytest.fixture(scope="session")
def parser() -> Iterator[Worker]:
    """One parser process for all tests; they run as in one long-lived connector."""
    worker = Worker()
    yield worker
    worker.stop()


@pytest.fixture
def connectors(tmp_path: Path) -> Iterator[Callable[..., Files]]:
    opened: list[Files] = []

    def open_connector(path: str | list[str], **options: Any) -> Files:
        storage = options.pop("storage", {})
        opened.append(Files.open({"path": path, **options}, ConnectorContext(root=tmp_path, storage=storage)))
        return opened[-1]

    yield open_connector
    for connector in opened:
        connector.close()


@pytest.fixture
def load(connectors: Callable[..., Files], parser: Worker) -> Load:
    """Plan everything as one slice, read it, check what every reader must keep, and give the table."""

    def load_path(
        path: str | list[str],
        *,
        expected: pa.Schema | None = None,
        declared: dict[str, pa.DataType] | None = None,
        rejects: int | None = None,
        file_column: str | None = None,
        **options: Any,
    ) -> Loaded:
        connector = connectors(path, **options)
        connector._worker, own = parser, connector._worker
        try:
            (slice_,) = connector.plan(StreamRequest(mode=WriteMode.REPLACE), Ledger())
            known = {"expected": expected, "declared": declared or {}}
            reader = connector.read(slice_, ReadOptions(**known, rejects=rejects, file_column=file_column))
        finally:
            connector._worker = own
        batches = list(reader)
        assert all(batch.schema == reader.schema for batch in batches)
        summary = reader.summary()
        reader.close()
        table = pa.Table.from_batches(batches, reader.schema)
        table.validate(full=True)
        assert summary.rows == table.num_rows == sum(item.rows for item in summary.files)
        return Loaded(table, summary)

    return load_path
