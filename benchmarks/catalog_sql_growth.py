"""CPU time of common questions to a catalog of 10 thousand, 100 thousand and 1 million executions.

Each execution wrote one version of a dataset and read another one; 2,000 began on each day, one of a hundred failed.
What a question finds is the same at every size: the days before the last ones are what grows. ``SELECT`` lines are
asked by ``lakecat query --catalog``'s own path, DuckDB and all, the others by the catalog's Python twins of commands.
Each is measured at the median of several rounds, by the CPU of this process.

Run: ``python benchmarks/catalog_sql_growth.py [--sizes 10000,100000,1000000] [--rounds 7] [--url postgresql+psycopg://…]
[--keep FILE]``. Exits with 1 where a question to the largest takes more than three times what it takes of the smallest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from lakecat.catalog import Catalog
from lakecat.catalog import schema as s
from lakecat.catalog.queries import uri_hash
from lakecat.config import EngineSettings
from lakecat.lake.catalog_sql import query_catalog
from lakecat.types import DatasetName, ExecutionState, ExecutionType, VersionRef

NOW = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
YESTERDAY = datetime(2026, 11, 24, tzinfo=UTC)
APART_MS = 43_200
"""Between two executions: 2,000 in a day."""
OF_ONE = 100
"""Versions of each dataset."""
BATCH = 10_000
LIMIT = 3.0

QUERIES = (
    "SELECT job, state, started_at FROM executions ORDER BY started_at DESC LIMIT 10",
    "SELECT job, state, host FROM executions ORDER BY execution_id DESC LIMIT 10",
    "SELECT job, error FROM executions WHERE state = 'FAILED' AND started_at > now() - INTERVAL 1 DAY",
    "SELECT state, count(*) FROM executions WHERE started_at >= '2026-11-24' GROUP BY 1",
    "SELECT job FROM executions WHERE type = 'lakecat.Maintenance' ORDER BY execution_id DESC LIMIT 10",
    "SELECT dataset, version FROM versions ORDER BY committed_at DESC LIMIT 10",
    "SELECT version, rows, committed_at FROM versions WHERE dataset = 'raw.t1'",
    "SELECT type, at FROM events WHERE artifact_id = 77",
    "SELECT e.job, o.dataset FROM executions e JOIN execution_outputs o USING (execution_id) WHERE e.execution_id = 77",
    "SELECT execution_id, role FROM execution_inputs WHERE dataset = 'raw.t1'",
    "SELECT name, created_at FROM artifacts ORDER BY created_at DESC LIMIT 10",
    "SELECT job FROM executions WHERE run_key = 'key77'",
    "SELECT input_uri FROM dataset_lineage WHERE output_dataset = 'raw.t1'",
    "SELECT output_dataset, output_version FROM dataset_lineage WHERE input_dataset = 'raw.t1'",
    "SELECT input_column, kind FROM column_lineage WHERE output_dataset = 'raw.t1'",
    "SELECT output_dataset, output_column FROM column_lineage WHERE input_dataset = 'raw.t1'",
)


def questions(catalog: Catalog) -> Mapping[str, Callable[[], object]]:
    """What is measured, by what it is called."""
    dataset = DatasetName("raw", "t1")

    def query(sql: str) -> list[dict[str, Any]]:
        with query_catalog(catalog, EngineSettings(), sql, dialect="duckdb", now=NOW) as reader:
            rows: list[dict[str, Any]] = reader.read_all().to_pylist()
        return sorted(rows, key=repr)

    found: dict[str, Callable[[], object]] = {sql: lambda sql=sql: query(sql) for sql in QUERIES}
    return found | {
        "executions --failed --since yesterday": lambda: catalog.executions(
            state=ExecutionState.FAILED, since=YESTERDAY
        ),
        "executions --since yesterday": lambda: catalog.executions(since=YESTERDAY),
        "executions --type maintenance": lambda: catalog.executions(type_=ExecutionType.MAINTENANCE),
        "executions --dataset raw.t1": lambda: catalog.executions(dataset=dataset),
        "the newest versions of raw.t1": lambda: catalog.versions(dataset, 20),
        "lineage raw.t1": lambda: catalog.lineage(VersionRef(dataset)),
        "the sources of raw.t1": lambda: catalog.source_uris(catalog.resolve(VersionRef(dataset))),
        "where (what was read as artifact 1)": lambda: catalog.holdings([1]),
        "impact raw.t1": lambda: catalog.impact(catalog.resolve(VersionRef(dataset)), None),
    }


def rows(first: int, last: int, size: int, types: Mapping[str, int]) -> dict[sa.Table, list[dict[str, Any]]]:
    """The rows of executions ``first`` to ``last - 1`` of ``size``; the last of all began a moment ago."""
    found: dict[sa.Table, list[dict[str, Any]]] = {table: [] for table in TABLES}
    for number in range(first, last):
        for table, row in _of_execution(number, size, types):
            found[table].append(row)
    return found


def _of_execution(number: int, size: int, types: Mapping[str, int]) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    at = int(NOW.timestamp() * 1000) - (size - number) * APART_MS
    context, version = divmod(number - 1, OF_ONE)
    context, version = context + 1, version + 1
    failed = number % 100 == 50
    if version == 1:
        yield s.context, {"id": context, "type_id": types["lakecat.Dataset"], "name": f"raw.t{context}"}
    yield (
        s.execution,
        {
            "id": number,
            "type_id": types["lakecat.Ingest"],
            "name": f"{number:08x}-0000-4000-8000-000000000000",
            "last_known_state": 4 if failed else 3,
            "create_time_since_epoch": at,
            "last_update_time_since_epoch": at,
        },
    )
    yield (
        s.lake_execution,
        {
            "execution_id": number,
            "uuid": f"{number:08x}-0000-4000-8000-000000000000",
            "type": "lakecat.Maintenance" if number <= 5 else "lakecat.Ingest",
            "job": f"job{number % 997}",
            "run_key": f"key{number}",
            "lease_resource": f"raw.t{context}",
            "fence": 1,
            "attempt": 0,
            "state": "FAILED" if failed else "COMPLETE",
            "started_ms": at,
            "finished_ms": at + 1000,
            "error": "it broke" if failed else None,
        },
    )
    custom = {"execution_id": number, "is_custom_property": False}
    yield s.execution_property, {**custom, "name": "host", "string_value": f"host{number % 7}"}
    yield (
        s.artifact,
        {
            "id": number,
            "type_id": types["lakecat.TableVersion"],
            "uri": f"s3://lake/raw/t{context}/{number}.json",
            "state": 2,
            "name": f"raw.t{context}@v{version}",
            "create_time_since_epoch": at,
            "last_update_time_since_epoch": at,
        },
    )
    yield s.event, {"artifact_id": number, "execution_id": number, "type": 4, "milliseconds_since_epoch": at}
    read = (number - 1) // 2 * 2 + 1
    if read != number:
        yield s.event, {"artifact_id": read, "execution_id": number, "type": 3, "milliseconds_since_epoch": at}
        yield s.dataset_edge, {"execution_id": number, "input_artifact_id": read, "output_artifact_id": number}
    yield s.association, {"context_id": context, "execution_id": number}
    yield (
        s.version,
        {
            "dataset_id": context,
            "version": version,
            "snapshot_id": number,
            "artifact_id": number,
            "execution_id": number,
            "metadata_location": f"s3://lake/raw/t{context}/{number}.json",
            "committed_ms": at,
            "operation": "append",
            "whole": False,
            "total_rows": number,
            "added_rows": 1,
            "removed_rows": 0,
            "total_files": 1,
            "total_bytes": 1,
            "fingerprint": "f",
            "expired": False,
        },
    )
    yield (
        s.column_edge,
        {
            "execution_id": number,
            "output_artifact_id": number,
            "output_dataset": f"raw.t{context}",
            "output_column": "a",
            "input_dataset": f"raw.t{context % 97 + 1 if context == 2 else context}",
            "input_hash": uri_hash(f"raw.t{context % 97 + 1 if context == 2 else context}"),
            "input_column": "b",
            "kind": "IDENTITY",
            "masked": False,
        },
    )


TABLES = (
    s.context, s.execution, s.lake_execution, s.execution_property, s.artifact, s.event, s.association, s.version,
    s.dataset_edge, s.column_edge,
)  # fmt: skip


def fill(catalog: Catalog, size: int) -> None:
    """Make the executions of a catalog that has none."""

    def schema(connection: sa.Connection) -> None:
        kind = catalog.type_ids["lakecat.Schema"]
        connection.execute(sa.insert(s.artifact).values(id=10**9, type_id=kind, name="f"))
        connection.execute(sa.insert(s.lake_schema).values(fingerprint="f", artifact_id=10**9))

    catalog.database.write(schema)
    for start in range(1, size + 1, BATCH):
        part = rows(start, min(start + BATCH, size + 1), size, catalog.type_ids)

        def add(connection: sa.Connection, part: dict[sa.Table, list[dict[str, Any]]] = part) -> None:
            for table, added in part.items():
                if added:
                    connection.execute(sa.insert(table).inline(), added)

        catalog.database.write(add)


def measure(question: Callable[[], object], rounds: int) -> tuple[float, object]:
    """Milliseconds of CPU of one question, and its answer."""
    answer = question()
    times = []
    for _ in range(rounds):
        start = time.process_time()
        question()
        times.append(time.process_time() - start)
    return statistics.median(times) * 1000, answer


def run(catalog: Catalog, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU by question."""
    return {name: measure(question, rounds)[0] for name, question in questions(catalog).items()}


