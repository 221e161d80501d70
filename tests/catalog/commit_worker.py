"""A process that runs executions on a catalog, to be killed, stopped, or raced by the tests.

usage: commit_worker.py URL LAKE JOB RUNS [DATASET ...]; each run appends three rows to every dataset, under the lease
on JOB and a run key of its own. Prints the attempts that each commit took, and the seconds it waited for its lock.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from lakecat import tables
from lakecat.catalog import Catalog, CompletedExecution, ExecutionStart, Holder
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.config import Retention, WriteSettings
from lakecat.errors import NotFoundError
from lakecat.store import LakeStore
from lakecat.tables import Operation, TableChange
from lakecat.tables.write import write_files
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    EdgeKind,
    ExecutionType,
    FileVersion,
    LoadedFile,
    Position,
    SourceRead,
)


def change(catalog: Catalog, store: LakeStore, name: DatasetName, uuid: str) -> TableChange:
    rows = pa.table({"x": pa.array([1, 2, 3], pa.int64())})
    location = tables.table_location(store.url, name)
    schema_change = tables.new_table(tables.arrow_to_iceberg(rows.schema))
    try:
        base = tables.load_state(store, catalog.metadata_location(name))
        schema_change = None
        schema = base.schema
    except NotFoundError:
        schema = schema_change.schema
    written = write_files(
        store, rows.to_reader(), schema=schema, spec=tables.parse_partition((), schema),
        prefix=tables.data_prefix(location, uuid), settings=WriteSettings(),
    )  # fmt: skip
    return TableChange(
        dataset=name, operation=Operation.APPEND, location=location, schema=schema_change, added=written.files
    )


def run(catalog: Catalog, store: LakeStore, job: str, run_key: str, names: list[DatasetName], ttl: float) -> None:
    holder = Holder("host", os.getpid(), "user", " ".join(sys.argv))
    lease = catalog.acquire(job, holder, timedelta(seconds=ttl))
    start = ExecutionStart(type=ExecutionType.INGEST, job=job, run_key=run_key, targets=tuple(names))
    execution = catalog.begin(lease, start)
    if isinstance(execution, CompletedExecution):
        print("already", flush=True)
    else:
        changes = tuple(change(catalog, store, name, execution.uuid) for name in names)
        file = LoadedFile(FileVersion(f"{run_key}.csv", 9, "e"), 3)
        plan = CommitPlan(
            execution=execution, changes=changes, sources=(SourceRead(f"{run_key}.csv", 3),),
            positions={job: Position({"done": run_key})}, files={job: (file,)},
            edges=tuple(
                ColumnEdge(str(name), "x", f"{run_key}.csv", "x", EdgeKind.IDENTITY) for name in names
            ),
        )  # fmt: skip
        begun = time.monotonic()
        result = commit(catalog, store, plan, retention=Retention(), now=datetime.now(UTC))
        print(result.attempts, round(time.monotonic() - begun, 3), flush=True)
    catalog.release(lease)


def main() -> None:
    url, lake, job, runs, *datasets = sys.argv[1:]
    store = LakeStore.open(lake)
    ttl = float(os.environ.get("WORKER_TTL", "60"))
    with Catalog.open(url) as catalog:
        for number in range(int(runs)):
            run(catalog, store, job, f"{job}-{number}", [DatasetName.parse(name) for name in datasets], ttl)


if __name__ == "__main__":
    main()
