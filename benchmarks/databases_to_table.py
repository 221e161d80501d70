"""MariaDB, SQLite and DuckDB to a table: lakecat's whole ingest, its reading alone, and the raw driver as the limit.

A table of 16 columns (integers, decimals, doubles, date, times, texts; some NULL) and 1 million rows in each.

- ``driver``: all rows fetched by the driver and thrown away (PyMySQL's unbuffered cursor, sqlite3's ``fetchmany``,
  DuckDB's Arrow reader; for ``generic`` pg8000 through SQLAlchemy): no types made exact, nothing written;
- ``read``: the connector's batches, thrown away;
- ``ingest``: ``run_job``, mode replace, up to the commit.

Each in a process of its own, one after the other, ``--repeat`` times in turn; the fastest counts. CPU is the
process's own (a server's is not counted; DuckDB and SQLite read the file within it). Memory is the process's peak.

``mariadb`` needs ``mariadbd`` on the PATH, or a URL by ``--mariadb``; ``generic`` a PostgreSQL URL by ``--postgres``.

Run: ``python benchmarks/databases_to_table.py [--rows 1000000] [--repeat 3] [--only sqlite duckdb]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pymysql
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

TABLE = "lakecat_bench"
COLUMNS = """
    {n} AS l_orderkey, ({n} * 7919) % 200000 AS l_partkey, ({n} * 31) % 10000 AS l_suppkey, {n} % 7 AS l_linenumber,
    CAST({n} % 50 + 1 AS decimal(15, 2)) AS l_quantity,
    CAST(({n} * 9973) % 10000000 / 100.0 AS decimal(15, 2)) AS l_price,
    CAST({n} % 11 / 100.0 AS decimal(15, 2)) AS l_discount, CAST({n} % 9 / 100.0 AS decimal(15, 2)) AS l_tax,
    CASE {n} % 3 WHEN 0 THEN 'A' WHEN 1 THEN 'N' ELSE 'R' END AS l_returnflag, 'O' AS l_linestatus,
    {day} AS l_shipdate, {moment} AS l_committed, {moment} AS l_received, {n} % 1000 / 7.0e0 AS l_ratio,
    CASE WHEN {n} % 10 = 0 THEN NULL ELSE {n} % 2 END AS l_flag, {text} AS l_comment
"""

CHILD = """
import os, resource, sys, time
from pathlib import Path
what, kind, folder, url, password = sys.argv[1:]

def driver():
    import sqlalchemy as sa
    own = sa.engine.make_url(url)
    if kind == "mariadb":
        import pymysql
        keys = dict(host=own.host, port=own.port, user=own.username, password=password, database=own.database)
        with pymysql.connect(**keys).cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute("SELECT * FROM lakecat_bench")
            while cursor.fetchmany(10_000):
                pass
    elif kind == "sqlite":
        import sqlite3
        cursor = sqlite3.connect(own.database).execute("SELECT * FROM lakecat_bench")
        while cursor.fetchmany(10_000):
            pass
    elif kind == "duckdb":
        import duckdb
        for batch in duckdb.connect(own.database, read_only=True).sql("FROM lakecat_bench").to_arrow_reader(65_536):
            pass
    else:
        with sa.create_engine(own.set(password=password or None)).connect() as connection:
            streaming = connection.execution_options(stream_results=True)
            for part in streaming.exec_driver_sql("SELECT * FROM lakecat_bench").partitions(10_000):
                pass

def read():
    from lakecat.connector import ConnectorContext, ReadOptions, StreamRequest
    from lakecat.types import WriteMode
    from lakecat_connectors.sql import Sql
    options = {"connection": url, **({"password": "env:X"} if password else {})}
    connector = Sql.open(options, ConnectorContext(root=Path(folder), secret=lambda _: password))
    class New:
        position = None
    (slice_,) = connector.plan(StreamRequest(name="lakecat_bench", mode=WriteMode.REPLACE), New())
    for batch in connector.read(slice_, ReadOptions()):
        pass

