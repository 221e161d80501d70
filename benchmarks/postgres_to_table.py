"""PostgreSQL to a table: lakecat's whole ingest against COPY to nowhere (the limit), connectorx and dlt (the peers).

A table of 16 columns (integers, numeric(15, 2), text, char, date, timestamps with and without zone, double, boolean;
some NULL) and 5 million rows, made by the server itself.

- ``copy``: ``COPY (SELECT …) TO STDOUT`` as CSV, its rows thrown away: no parsing, no writing;
- ``lakecat``: ``ingest.run_job`` with the ``sql`` connector, mode replace, up to the commit;
- ``connectorx``: ``read_sql`` into an Arrow table in memory, not written anywhere;
- ``dlt``: its ``sql_table`` source into Parquet files, by its default backend (rows). It is slow: it gets
  ``--dlt-rows`` rows of the table, and its rates are of those.

Give a Python that has ``connectorx``, ``dlt[sql_database,filesystem,parquet]`` and ``psycopg`` with ``--peers-python``.
Each runs in a process of its own, one after the other, ``--repeat`` times in turn; the fastest counts. CPU and memory
are the client's (its process tree; memory: the greatest sum of resident sizes, sampled every 20 ms). The server's CPU
is not counted: it runs as another user, and is the same COPY for the first two.

Without ``--url`` a server is started in a temporary folder, from ``LAKECAT_PG_BIN`` or ``/usr/lib/postgresql/*/bin``.

Run: ``python benchmarks/postgres_to_table.py [--rows 5000000] [--repeat 3] [--url URL] [--peers-python PATH]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
from process_tree import INGEST, Measure, measure

TABLE = "lakecat_bench"

MAKE = """
CREATE UNLOGGED TABLE {table} AS SELECT
    i AS l_orderkey, (i * 7919) % 200000 AS l_partkey, ((i * 31) % 10000)::int AS l_suppkey,
    (i % 7)::int AS l_linenumber, ((i % 50) + 1)::numeric(15, 2) AS l_quantity,
    (((i * 9973) % 10000000) / 100.0)::numeric(15, 2) AS l_extendedprice,
    ((i % 11) / 100.0)::numeric(15, 2) AS l_discount, ((i % 9) / 100.0)::numeric(15, 2) AS l_tax,
    (array['A', 'N', 'R'])[i % 3 + 1]::char(1) AS l_returnflag,
    (array['O', 'F'])[i % 2 + 1]::varchar(1) AS l_linestatus,
    date '1992-01-01' + (i % 2500)::int AS l_shipdate,
    timestamp '1992-01-01' + (i % 200000000) * interval '1 second' + (i % 1000000) * interval '1 microsecond'
        AS l_committed,
    timestamptz '1992-01-01 00:00Z' + (i % 200000) * interval '1 minute' AS l_received,
    (i % 1000) / 7.0::float8 AS l_ratio, CASE WHEN i % 10 = 0 THEN NULL ELSE i % 2 = 0 END AS l_flag,
    substr(md5(i::text), 1, (i % 30)::int + 2) || ' carefully final' AS l_comment
FROM generate_series(1, {rows}::bigint) AS i
"""

COPY = """
import sys, psycopg
url, table = sys.argv[1:]
with psycopg.connect(url) as connection:
    connection.execute("SET max_parallel_workers_per_gather = 0")
    pgconn = connection.pgconn
    pgconn.send_query(f"COPY (SELECT * FROM {table}) TO STDOUT (FORMAT csv)".encode())
    pgconn.get_result()
    while pgconn.get_copy_data(0)[0] > 0:
        pass
    while pgconn.get_result():
        pass
