"""TPC-H's 22 queries as lakecat transforms, against DuckDB on the very same Parquet files.

The eight tables are landed by lakecat. Then, in one run and with the same threads and memory:

- ``engine``: each query through lakecat's engine (catalog's snapshot, planning, pruning, locked instance), drained to
  Arrow, against ``duckdb``: the query on a connection that already has views over the files that lakecat wrote, drained
  to Arrow;
- ``transform``: ``lake.run()`` of 22 scripts with all that belongs to it (describing, lineage, audit, commit of 22
  tables), against ``duckdb copy``: COPY of the 22 results to Parquet.

Rounds alternate between the two sides; each query counts by its best round, as neighbours on the machine only add.
Run: ``python benchmarks/tpch_transforms.py [--scale 1] [--rounds 3] [--folder DIR]``; tpchgen-cli makes the data.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from tpch_queries import QUERIES

import lakecat
from lakecat.tables import Scan, load_state, plan
from lakecat.types import DatasetName, VersionRef

TABLES = ("region", "nation", "supplier", "part", "customer", "partsupp", "orders", "lineitem")


@dataclass(frozen=True, order=True)
class Cost:
    """Seconds of CPU, all threads, and of wall time."""

    cpu: float
    wall: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.cpu + other.cpu, self.wall + other.wall)


def measured(work: Callable[[], object]) -> tuple[Cost, object]:
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = work()
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    return Cost(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall), result


def make_data(folder: Path, scale: str) -> Path:
    data = folder / f"tpch-{scale}"
    if not (data / "lineitem.parquet").exists():
        program = shutil.which("tpchgen-cli", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
        if program is None:
            raise SystemExit("tpchgen-cli is not installed: pip install tpchgen-cli")
        subprocess.run([program, "parquet", "-s", scale, "--output-dir", str(data)], check=True, capture_output=True)
    return data


def make_project(folder: Path, threads: int, memory: str) -> Path:
    project = folder / "project"
    shutil.rmtree(project, ignore_errors=True)
    (project / "transforms" / "tpch").mkdir(parents=True)
    for name, sql in QUERIES.items():
        (project / "transforms" / "tpch" / f"{name}.sql").write_text(sql.format(schema="raw").lstrip())
    (project / "lakecat.yaml").write_text(
        "project: tpch\nlake: ./lake\ncatalog: sqlite:///./catalog.db\n"
        f"engine: {{name: duckdb, memory_limit: {memory}, threads: {threads}}}\ntransforms: {{parallel: 1}}\n"
    )
    return project / "lakecat.yaml"


def land(lake: lakecat.Lake, data: Path) -> dict[DatasetName, Scan]:
    scans = {}
    for table in TABLES:
        with pq.ParquetFile(data / f"{table}.parquet") as file:
            reader = pa.RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches(65_536))
            lake.replace(f"raw.{table}", reader)
        version = lake.catalog.resolve(VersionRef.parse(f"raw.{table}"))
        scans[version.dataset] = Scan(load_state(lake.store, version.metadata_location), version.snapshot_id)
    return scans


def peer(lake: lakecat.Lake, scans: dict[DatasetName, Scan], threads: int, memory: str) -> duckdb.DuckDBPyConnection:
    """DuckDB with a view over the files of each table."""
    con = duckdb.connect(config={"threads": threads, "memory_limit": memory})
    con.execute("CREATE SCHEMA raw")
    for name, scan in scans.items():
        files = [str(lake.store.local_path(file.location)) for file in plan(lake.store, scan)]
        listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
        con.execute(f"CREATE VIEW raw.{name.name} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = false)")
    return con


def engine_rounds(
    lake: lakecat.Lake, scans: dict[DatasetName, Scan], con: duckdb.DuckDBPyConnection, rounds: int
) -> dict[str, dict[str, Cost]]:
    best: dict[str, dict[str, Cost]] = defaultdict(dict)

    def ours(sql: str) -> pa.Table:
        with lake.engine.session(scans) as session:
            return session.query(sql).read_all()

    for _ in range(rounds):
        for name, template in QUERIES.items():
            sql = template.format(schema="raw")
            answers = {}
            for side, work in (("duckdb", lambda: con.sql(sql).to_arrow_table()), ("engine", lambda: ours(sql))):  # noqa: B023
                cost, answers[side] = measured(work)
                best[side][name] = min(cost, best[side].get(name, cost))
            assert same(answers["duckdb"], answers["engine"]), f"{name}: the results differ"
    return best


def same(one: pa.Table, two: pa.Table) -> bool:
    """Equal rows; aggregates of DOUBLE may differ in the last digits, as threads add in any order."""

    def rounded(table: pa.Table) -> list[str]:
        rows = (
            tuple(f"{v:.9g}" if isinstance(v, float) else str(v) for v in row.values()) for row in table.to_pylist()
        )
        return sorted(map(str, rows))

    return rounded(one) == rounded(two)


def transform_rounds(lake: lakecat.Lake, con: duckdb.DuckDBPyConnection, folder: Path, rounds: int) -> dict[str, Cost]:
    best: dict[str, Cost] = {}

    def copies() -> None:
        for name, template in QUERIES.items():
            target = str(folder / f"{name}.parquet").replace("'", "''")
            con.execute(f"COPY ({template.format(schema='raw')}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")

    for _ in range(rounds):
        for side, work in (
            ("duckdb copy", copies),
            ("transform", lambda: lake.run(full_refresh=True).raise_failures()),
        ):
            cost, _result = measured(work)
            best[side] = min(cost, best.get(side, cost))
    return best


def report(what: str, ours: Cost, theirs: Cost) -> None:
    numbers = {
        "measure": what,
        "lakecat": {"cpu_s": round(ours.cpu, 2), "wall_s": round(ours.wall, 2)},
        "duckdb": {"cpu_s": round(theirs.cpu, 2), "wall_s": round(theirs.wall, 2)},
        "ratio_cpu": round(ours.cpu / theirs.cpu, 3),
        "ratio_wall": round(ours.wall / theirs.wall, 3),
    }
    print(json.dumps(numbers), flush=True)


def run(folder: Path, arguments: argparse.Namespace) -> None:
    data = make_data(folder, arguments.scale)
    with lakecat.connect(make_project(folder, arguments.threads, arguments.memory)) as lake:
        cost, scans = measured(lambda: land(lake, data))
        assert isinstance(scans, dict)
        print(json.dumps({"measure": "landed", "cpu_s": round(cost.cpu, 2), "wall_s": round(cost.wall, 2)}), flush=True)
        con = peer(lake, scans, arguments.threads, arguments.memory)
        best = engine_rounds(lake, scans, con, arguments.rounds)
        for name in QUERIES:
            report(name, best["engine"][name], best["duckdb"][name])
        zero = Cost(0.0, 0.0)
        report("engine, 22 queries", sum(best["engine"].values(), zero), sum(best["duckdb"].values(), zero))
        copied = folder / "copies"
        copied.mkdir(exist_ok=True)
        totals = transform_rounds(lake, con, copied, arguments.rounds)
        report("transform, 22 tables", totals["transform"], totals["duckdb copy"])
        con.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--folder", type=Path, help="keeps the data between runs; a temporary folder when absent")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        if arguments.folder is not None:
            arguments.folder.mkdir(parents=True, exist_ok=True)
            run(arguments.folder, arguments)
        else:
            with tempfile.TemporaryDirectory(prefix="lakecat-bench-") as folder:
                run(Path(folder), arguments)


if __name__ == "__main__":
    main()