def at(url: URL, size: int, rounds: int) -> dict[str, float]:
    """Fill the database unless it is full, and ask."""
    with Catalog.open(url, create=True) as catalog:
        start = time.monotonic()
        if not catalog.executions(limit=1):
            fill(catalog, size)
        print(f"{size:,} executions; {time.monotonic() - start:.0f} s to fill", flush=True)
        if catalog.database.backend == "postgresql":
            with catalog.database.engine.begin() as connection:
                connection.exec_driver_sql("ANALYZE")
        return run(catalog, rounds)


def main() -> int:
    """Measure and print; the exit code says whether every question kept its price."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--url", help="a server's empty databases: {} in the URL stands for the size")
    parser.add_argument("--keep", type=Path, help="a folder in which the SQLite files stay")
    arguments = parser.parse_args()
    sizes = [int(text) for text in arguments.sizes.split(",")]
    results: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="lakecat-questions-") as scratch:
        for size in sizes:
            file = URL.create("sqlite", database=str((arguments.keep or Path(scratch)) / f"catalog{size}.db"))
            url = file if arguments.url is None else make_url(arguments.url.replace("{}", str(size)))
            for name, milliseconds in at(url, size, arguments.rounds).items():
                results.setdefault(name, []).append(milliseconds)
    print(f"{'question':<120}" + "".join(f"{size:>14,}" for size in sizes) + f"{'ratio':>8}")
    for name, times in results.items():
        print(f"{name:<120}" + "".join(f"{one:>11.2f} ms" for one in times) + f"{times[-1] / times[0]:>8.2f}")
    return int(any(times[-1] > LIMIT * times[0] for times in results.values()))


if __name__ == "__main__":
    sys.exit(main())