def ingest():
    from datetime import UTC, datetime
    from lakecat.catalog import Catalog, Holder
    from lakecat.config import load_jobs, load_settings
    from lakecat.ingest import run_job
    from lakecat.landing import Services
    from lakecat.store import LakeStore
    project = Path(folder, "project")
    (project / "ingest").mkdir(parents=True)
    (project / "lakecat.yaml").write_text("project: bench\\nlake: ./lake\\ncatalog: sqlite:///./catalog.db\\n")
    secret = "  password: env:X\\n" if password else ""
    (project / "ingest" / "load.yaml").write_text(
        "connector: sql\\nmode: replace\\ntarget: raw.t\\nstream: lakecat_bench\\n"
        f"options:\\n  connection: {url}\\n{secret}"
    )
    environ = {**os.environ, "X": password}
    settings = load_settings(project, environ=environ)
    services = Services(settings=settings, store=LakeStore.open(settings.lake), clock=lambda: datetime.now(UTC),
        catalog=Catalog.open(settings.catalog, create=True), holder=Holder("here", os.getpid(), "bench", "databases"),
        environ=environ)
    run_job(services, load_jobs(settings)[0])

started = time.perf_counter()
{"driver": driver, "read": read, "ingest": ingest}[what]()
used = resource.getrusage(resource.RUSAGE_SELF)
print(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss)
"""


def fill(kind: str, url: URL, password: str, rows: int) -> None:
    """Make the table, where it is not there."""
    if kind == "mariadb":
        keys = {
            "host": url.host,
            "port": url.port,
            "user": url.username,
            "password": password,
            "database": url.database,
        }
        with pymysql.connect(**keys, autocommit=True).cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {TABLE}")
            cursor.execute(f"CREATE TABLE {TABLE} AS SELECT {_columns('mariadb', 'seq')} FROM seq_1_to_{rows}")
            cursor.execute(f"ALTER TABLE {TABLE} ADD PRIMARY KEY (l_orderkey)")
    elif kind == "duckdb":
        with duckdb.connect(str(url.database)) as connection:
            connection.execute(f"CREATE TABLE {TABLE} AS SELECT {_columns('duckdb', 'i')} FROM range({rows}) AS r(i)")
    elif kind == "sqlite":
        with contextlib.closing(sqlite3.connect(str(url.database))) as connection:
            names = "l_orderkey INTEGER PRIMARY KEY, l_partkey INT, l_suppkey INT, l_linenumber INT, l_quantity REAL, "
            names += (
                "l_price REAL, l_discount REAL, l_tax REAL, l_returnflag TEXT, l_linestatus TEXT, l_shipdate TEXT, "
            )
            names += "l_committed TEXT, l_received TEXT, l_ratio REAL, l_flag INT, l_comment TEXT"
            connection.execute(f"CREATE TABLE {TABLE} ({names})")
            numbers = f"WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r WHERE i < {rows})"
            connection.execute(f"INSERT INTO {TABLE} {numbers} SELECT {_columns('sqlite', 'i')} FROM r")
            connection.commit()
    else:
        engine = sa.create_engine(url.set(password=password or None))
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {TABLE}")
            made = _columns("generic", "i")
            connection.exec_driver_sql(
                f"CREATE UNLOGGED TABLE {TABLE} AS SELECT {made} FROM generate_series(1, {rows}::bigint) AS r(i)"
            )


def _columns(kind: str, n: str) -> str:
    day, moment, text = {
        "mariadb": (
            f"date_add('1992-01-01', INTERVAL {n} % 2500 DAY)",
            f"CAST(date_add('1992-01-01', INTERVAL {n} * 1000003 MICROSECOND) AS datetime(6))",
            f"concat(substr(md5({n}), 1, {n} % 30 + 2), ' carefully final')",
        ),
        "sqlite": (
            f"date('1992-01-01', ({n} % 2500) || ' days')",
            f"datetime('1992-01-01', {n} || ' seconds')",
            f"substr(hex({n} * 7919), 1, {n} % 30 + 2) || ' carefully final'",
        ),
    }.get(
        kind,
        (
            f"date '1992-01-01' + CAST({n} % 2500 AS integer)",
            f"timestamp '1992-01-01' + {n} * interval '1 second'",
            f"substr(md5(CAST({n} AS varchar)), 1, CAST({n} % 30 AS integer) + 2) || ' carefully final'",
        ),
    )
    return COLUMNS.format(n=n, day=day, moment=moment, text=text)


@contextlib.contextmanager
def mariadb(folder: Path) -> Iterator[tuple[URL, str]]:
    """A server of our own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = [f"--datadir={folder}/data", f"--tmpdir={folder}", *(["--user=root"] if os.geteuid() == 0 else [])]
    install = [
        "mariadb-install-db",
        "--no-defaults",
        *places,
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
    ]
    subprocess.run(install, check=True, capture_output=True)
    init = folder / "init.sql"
    init.write_text(
        "CREATE USER 'bench'@'%' IDENTIFIED BY 'bench';\nGRANT ALL ON *.* TO 'bench'@'%';\nCREATE DATABASE b;\n"
    )
    command = ["mariadbd", "--no-defaults", *places, f"--socket={folder}/s", "--bind-address=127.0.0.1"]
    command += [f"--port={port}", f"--init-file={init}", "--skip-log-bin", "--innodb-buffer-pool-size=512M"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                pymysql.connect(host="127.0.0.1", port=port, user="bench", password="bench").close()
            except pymysql.Error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                break
        yield URL.create("mysql", "bench", None, "127.0.0.1", port, "b"), "bench"
    finally:
        process.terminate()
        process.wait()


def measure(what: str, kind: str, folder: Path, url: URL, password: str) -> tuple[float, float, int]:
    """Seconds on the clock, of CPU, and KiB at the peak."""
    shutil.rmtree(folder / "project", ignore_errors=True)
    command = [sys.executable, "-W", "ignore", "-c", CHILD, what, kind, str(folder), url.render_as_string(), password]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wall, cpu, memory = done.stdout.split()[-3:]
    return float(wall), float(cpu), int(memory)


def compare(kind: str, folder: Path, url: URL, password: str, rows: int, repeat: int) -> None:
    """Print what each way takes."""
    fill(kind, url, password, rows)
    best: dict[str, tuple[float, float, int]] = {}
    for _ in range(repeat):
        for what in ("driver", "read", "ingest"):
            best[what] = min(
                best.get(what, (9e9, 9e9, 0)), measure(what, kind, folder, url, password), key=lambda m: m[1]
            )
    for what, (wall, cpu, memory) in best.items():
        rate = rows / cpu
        ratio = rate / (rows / best["driver"][1])
        print(
            f"{kind:8} {what:7} {rate:>9,.0f} rows/CPU s  {ratio:5.2f} of the driver  {wall:6.1f} s  {memory >> 10} MiB"
        )
    shown = {what: round(rows / cpu) for what, (_, cpu, _) in best.items()}
    print(json.dumps({"database": kind, "rows": rows, "rows_per_cpu_second": shown}), flush=True)


def main() -> None:
    """Compare all that there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=["mariadb", "sqlite", "duckdb", "generic"])
    parser.add_argument("--mariadb", help="URL of a database with the password inside, instead of a server of our own")
    parser.add_argument("--postgres", help="URL of a database with the password inside, for the generic way")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lakecat-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        for kind in given.only:
            password = ""
            if kind == "mariadb" and not given.mariadb:
                if shutil.which("mariadbd") is None:
                    print("mariadb: skipped, no mariadbd on the PATH")
                    continue
                (folder / "mariadb").mkdir()
                url, password = stack.enter_context(mariadb(folder / "mariadb"))
            elif kind in ("sqlite", "duckdb"):
                url = URL.create(kind, database=str(folder / f"data.{kind}"))
            elif (text := given.mariadb if kind == "mariadb" else given.postgres) is None:
                print("generic: skipped, no --postgres URL")
                continue
            else:
                url = make_url(text)
                password = str(url.password or "")
                scheme = "mysql" if kind == "mariadb" else "postgresql+pg8000"
                url = url._replace(password=None, drivername=scheme)
            compare(kind, folder, url, password, given.rows, given.repeat)


if __name__ == "__main__":
    main()
