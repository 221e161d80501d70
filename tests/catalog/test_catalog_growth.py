"""What is asked at every run costs the same however long the history is: the databases' own plans say so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from lakecat.catalog import Script
from lakecat.catalog import schema as s
from lakecat.types import (
    ColumnEdge,
    DatasetName,
    EdgeKind,
    ExecutionState,
    FileVersion,
    LoadedFile,
    Position,
    SourceRead,
    VersionRef,
)

on_sqlite = pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
RAW = DatasetName("raw", "orders")
FILE = FileVersion("f.csv", 1, "e")
WHOLE = re.compile(r"^SCAN (\w+)\b(?! USING INDEX sqlite_autoindex_lakecat_execution_1)")


@contextmanager
def plans(bench) -> Iterator[set[str]]:
    """Collects the steps of the plans of all statements in the block that read a table of the catalog whole."""
    found: set[str] = set()
    aliases = {table.name.lower() for table in s.metadata.sorted_tables}

    def note(_connection, cursor, statement, parameters, _context, many):
        if statement.split(maxsplit=1)[0] not in ("SELECT", "WITH", "UPDATE", "DELETE"):
            return
        for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters).fetchall():
            scanned = WHOLE.match(row[3])
            if scanned and re.sub(r"_\d+$", "", scanned[1]).lower() in aliases:
                found.add(f"{row[3]}: {statement}")

    engine = bench.catalog.database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    yield found
    sa.event.remove(engine, "before_cursor_execute", note)


@on_sqlite
def test_a_run_reads_no_table_whole(bench):
    edges = (ColumnEdge("raw.orders", "x", "f.csv", "x", EdgeKind.IDENTITY),)
    first = bench.load("raw.orders")
    script = Script("SELECT 1", "ab" * 32, "a.sql", "duckdb")
    with plans(bench) as found:
        bench.load(
            "raw.orders", inputs=(first,), script=script, sources=(SourceRead("f.csv", 1),), edges=edges,
            positions={"st": Position({})}, files={"st": (LoadedFile(FILE, 1),)},
        )  # fmt: skip
    assert found == set()


@on_sqlite
def test_questions_of_one_thing_read_no_table_whole(bench):
    version = bench.load("raw.orders", sources=(SourceRead("f.csv", 1),))
    catalog = bench.catalog
    with plans(bench) as found:
        for ref in (VersionRef(RAW), VersionRef(RAW, version=1), VersionRef(RAW, snapshot_id=version.snapshot_id)):
            assert catalog.resolve(ref) == version
        catalog.resolve(VersionRef(RAW, as_of=datetime(2100, 1, 1, tzinfo=UTC)))
        catalog.versions(RAW, 20)
        catalog.dataset(RAW)
        catalog.schema(version)
        catalog.metadata_location(RAW)
        catalog.position("st")
        catalog.loaded("st", [FILE])
        catalog.latest_execution("load raw.orders")
        catalog.latest_execution("load raw.orders", ExecutionState.COMPLETE)
        catalog.executions(dataset=RAW)
        catalog.execution(version.execution_id)
        catalog.lineage(version, "both")
        catalog.column_lineage(RAW, "x")
        catalog.column_lineage(RAW, "x", direction="down")
    assert found == set()


@on_sqlite
def test_the_newest_executions_are_read_from_the_end(bench):
    bench.load("raw.orders")
    with plans(bench) as found:
        bench.catalog.executions(limit=20)
    assert found == set()


@pytest.mark.parametrize("catalog_url", ["mariadb"], indirect=True)
def test_mariadb_finds_the_newest_version_without_sorting_all(bench):
    first = bench.load("raw.orders")
    with bench.catalog.database.writing() as connection:
        row = dict(connection.execute(sa.select(s.version)).mappings().one())
        numbers = range(2, 3000)
        connection.execute(
            sa.insert(s.artifact),
            [{"id": first.artifact_id + n, "type_id": bench.catalog.type_ids["lakecat.TableVersion"]} for n in numbers],
        )
        connection.execute(
            sa.insert(s.version),
            [{**row, "version": n, "artifact_id": first.artifact_id + n, "snapshot_id": n} for n in numbers],
        )
        connection.execute(
            sa.insert(s.context),
            [{"type_id": bench.catalog.type_ids["lakecat.Dataset"], "name": f"raw.x{n}"} for n in numbers],
        )
        connection.commit()
        connection.exec_driver_sql("ANALYZE TABLE lakecat_version, Context")
    told: list[str] = []

    def note(_connection, cursor, statement, parameters, *_rest):
        cursor.execute(f"EXPLAIN {statement}", parameters)
        told.extend(str(row) for row in cursor.fetchall())

    engine = bench.catalog.database.engine
    sa.event.listen(engine, "before_cursor_execute", note)
    bench.catalog.resolve(VersionRef(RAW))
    bench.catalog.versions(RAW, 20)
    sa.event.remove(engine, "before_cursor_execute", note)
    assert len([line for line in told if "lakecat_version" in line]) == 2
    assert not [line for line in told if "filesort" in line]
