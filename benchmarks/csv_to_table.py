"""CSV to a table partitioned by month: lakecat's whole ingest against DuckDB's COPY (the limit) and dlt (the peer).

TPC-H's lineitem (scale 1: 6 million rows, 730 MiB), made by tpchgen-cli. All three read the same file with the same
declared types, and write Parquet with zstd.

- ``duckdb``: ``COPY (SELECT …) TO … (PARTITION_BY (month))``: no checks, no statistics beyond Parquet's own, no fsync,
  no commit;
- ``lakecat``: ``ingest.run_job`` with the ``files`` connector, up to the commit;
- ``dlt``: its filesystem source and destination, through Arrow (``read_csv_duckdb``), which cannot partition by month.
  Give a Python that has ``dlt[filesystem,parquet]`` and ``duckdb`` with ``--dlt-python``.

Each runs in processes of its own, one after the other, ``--repeat`` times in turn; the fastest counts. CPU and memory
are those of the whole process tree (memory: the greatest sum of resident sizes, sampled every 20 ms).

Run: ``python benchmarks/csv_to_table.py [--scale 1] [--repeat 3] [--folder DIR] [--dlt-python PATH]``.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from process_tree import INGEST, Measure, measure

COLUMNS = {
    "l_orderkey": ("long", "BIGINT"),
    "l_partkey": ("long", "BIGINT"),
    "l_suppkey": ("long", "BIGINT"),
    "l_linenumber": ("int", "INTEGER"),
    "l_quantity": ("decimal(15, 2)", "DECIMAL(15, 2)"),
    "l_extendedprice": ("decimal(15, 2)", "DECIMAL(15, 2)"),
    "l_discount": ("decimal(15, 2)", "DECIMAL(15, 2)"),
    "l_tax": ("decimal(15, 2)", "DECIMAL(15, 2)"),
    "l_returnflag": ("string", "VARCHAR"),
    "l_linestatus": ("string", "VARCHAR"),
    "l_shipdate": ("date", "DATE"),
    "l_commitdate": ("date", "DATE"),
    "l_receiptdate": ("date", "DATE"),
    "l_shipinstruct": ("string", "VARCHAR"),
    "l_shipmode": ("string", "VARCHAR"),
    "l_comment": ("string", "VARCHAR"),
}

DUCKDB = """
import sys, duckdb
csv, out = sys.argv[1:]
types = {types!r}
con = duckdb.connect(config={{"memory_limit": "1GB"}})
con.execute("SET enable_progress_bar = false")
con.execute("SET preserve_insertion_order = false")
con.execute(
    f"COPY (SELECT *, date_trunc('month', l_shipdate) AS month FROM read_csv('{{csv}}', columns = {{types}}, "
    f"header = true, auto_detect = false, delim = ',', quote = '\\"')) TO '{{out}}' "
    "(FORMAT parquet, COMPRESSION zstd, PARTITION_BY (month))"
)
"""

DLT = """
import os, sys
csv, out = sys.argv[1:]
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = "file://" + out
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["DATA_WRITER__BUFFER_MAX_ITEMS"] = "200000"
os.environ["NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID"] = "false"
import dlt
from dlt.sources.filesystem import filesystem, read_csv_duckdb
types = {types!r}
files = filesystem(bucket_url="file://" + os.path.dirname(csv), file_glob=os.path.basename(csv))
rows = files | read_csv_duckdb(chunk_size=65536, use_pyarrow=True, dtype=types)
pipeline = dlt.pipeline("bench", pipelines_dir=out + "-work", destination="filesystem", dataset_name="lake")
pipeline.run(rows.with_name("lineitem"), loader_file_format="parquet", write_disposition="append")
"""


def project(folder: Path, csv: Path) -> None:
    """A lakecat project with one job that loads the file."""
    (folder / "ingest").mkdir(parents=True)
    (folder / "lakecat.yaml").write_text("project: bench\n")
    columns = "".join(f"  {name}: {types[0]}\n" for name, types in COLUMNS.items())
    (folder / "ingest" / "lineitem.yaml").write_text(
        f"target: bench.lineitem\noptions:\n  path: {csv}\npartition: month(l_shipdate)\ncolumns:\n{columns}"
    )


def run(name: str, csv: Path, folder: Path, dlt_python: str | None) -> Measure:
    """One measured run of one contestant in a fresh folder."""
    out = folder / f"out-{name}"
    for old in (out, folder / f"out-{name}-work"):
        shutil.rmtree(old, ignore_errors=True)
    types = {column: sql for column, (_, sql) in COLUMNS.items()}
    if name == "lakecat":
        project(out, csv)
        return measure([sys.executable, "-c", INGEST, str(out)])
    if name == "duckdb":
        return measure([sys.executable, "-c", DUCKDB.format(types=types), str(csv), str(out)])
    assert dlt_python is not None
    return measure([dlt_python, "-c", DLT.format(types=types), str(csv), str(out)])


def main() -> None:
    parser = argparse.ArgumentParser(description="CSV to a partitioned table: lakecat, DuckDB's COPY, dlt")
    parser.add_argument("--scale", type=float, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the data goes; a temporary folder when absent")
    parser.add_argument("--dlt-python", help="a Python that has dlt[filesystem,parquet] and duckdb")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        source = folder / f"scale-{arguments.scale:g}"
        csv = source / "lineitem.csv"
        if not csv.exists():
            generator = str(Path(sys.executable).with_name("tpchgen-cli"))
            options = ["csv", "-s", f"{arguments.scale:g}", "--tables", "lineitem", "--output-dir", str(source)]
            subprocess.run([generator, *options], check=True)
        names = ["duckdb", "lakecat", *(["dlt"] if arguments.dlt_python else [])]
        best: dict[str, Measure] = {}
        for _ in range(arguments.repeat):
            for name in names:
                found = run(name, csv, folder, arguments.dlt_python)
                print(
                    f"  {name:8} {found.wall:7.2f} s wall {found.cpu:7.2f} s CPU {found.memory >> 20:6} MiB", flush=True
                )
                best[name] = min(found, best.get(name, found), key=lambda m: m.wall)
        limit = best["duckdb"]
        print(f"{'':8} {'wall s':>8} {'x':>6} {'CPU s':>8} {'x':>6} {'MiB':>6}   (x: times DuckDB's, fastest of each)")
        for name, found in best.items():
            print(
                f"{name:8} {found.wall:8.2f} {found.wall / limit.wall:6.2f} {found.cpu:8.2f} "
                f"{found.cpu / limit.cpu:6.2f} {found.memory >> 20:6}"
            )


if __name__ == "__main__":
    main()
