"""Processes that run executions on a catalog, to be killed, stopped, or raced by the tests.

Importing lakecat takes seconds, so one process imports it and forks a worker for each request. Each run of a worker
appends three rows to every dataset, under the lease on its job and a run key of its own, and prints the number of
transactions that its commit took.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from lakecat import failpoints, tables
from lakecat.catalog import Catalog, CompletedExecution, ExecutionStart, Holder
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.config import Retention, WriteSettings
from lakecat.errors import LakecatError, NotFoundError
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
        result = commit(catalog, store, plan, retention=Retention(), now=datetime.now(UTC))
        print(result.attempts, flush=True)
    catalog.release(lease)


def work(url: str, lake: str, job: str, runs: int, datasets: list[str], ttl: float) -> None:
    store = LakeStore.open(lake)
    with Catalog.open(url) as catalog:
        for number in range(runs):
            run(catalog, store, job, f"{job}-{number}", [DatasetName.parse(name) for name in datasets], ttl)


def child(request: dict[str, Any]) -> None:
    """What a forked worker does: its output goes to a file, its failpoint is set as the environment would."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    failpoints._SPEC = request["failpoint"]
    code = 1
    try:
        work(*request["work"])
        code = 0
    except LakecatError as err:
        print(type(err).__name__, err, flush=True)
    except BaseException:  # noqa: BLE001 - a forked child must not run its parent's code
        traceback.print_exc()
    finally:
        os._exit(code)


def main() -> None:
    """Serve requests, one JSON object a line: start a worker (answers its pid), or wait for one (answers its code)."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                child(request)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
