"""Arrow data from memory into a table."""

from __future__ import annotations

from collections import Counter

import duckdb
import pyarrow as pa
import pytest

from lakecat.catalog import Catalog
from lakecat.errors import CommitConflictError, SchemaError, UsageError
from lakecat.ingest import append, load, merge, replace
from lakecat.tables import write as write_module
from lakecat.types import DatasetName, VersionRef, WriteMode

T = DatasetName.parse("raw.t")


def stream(table: pa.Table) -> pa.RecordBatchReader:
    """A reader that gives its rows once."""
    return pa.RecordBatchReader.from_batches(table.schema, iter(table.to_batches()))


class Capsule:
    """Nothing but the PyCapsule protocol."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


TABLE = pa.table({"id": [1, 2], "name": ["a", "b"]})
ROWS = Counter({(1, "a"): 1, (2, "b"): 1})


@pytest.mark.parametrize(
    "data",
    [
        TABLE,
        TABLE.to_batches()[0],
        stream(TABLE),
        Capsule(TABLE),
        duckdb.sql("SELECT * FROM (VALUES (1::BIGINT, 'a'), (2, 'b')) t(id, name)"),
    ],
    ids=["table", "batch", "stream", "capsule", "duckdb"],
)
def test_whatever_speaks_arrow_is_taken(project, data):
    result = append(project.services, T, data, source="test")
    assert (result.rows, result.version.version, result.sources) == (2, 1, ("test",))
    assert project.rows("raw.t") == ROWS
    (path,) = project.catalog.column_lineage(T, "id")
    assert path.input.dataset == "test"
    project.clean()


def test_what_does_not_is_refused(project):
    with pytest.raises(UsageError, match="dict is no Arrow data"):
        append(project.services, T, {"id": [1]})
    with pytest.raises(UsageError, match="key"):
        load(project.services, T, TABLE, mode=WriteMode.APPEND, key=["id"])


def test_replace_and_merge(project):
    append(project.services, T, TABLE)
    merge(project.services, T, stream(pa.table({"id": [2, 3, 3], "name": ["B", "x", "c"]})), key=["id"])
    assert project.rows("raw.t") == Counter({(1, "a"): 1, (2, "B"): 1, (3, "c"): 1})
    replace(project.services, T, stream(TABLE))
    assert project.rows("raw.t") == ROWS
    assert [v.version for v in project.catalog.versions(T)] == [3, 2, 1]
    project.clean()


def test_a_run_key_makes_it_happen_once(project):
    first = append(project.services, T, TABLE, run_key="2020-01-01")
    again = append(project.services, T, TABLE, run_key="2020-01-01")
    assert again.already
    assert again.version == first.version
    assert project.rows("raw.t") == ROWS
    assert len(project.data_files()) == 1


def test_a_wrong_value_leaves_nothing_behind(project):
    append(project.services, T, TABLE)
    with pytest.raises(SchemaError, match="name"):
        append(project.services, T, pa.table({"id": [1], "name": [7]}))
    with pytest.raises(SchemaError, match="'name' is missing"):
        append(project.services, T, pa.table({"id": [1]}))
    assert project.rows("raw.t") == ROWS
    assert len(project.data_files()) == 1
    project.clean()


@pytest.mark.parametrize("mode", [WriteMode.MERGE, WriteMode.DELETE])
def test_a_rewrite_is_done_again_when_the_table_changed_meanwhile(project, monkeypatch, mode):
    append(project.services, T, TABLE)
    original = write_module.write_files
    interfered = []

    def interfering(*args, **options):
        written = original(*args, **options)
        if not interfered:
            interfered.append(1)
            append(project.services, T, pa.table({"id": [9], "name": ["between"]}))
        return written

    monkeypatch.setattr("lakecat.landing.write_files", interfering)
    data = stream(pa.table({"id": [2, 9], "name": ["B", "nine"]}))
    load(project.services, T, data, mode=mode, key=["id"])
    expected = {(1, "a"): 1} if mode is WriteMode.DELETE else {(1, "a"): 1, (2, "B"): 1, (9, "nine"): 1}
    assert project.rows("raw.t") == Counter(expected)
    live = {row["path"] for row in _live(project)}
    assert {str(p) for p in project.data_files() if str(p) not in live} <= _dead_versions(project)
    project.clean()


def _live(project):
    from lakecat.landing import current_state
    from lakecat.tables import Scan, plan

    state = current_state(project.services, T)
    return [{"path": f.location.removeprefix("file://")} for f in plan(project.services.store, Scan(state))]


def _dead_versions(project):
    """Files of older snapshots, which stay readable."""
    from lakecat.landing import current_state
    from lakecat.tables import Scan, plan

    state = current_state(project.services, T)
    return {
        f.location.removeprefix("file://")
        for snapshot in state.snapshots
        for f in plan(project.services.store, Scan(state, snapshot["snapshot-id"]))
    }


def test_a_rewrite_that_never_gets_through_gives_up_and_leaves_no_files(project, monkeypatch):
    append(project.services, T, TABLE)
    original = write_module.write_files

    def interfering(*args, **options):
        written = original(*args, **options)
        monkeypatch.setattr("lakecat.landing.write_files", original)
        append(project.services, T, pa.table({"id": [9], "name": ["between"]}))
        monkeypatch.setattr("lakecat.landing.write_files", interfering)
        return written

    monkeypatch.setattr("lakecat.landing.write_files", interfering)
    with pytest.raises(CommitConflictError):
        merge(project.services, T, pa.table({"id": [2], "name": ["B"]}), key=["id"])
    assert {str(p) for p in project.data_files()} == _dead_versions(project)
    assert project.catalog.resolve(VersionRef(T)).rows == 2 + 5
    project.clean()


def test_an_interrupt_is_recorded_and_leaves_no_files(project, monkeypatch):
    def interrupted(rows, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        append(project.services, T, TABLE, on_progress=interrupted)
    assert project.data_files() == []
    failed = project.catalog.latest_execution("append raw.t")
    assert (failed.state.value, failed.error) == ("FAILED", "interrupted by the user")
    assert not project.exists("raw.t")
    append(project.services, T, TABLE)
    project.clean()


def test_an_unreachable_catalog_stops_the_work_before_the_lease_ends(project, monkeypatch):
    from datetime import timedelta

    from lakecat.catalog import ExecutionStart
    from lakecat.errors import CatalogUnavailableError, LeaseLostError
    from lakecat.landing import hold, land
    from lakecat.types import ExecutionType

    def unreachable(self, lease):
        raise CatalogUnavailableError("cut off")

    monkeypatch.setattr(Catalog, "renew", unreachable)
    start = ExecutionStart(type=ExecutionType.INGEST, job="j", run_key=None, targets=(T,))

    def endless(work):
        while True:
            work.check()

    with (
        hold(project.services, "job", ttl=timedelta(seconds=0.6)) as held,
        pytest.raises(LeaseLostError, match="could not be renewed"),
    ):
        land(project.services, held, start, endless)


def test_temporary_files_go_where_the_engine_spills_and_are_gone_afterwards(tmp_path, make_project):
    spill = tmp_path / "not" / "yet" / "there"
    project = make_project(
        tmp_path / "project",
        f"lake: ./lake\ncatalog: sqlite:///./catalog.db\nengine: {{name: duckdb, temp_directory: {spill}}}\n",
    )
    merge(project.services, T, stream(TABLE), key=["id"])
    merge(project.services, T, stream(TABLE), key=["id"])
    assert project.rows("raw.t") == ROWS
    assert spill.is_dir()
    assert list(spill.iterdir()) == []


def test_a_key_may_have_any_type(project):
    import datetime as dt
    import uuid
    from decimal import Decimal

    values = {
        "text": ["a", "b"],
        "day": [dt.date(1969, 1, 1), dt.date(2020, 1, 1)],
        "moment": pa.array([-1, 1], pa.timestamp("us", "UTC")),
        "number": [Decimal("1.10"), Decimal("1.20")],
        "bytes": [b"\x00", b"\xff"],
        "unique": pa.array([uuid.UUID(int=1).bytes, uuid.UUID(int=2).bytes], pa.uuid()),
        "flag": [True, False],
    }
    rows = pa.table({**values, "n": [1, 2]})
    key = list(values)
    merge(project.services, T, rows, key=key)
    changed = pa.concat_tables([rows, rows]).set_column(len(key), "n", pa.array([1, 20, 1, 22]))
    merge(project.services, T, changed, key=key)
    assert sorted(project.table("raw.t")["n"].to_pylist()) == [1, 22]
    load(project.services, T, changed.slice(0, 1), mode=WriteMode.DELETE, key=key)
    assert project.table("raw.t")["n"].to_pylist() == [22]
