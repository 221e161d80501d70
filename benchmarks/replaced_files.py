"""``mode: replace_files`` where nearly nothing changed: ``--files`` loaded files (CSV, 20 rows each), 10 changed ones.

The table has a data file for each ``--together`` loaded files. What is timed is the job's run, in its own process:
it lists the folders, asks the ledger, reads the changed files, finds the data files that hold their old rows, writes
these anew, and commits. Beside it is what the same run takes when nothing changed (planning alone), what DuckDB takes
to look for the changed files in all data files, and what it takes to read and write as many data files as were written
anew: no copy-on-write can do with less. With ``--scattered`` files were loaded in no order, so that every data file
may hold any of them.

Run: ``python benchmarks/replaced_files.py [--files 100000] [--together 500] [--scattered]``. It fails when the run,
without its planning, takes more than ``--limit`` CPU seconds (3) beyond the reading and writing alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from many_files import IN_FOLDER, SETTINGS, services

CHANGED = 10
LOADED = 1_700_000_000
ROWS = 20
JOB = "connector: files\ntarget: raw.many\nmode: replace_files\noptions:\n  path: in/*/*.csv\n"


def text(number: int, version: int) -> str:
    """A file's lines."""
    return "a,v\n" + "".join(f"{number * ROWS + row},{version}\n" for row in range(ROWS))


def make(root: Path, count: int, together: int, scattered: bool) -> None:
    """The project, its files, the table that they were loaded into, and the ledger that says so."""
    import pyarrow as pa
    import sqlalchemy as sa

    from lakecat.catalog.queries import uri_hash
    from lakecat.catalog.schema import lake_execution, loaded_file
    from lakecat.ingest import append
    from lakecat.types import DatasetName, FileVersion

    (root / "ingest").mkdir(parents=True)
    (root / "lakecat.yaml").write_text(SETTINGS)
    (root / "ingest/many.yaml").write_text(JOB)
    paths = []
    for number in range(count):
        path = root / f"in/{number // IN_FOLDER:05}/{number:07}.csv"
        if number % IN_FOLDER == 0:
            path.parent.mkdir(parents=True)
        path.write_text(text(number, 1))
        os.utime(path, (LOADED, LOADED))
        paths.append(path)
    order = list(range(count))
    if scattered:
        random.Random(1).shuffle(order)
    opened = services(root)
    for start in range(0, count, together):
        numbers = [number for number in order[start : start + together] for _ in range(ROWS)]
        rows = [number * ROWS + at % ROWS for at, number in enumerate(numbers)]
        uris = [f"file://{paths[number]}" for number in numbers]
        append(
            opened,
            DatasetName("raw", "many"),
            pa.table({"a": rows, "v": pa.array([1] * len(rows), pa.int64()), "_lakecat_file": uris}),
        )
    with opened.catalog.database.writing() as connection:
        execution = connection.execute(sa.select(sa.func.max(lake_execution.c.execution_id))).scalar_one()
        loaded = datetime.fromtimestamp(LOADED, UTC)
        known = (
            {
                "stream": "ingest/many/raw.many",
                "uri_hash": uri_hash(file.uri),
                "identity_hash": uri_hash(file.identity),
                "uri": file.uri,
                "size": file.size,
                "mtime_us": LOADED * 1_000_000,
                "loaded_rows": ROWS,
                "execution_id": execution,
            }
            for file in (FileVersion(f"file://{path}", path.stat().st_size, mtime=loaded) for path in paths)
        )
        while part := list(islice(known, 10_000)):
            connection.execute(sa.insert(loaded_file), part)
        connection.commit()
    opened.catalog.close()


