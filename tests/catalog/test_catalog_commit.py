"""What a commit leaves behind, and what can be asked of it afterwards. On every engine."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from lakecat import tables
from lakecat.catalog import CompletedExecution, Script
from lakecat.catalog import schema as s
from lakecat.config import Retention
from lakecat.errors import CatalogError, CommitConflictError, NotFoundError, StoreError, UsageError
from lakecat.tables import Operation
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

RAW = DatasetName("raw", "orders")
LONG = "s3://bucket/" + "ä" * 3000 + ".csv"


def text_script(text: str, path: str = "transforms/mart/orders.sql") -> Script:
    return Script(text, hashlib.sha256(text.encode()).hexdigest(), path, "duckdb")


def count_rows(bench, table: sa.Table) -> int:
    with bench.catalog.database.reading() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_version_is_told_with_its_numbers(bench):
    first = bench.load("raw.orders")
    second = bench.load("raw.orders", rows=pa.table({"x": pa.array([4], pa.int64()), "name": ["n"]}))
    assert (first.version, first.rows, first.added_rows, first.removed_rows, first.files) == (1, 3, 3, 0, 1)
    assert (second.version, second.rows, second.added_rows, second.removed_rows, second.files) == (2, 4, 1, 0, 2)
    assert first.schema_fingerprint != second.schema_fingerprint
    assert [(c.name, c.type, c.field_id) for c in bench.catalog.schema(second)] == [
        ("x", "long", 1),
        ("name", "string", 2),
    ]
    assert [c.name for c in bench.catalog.schema(first)] == ["x"]
    third = bench.load("raw.orders", operation=Operation.REPLACE, rows=pa.table({"x": pa.array([9], pa.int64())}))
    assert (third.rows, third.added_rows, third.removed_rows, third.operation) == (1, 1, 4, "replace")
    (info,) = bench.catalog.datasets()
    assert info.name == RAW
    assert info.latest == third == bench.catalog.dataset(RAW).latest
    assert info.versions == 3
    assert bench.catalog.versions(RAW) == (third, second, first)
    assert bench.catalog.versions(RAW, 1, before=3) == (second,)
    assert bench.catalog.integrity() == ()


def test_references_resolve_to_versions(bench):
    first, second = bench.load("raw.orders"), bench.load("raw.orders")
    resolve = bench.catalog.resolve
    assert resolve(VersionRef(RAW)) == second
    assert resolve(VersionRef(RAW, version=1)) == first
    assert resolve(VersionRef(RAW, snapshot_id=first.snapshot_id)) == first
    assert resolve(VersionRef(RAW, as_of=first.committed_at)) == first
    assert resolve(VersionRef(RAW, as_of=second.committed_at - timedelta(milliseconds=1))) == first
    assert resolve(VersionRef(RAW, as_of=datetime(2100, 1, 1, tzinfo=UTC))) == second
    for ref in (VersionRef(RAW, version=3), VersionRef(RAW, as_of=datetime(2000, 1, 1, tzinfo=UTC))):
        with pytest.raises(NotFoundError, match="its newest is v2"):
            resolve(ref)
    with pytest.raises(NotFoundError, match=r"did you mean raw\.orders"):
        resolve(VersionRef(DatasetName("raw", "order")))
    with pytest.raises(NotFoundError, match=r"did you mean raw\.orders"):
        bench.catalog.versions(DatasetName("warehouse", "orders"))


def test_a_run_key_is_done_once(bench):
    version = bench.load("raw.orders", run_key="monday")
    lease = bench.catalog.acquire("raw.orders", bench_holder(bench))
    done = bench.catalog.begin(lease, bench.start("raw.orders", "monday"))
    assert isinstance(done, CompletedExecution)
    assert done.versions == (version,)
    assert len(bench.catalog.executions()) == 1


def test_a_run_key_that_another_lease_completed_meanwhile_is_refused(bench):
    _, one = bench.begin("raw.orders", "monday")
    other = bench.catalog.acquire("elsewhere", bench_holder(bench))
    two = bench.catalog.begin(other, bench.start("raw.orders", "monday"))
    bench.commit(one, bench.change(one, "raw.orders"))
    with pytest.raises(CommitConflictError):
        bench.commit(two, bench.change(two, "raw.orders"))
    assert bench.catalog.dataset(RAW).versions == 1
    assert bench.catalog.execution(two.execution_id).info.state is ExecutionState.RUNNING


def test_positions_and_the_ledger_move_with_the_commit(bench):
    one = FileVersion(LONG, 10, mtime=datetime(2026, 1, 1, tzinfo=UTC))
    two = FileVersion("s3://bucket/b.csv", 10, etag="e1")
    lease, execution = bench.begin("raw.orders")
    change = bench.change(execution, "raw.orders")
    assert bench.catalog.position("orders") is None
    assert bench.catalog.loaded("orders", [one, two]) == frozenset()
    value = {"cursor": 2**60, "nested": [None, True, "ü"]}
    files = {"orders": (LoadedFile(one, 2, "ab" * 32), LoadedFile(two, 1))}
    bench.commit(execution, change, positions={"orders": Position(value)}, files=files)
    bench.catalog.release(lease)
    assert bench.catalog.position("orders") == Position(value)
    newer = FileVersion("s3://bucket/b.csv", 10, etag="e2")
    upper = FileVersion("s3://bucket/B.csv", 10, etag="e1")
    assert bench.catalog.loaded("orders", [one, two, newer, upper]) == {one, two}
    assert bench.catalog.loaded("other", [one, two]) == frozenset()
    bench.load("raw.orders", positions={"orders": Position({"cursor": 3})}, files=files)
    assert bench.catalog.position("orders") == Position({"cursor": 3})


def test_two_tables_of_one_execution_change_together(bench):
    lease, execution = bench.begin("raw.orders")
    result = bench.commit(execution, bench.change(execution, "raw.orders"), bench.change(execution, "raw.lines"))
    assert [str(version) for version in result.versions] == ["raw.lines@v1", "raw.orders@v1"]
    assert bench.catalog.execution(execution.execution_id).outputs == result.versions
    bench.catalog.release(lease)


def test_an_execution_without_changes_completes(bench):
    _, execution = bench.begin("raw.orders")
    assert bench.commit(execution, positions={"orders": Position({})}).versions == ()
    detail = bench.catalog.execution(execution.execution_id)
    assert detail.info.state is ExecutionState.COMPLETE
    with pytest.raises(CatalogError, match="COMPLETE already"):
        bench.commit(execution)


def test_an_execution_tells_what_it_read_and_wrote(bench):
    raw = bench.load("raw.orders", sources=(SourceRead(LONG, 3, 10, {"etag": "e", "ratio": 0.5}),))
    script = text_script("SELECT 'ü', \U0001f600 FROM raw.orders" + " " * 100_000)
    mart = bench.load("mart.orders", inputs=(raw,), script=script)
    detail = bench.catalog.execution(mart.execution_id)
    assert detail.inputs == (raw,)
    assert detail.outputs == (mart,)
    assert detail.script == script
    assert detail.info.properties["user"] == "user"
    assert detail.info.properties["host"] == "host"
    assert detail.info.finished_at is not None
    (source,) = bench.catalog.execution(raw.execution_id).sources
    assert source == SourceRead(LONG, 3, 10, {"etag": "e", "ratio": 0.5})
    assert bench.catalog.latest_execution("load mart.orders").execution_id == mart.execution_id
    assert bench.catalog.latest_execution("load mart.orders", ExecutionState.FAILED) is None


def test_executions_are_filtered(bench):
    bench.load("raw.orders")
    lease, failed = bench.begin("raw.lines")
    assert bench.catalog.fail(failed, "boom \x00 ü") is ExecutionState.FAILED
    bench.catalog.release(lease)
    ask = bench.catalog.executions
    assert [e.execution_id for e in ask(state=ExecutionState.FAILED)] == [failed.execution_id]
    assert [e.job for e in ask(dataset=RAW)] == ["load raw.orders"]
    assert [e.job for e in ask(dataset=DatasetName("raw", "lines"))] == ["load raw.lines"]
    assert len(ask(limit=1)) == 1
    assert ask(since=datetime.now(UTC) + timedelta(hours=1)) == ()
    assert ask(job="nothing") == ()
    assert "boom" in (ask(state=ExecutionState.FAILED)[0].error or "")
    with pytest.raises(CatalogError, match="FAILED already"):
        bench.commit(failed)
    with pytest.raises(NotFoundError):
        bench.catalog.execution(10**12)


def test_a_failed_execution_shows_its_inputs(bench):
    raw = bench.load("raw.orders")
    _, failed = bench.begin("mart.orders", inputs=(raw,), script=text_script("SELECT 1"))
    bench.catalog.fail(failed, "no")
    detail = bench.catalog.execution(failed.execution_id)
    assert detail.inputs == (raw,)
    assert detail.script is not None
    graph = bench.catalog.lineage(VersionRef(RAW), "down")
    assert [node.kind for node in graph.nodes] == ["version"], "what failed made nothing"


def test_a_commit_that_cannot_be_staged_leaves_nothing(bench, monkeypatch):
    bench.load("raw.orders")
    before = {table.name: count_rows(bench, table) for table in s.metadata.sorted_tables}
    pointer = bench.catalog.metadata_location(RAW)
    _, execution = bench.begin("raw.orders")
    change, other = bench.change(execution, "raw.orders"), bench.change(execution, "raw.zzz")
    real, calls = tables.stage, []

    def broken(store, base, change, **rest):
        calls.append(change.dataset)
        if len(calls) == 2:
            raise StoreError("disk full")
        return real(store, base, change, **rest)

    monkeypatch.setattr(tables, "stage", broken)
    with pytest.raises(StoreError):
        bench.commit(execution, change, other, positions={"orders": Position({})})
    assert calls == [RAW, DatasetName("raw", "zzz")]
    after = {table.name: count_rows(bench, table) for table in s.metadata.sorted_tables}
    grown = {name for name in after if after[name] != before[name]}
    begun = {"Execution", "ExecutionProperty", "lakecat_execution", "Association"}
    assert grown <= begun
    assert bench.catalog.metadata_location(RAW) == pointer
    assert not list(bench.store.list(tables.metadata_prefix(change.location, execution.uuid)))
    assert bench.catalog.execution(execution.execution_id).info.state is ExecutionState.RUNNING
    monkeypatch.undo()
    bench.commit(execution, change)


def test_a_rewrite_on_an_old_base_is_a_conflict(bench):
    base = bench.load("raw.orders")
    _, execution = bench.begin("elsewhere.orders")
    change = bench.change(execution, "raw.orders", operation=Operation.OVERWRITE, base_snapshot_id=base.snapshot_id)
    bench.load("raw.orders")
    with pytest.raises(CommitConflictError):
        bench.commit(execution, change)
    assert bench.catalog.dataset(RAW).versions == 2
    assert bench.catalog.integrity() == ()  # it may still commit


def test_expired_versions_stay_as_history(bench):
    bench.retention = Retention(snapshots=2, age=timedelta(milliseconds=1))
    made = [bench.load("raw.orders") for _ in range(4)]
    kept = bench.catalog.versions(RAW)
    assert [(v.version, v.expired) for v in kept] == [(4, False), (3, False), (2, True), (1, True)]
    assert bench.catalog.resolve(VersionRef(RAW, version=1)).snapshot_id == made[0].snapshot_id


def test_a_position_over_64_kib_and_a_dataset_twice_are_refused(bench):
    _, execution = bench.begin("raw.orders")
    change = bench.change(execution, "raw.orders")
    with pytest.raises(UsageError, match="64 KiB"):
        bench.commit(execution, change, positions={"orders": Position({"x": "y" * 65_536})})
    with pytest.raises(UsageError, match="at most once"):
        bench.commit(execution, change, change)


def test_the_same_source_state_is_one_artifact(bench):
    source = SourceRead("s3://bucket/a.csv", 3, 10, {"etag": "one"})
    bench.load("raw.orders", sources=(source,))
    bench.load("raw.lines", sources=(source, SourceRead("s3://bucket/a.csv", 3, 10, {"etag": "two"})))
    graph = bench.catalog.lineage(VersionRef(DatasetName("raw", "lines")), "both")
    assert sum(node.kind == "source" for node in graph.nodes) == 2
    up = bench.catalog.lineage(VersionRef(RAW))
    assert {node.key for node in up.nodes if node.kind == "source"} < {node.key for node in graph.nodes}


def test_a_commit_is_few_statements(bench):
    edges = (ColumnEdge("raw.orders", "x", "f.csv", "x", EdgeKind.IDENTITY),)
    bench.load("raw.orders", sources=(SourceRead("f.csv", 1),), edges=edges)
    _, execution = bench.begin("raw.orders")
    change = bench.change(execution, "raw.orders")
    statements: list[str] = []

    def note(_connection, _cursor, statement, *_rest):
        statements.append(statement)

    sa.event.listen(bench.catalog.database.engine, "before_cursor_execute", note)
    loaded = {"orders": tuple(LoadedFile(FileVersion(f"{n}.csv", n, "e"), n) for n in range(300))}
    bench.commit(
        execution, change, sources=tuple(SourceRead(f"{n}.csv", n) for n in range(300)), edges=edges * 300,
        positions={"orders": Position({})}, files=loaded,
    )  # fmt: skip
    assert len(statements) <= 15, "\n".join(statements)
    statements.clear()
    assert len(bench.catalog.execution(execution.execution_id).sources) == 300
    assert len(statements) <= 8


def test_a_value_that_cannot_be_kept_is_an_error_of_ours(bench):
    _, execution = bench.begin("raw.orders")
    with pytest.raises(CatalogError):
        bench.commit(execution, sources=(SourceRead("file:///caf\udce9.csv", 1),))
    with pytest.raises((CatalogError, NotFoundError)):  # MariaDB compares such a number, the others refuse it
        bench.catalog.execution(2**70)
    assert bench.catalog.execution(execution.execution_id).info.state is ExecutionState.RUNNING


def bench_holder(bench):
    from lakecat.catalog import Holder

    return Holder("other", 2, "user", "lakecat run")
