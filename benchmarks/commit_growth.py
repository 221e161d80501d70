"""CPU time of committing one small file to a table that has 10, 100 and 1,000 snapshots.

Three commits are measured in one run, each at the median of several:

- ``stage``: manifests, metadata and sidecar, without the catalog;
- ``commit``: lakecat's whole commit (lease, execution, stage, pointer, version, lineage, in one SQLite transaction);
- ``pyiceberg``: stock PyIceberg, ``table.append`` through its SqlCatalog, on a copy of the very same table.

The data file is written beforehand for the first two, so PyIceberg's part holds one small Parquet file more; the
ratios compare each with itself. Run: ``python benchmarks/commit_growth.py [--snapshots 10,100,1000] [--repeat 7]``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFile

from lakecat.catalog import Catalog, ExecutionStart, Holder, RunningExecution
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.config import Retention, WriteSettings
from lakecat.store import LakeStore
from lakecat.tables import (
    Operation,
    TableChange,
    arrow_to_iceberg,
    data_prefix,
    load_state,
    new_table,
    parse_partition,
    stage,
    table_location,
)
from lakecat.tables.write import write_files
from lakecat.types import DatasetName, ExecutionType

DATASET = DatasetName("raw", "orders")
ROWS = pa.table({f"c{number}": list(range(10)) for number in range(10)})
KEEP = Retention(snapshots=1_000_000)


@dataclass
class Lake:
    store: LakeStore
    catalog: Catalog
    holder: Holder
    commits: int = 0
    schema: object = field(default_factory=lambda: arrow_to_iceberg(ROWS.schema))

    @property
    def location(self) -> str:
        return table_location(self.store.url, DATASET)

    def file(self) -> tuple[DataFile, ...]:
        written = write_files(
            self.store,
            ROWS.to_reader(),
            schema=self.schema,
            spec=parse_partition((), self.schema),
            prefix=data_prefix(self.location, uuid.uuid4().hex),
            settings=WriteSettings(),
        )
        return written.files

    def change(self, files: tuple[DataFile, ...], *, create: bool = False) -> TableChange:
        return TableChange(
            dataset=DATASET,
            operation=Operation.APPEND,
            location=self.location,
            schema=new_table(self.schema) if create else None,
            added=files,
            properties={"lakecat.execution": str(uuid.uuid4())},
        )

    def commit(self, files: tuple[DataFile, ...]) -> None:
        lease = self.catalog.acquire(str(DATASET), self.holder)
        start = ExecutionStart(
            type=ExecutionType.INGEST,
            job="orders",
            run_key=f"run-{self.commits}",
            targets=(DATASET,),
            prefix=self.location,
        )
        execution = self.catalog.begin(lease, start)
        assert isinstance(execution, RunningExecution)
        change = self.change(files, create=self.commits == 0)
        plan = CommitPlan(execution=execution, changes=(change,))
        commit(self.catalog, self.store, plan, retention=KEEP, now=datetime.now(UTC))
        self.catalog.release(lease)
        self.commits += 1

    def stage(self, files: tuple[DataFile, ...]) -> None:
        state = load_state(self.store, self.catalog.metadata_location(DATASET))
        stage(
            self.store,
            state,
            self.change(files),
            retention=KEEP,
            now_ms=state.last_updated_ms + 1000,
            snapshot_id=uuid.uuid4().int >> 66,
            uuid=str(uuid.uuid4()),
            sidecar={},
        )


def median_cpu(work: Callable[[], object], repeat: int) -> float:
    """Milliseconds of CPU, of this process and all its threads."""
    times = []
    for _ in range(repeat):
        before = time.process_time()
        work()
        times.append((time.process_time() - before) * 1000)
    return statistics.median(times)


def measure(lake: Lake, folder: Path, repeat: int) -> dict[str, float]:
    files = [lake.file() for _ in range(2 * repeat)]
    staging, committing = iter(files[:repeat]), iter(files[repeat:])
    metadata = lake.catalog.metadata_location(DATASET)
    name = f"n{lake.commits}"
    stock = SqlCatalog(name, uri=f"sqlite:///{folder}/{name}.db", warehouse=f"file://{folder}/{name}")
    stock.create_namespace("raw")
    table = stock.register_table("raw.orders", metadata)
    result = {
        "stage": median_cpu(lambda: lake.stage(next(staging)), repeat),
        "commit": median_cpu(lambda: lake.commit(next(committing)), repeat),
        "pyiceberg": median_cpu(lambda: table.append(ROWS), min(repeat, 3)),
    }
    stock.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--snapshots", default="10,100,1000", help="numbers of snapshots to measure at, ascending")
    parser.add_argument("--repeat", type=int, default=7)
    arguments = parser.parse_args()
    points = [int(text) for text in arguments.snapshots.split(",")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = LakeStore.open(str(folder / "lake"))
        holder = Holder(host="localhost", pid=1, user="benchmark", command="commit_growth")
        with Catalog.open(f"sqlite:///{folder}/catalog.db", create=True) as catalog:
            lake = Lake(store, catalog, holder)
            template = lake.file()
            results = {}
            for point in points:
                while lake.commits < point:
                    lake.commit(renamed(template, lake.commits))
                results[point] = measure(lake, folder, arguments.repeat)
                print(
                    json.dumps({"snapshots": point, **{k: round(v, 1) for k, v in results[point].items()}}), flush=True
                )
    first, last = points[0], points[-1]
    for kind in results[first]:
        ratio = results[last][kind] / results[first][kind]
        print(f"{kind:10s} CPU at {last:,} snapshots is {ratio:.2f} x that at {first:,}")


def renamed(files: tuple[DataFile, ...], number: int) -> tuple[DataFile, ...]:
    """The same file's entry under another name, so that growing the table writes no data."""
    (file,) = files
    values = list(file._data)
    values[1] = f"{file.file_path}-{number}"
    copy = DataFile(*values)
    copy.spec_id = file.spec_id
    return (copy,)


if __name__ == "__main__":
    main()