def changed_files(root: Path, count: int) -> list[Path]:
    """Files far from each other."""
    numbers = [(2 * at + 1) * count // (2 * CHANGED) for at in range(CHANGED)]
    return [root / f"in/{number // IN_FOLDER:05}/{number:07}.csv" for number in numbers]


def run(root: Path) -> dict[str, float]:
    """Run the job once, and say what it took."""
    from lakecat.config import load_jobs
    from lakecat.ingest import run_job

    opened = services(root)
    (job,) = load_jobs(opened.settings)
    cpu, read, started = cpu_seconds(), bytes_read(), time.perf_counter()
    results = run_job(opened, job)
    taken = {
        "seconds": time.perf_counter() - started,
        "cpu": cpu_seconds() - cpu,
        "read": bytes_read() - read,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": sum(result.rows for result in results),
    }
    opened.catalog.close()
    return taken


def cpu_seconds() -> float:
    """CPU time of this process and of those that have parsed files for it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def bytes_read() -> int:
    """What this process has read from files so far."""
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])


def look_everywhere(root: Path, files: list[Path]) -> dict[str, float]:
    """DuckDB looks for the rows of these files in all data files, and reads and writes those that hold them."""
    import duckdb

    found = str(root / "lake/raw/many/data/*/*.parquet")
    uris = [f"file://{path}" for path in files]
    with duckdb.connect() as connection:
        read, started = bytes_read(), cpu_seconds()
        rows = connection.execute(
            "SELECT DISTINCT filename FROM read_parquet($1, filename = true)"
            " WHERE _lakecat_file IN (SELECT unnest($2))",
            [found, uris],
        ).fetchall()
        looked, looked_bytes = cpu_seconds() - started, bytes_read() - read
        concerned = [row[0] for row in rows]
        started = cpu_seconds()
        copy = connection.read_parquet(concerned)
        copy.write_parquet(str(root / "copy.parquet"), compression="zstd")
        copied = cpu_seconds() - started
    return {"looked": looked, "looked_bytes": looked_bytes, "copied": copied, "concerned": len(concerned)}


def check(root: Path, count: int) -> None:
    """The table has each file's rows once, those of changed files in their new version."""
    from lakecat.landing import current_state
    from lakecat.tables import Scan, read
    from lakecat.types import DatasetName

    opened = services(root)
    state = current_state(opened, DatasetName("raw", "many"))
    assert state is not None
    rows = read(opened.store, Scan(state)).read_all()
    versions = rows["v"].value_counts().to_pylist()
    found = {entry["values"]: entry["counts"] for entry in versions}
    if found != {1: (count - CHANGED) * ROWS, 2: CHANGED * ROWS} or len(rows["a"].unique()) != count * ROWS:
        raise SystemExit(f"the table is not what stands in the files: {found}")
    opened.catalog.close()


def main() -> int:
    """Make the files and the table, run in a process of its own, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--together", type=int, default=500)
    parser.add_argument("--scattered", action="store_true")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--limit", type=float, default=3.0)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(arguments.run)))
        return 0
    with tempfile.TemporaryDirectory(prefix="lakecat-bench-", dir=arguments.folder) as folder:
        root = Path(folder) / "project"
        make(root, arguments.files, arguments.together, arguments.scattered)
        command = [sys.executable, __file__, "--run", str(root)]
        files = changed_files(root, arguments.files)
        for _ in range(2):
            idle = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        if idle["rows"]:
            raise SystemExit(f"{idle['rows']} rows were read though nothing changed")
        everywhere = look_everywhere(root, files)
        for path in files:
            path.write_text(text(int(path.stem), 2))
            os.utime(path, ns=(0, time.time_ns()))
        work = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        check(root, arguments.files)
    alone = work["cpu"] - idle["cpu"]
    data_files = -(-arguments.files // arguments.together)
    print(f"{arguments.files:,} files loaded into {data_files} data files, {CHANGED} changed")
    print(f"the run: {work['seconds']:.2f} s ({work['cpu']:.2f} s CPU), memory {work['peak']:.0f} MiB at its peak")
    print(f"with nothing changed: {idle['seconds']:.2f} s ({idle['cpu']:.2f} s CPU), memory {idle['peak']:.0f} MiB")
    print(f"so the change took {alone:.2f} s CPU, and read {(work['read'] - idle['read']) / 1e6:.1f} MB")
    print(
        f"DuckDB: {everywhere['looked']:.2f} s CPU and {everywhere['looked_bytes'] / 1e6:.1f} MB to look everywhere,"
        f" {everywhere['copied']:.2f} s CPU to read and write the {everywhere['concerned']} data files that hold them"
    )
    return int(alone > everywhere["copied"] + arguments.limit)


if __name__ == "__main__":
    sys.exit(main())