"""

CONNECTORX = """
import sys, connectorx
url, table = sys.argv[1:]
found = connectorx.read_sql(url, f"SELECT * FROM {table}", return_type="arrow")
print(found.num_rows, "rows;", {str(one.type) for one in found.schema})
"""

DLT = """
import os, sys
url, table, out, rows = sys.argv[1:]
os.environ["DESTINATION__FILESYSTEM__BUCKET_URL"] = "file://" + out
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
import dlt
from dlt.sources.sql_database import sql_table
source = sql_table(
    url.replace("postgresql://", "postgresql+psycopg://"), table=table,
    query_adapter_callback=lambda query, table: query.limit(int(rows)),
)
pipeline = dlt.pipeline("bench", pipelines_dir=out + "-work", destination="filesystem", dataset_name="lake")
pipeline.run(source, loader_file_format="parquet", write_disposition="replace")
"""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server of our own; it refuses to run as root, so root becomes nobody."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    binaries = Path(os.environ["LAKECAT_PG_BIN"]) if "LAKECAT_PG_BIN" in os.environ else found[-1]
    folder = Path(tempfile.mkdtemp(prefix="lakecat_bench_pg_", dir="/tmp"))
    options = {"env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(folder)}, "cwd": folder}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        options |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    initdb = [str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run([*initdb, "-E", "UTF8", "--locale=C"], check=True, capture_output=True, **options)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
    settings |= {"synchronous_commit": "off", "shared_buffers": "256MB", "max_wal_size": "4GB"}
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **options)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        for _ in range(300):
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url):
                break
            time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def fill(url: str, rows: int) -> None:
    """The table, unless it is there with as many rows."""
    with psycopg.connect(url, autocommit=True) as connection:
        there = connection.execute("SELECT to_regclass(%s)", (TABLE,)).fetchone()
        if there and there[0] and connection.execute(f"SELECT count(*) FROM {TABLE}").fetchone() == (rows,):
            return
        connection.execute(f"DROP TABLE IF EXISTS {TABLE}")
        connection.execute(MAKE.format(table=TABLE, rows=rows))
        connection.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (l_orderkey)")
        connection.execute(f"VACUUM ANALYZE {TABLE}")


def project(folder: Path, url: str) -> None:
    """A lakecat project with one job that loads the table."""
    (folder / "ingest").mkdir(parents=True)
    (folder / "lakecat.yaml").write_text("project: bench\n")
    (folder / "ingest" / "lineitem.yaml").write_text(
        f"connector: lakecat_connectors.sql:Sql\ntarget: bench.lineitem\nmode: replace\nstream: public.{TABLE}\n"
        f"options:\n  connection: {url}\n"
    )


def run(name: str, url: str, folder: Path, arguments: argparse.Namespace) -> Measure:
    """One measured run of one contestant in a fresh folder."""
    out = folder / f"out-{name}"
    for old in (out, folder / f"out-{name}-work"):
        shutil.rmtree(old, ignore_errors=True)
    if name == "lakecat":
        project(out, url)
        return measure([sys.executable, "-c", INGEST, str(out)])
    if name == "copy":
        return measure([sys.executable, "-c", COPY, url, TABLE])
    if name == "connectorx":
        return measure([arguments.peers_python, "-c", CONNECTORX, url, TABLE])
    return measure([arguments.peers_python, "-c", DLT, url, TABLE, str(out), str(rows_of(name, arguments))])


def rows_of(name: str, arguments: argparse.Namespace) -> int:
    """How many rows of the table a contestant gets."""
    return min(arguments.dlt_rows, arguments.rows) if name == "dlt" else int(arguments.rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="PostgreSQL to a table: lakecat, COPY to nowhere, connectorx, dlt")
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--url", help="a database to make the table in; a server of our own when absent")
    parser.add_argument("--folder", type=Path, help="where tables go; a temporary folder when absent")
    parser.add_argument("--peers-python", help="a Python that has connectorx, dlt and psycopg")
    parser.add_argument("--dlt-rows", type=int, default=200_000)
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = arguments.url or stack.enter_context(server())
        fill(url, arguments.rows)
        names = ["copy", "lakecat", *(["connectorx", "dlt"] if arguments.peers_python else [])]
        best: dict[str, Measure] = {}
        for _ in range(arguments.repeat):
            for name in names:
                found = run(name, url, folder, arguments)
                print(
                    f"  {name:10} {found.wall:7.2f} s wall {found.cpu:7.2f} s CPU {found.memory >> 20:6} MiB",
                    flush=True,
                )
                best[name] = min(found, best.get(name, found), key=lambda m: m.cpu)
        limit = arguments.rows / best["copy"].wall
        print(f"{'':10} {'rows/CPU s':>12} {'rows/s':>12} {'of COPY':>8} {'MiB':>6}   (least CPU of each)")
        for name, found in best.items():
            rows = rows_of(name, arguments)
            rate = rows / found.wall
            print(f"{name:10} {rows / found.cpu:12,.0f} {rate:12,.0f} {rate / limit:8.2f} {found.memory >> 20:6}")


if __name__ == "__main__":
    main()
