"""Tags: movable names of versions, in the catalog and in the table's own metadata at once. On every database."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa
from pyiceberg.table import StaticTable

from lakecat import tables
from lakecat.catalog import Holder
from lakecat.catalog import schema as s
from lakecat.catalog.tagging import Tagging, differences
from lakecat.config import Retention
from lakecat.errors import CatalogLostError, LakecatError, NotFoundError, SelectorError, TableError, UsageError
from lakecat.tables import Operation
from lakecat.types import DatasetName, ExecutionState, VersionRef

HOLDER = Holder("host", 1, "user", "lakecat tag")
ORDERS = DatasetName("raw", "orders")


def rows(*values: int) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.int64())})


def tagging(bench) -> Tagging:
    return Tagging(catalog=bench.catalog, store=bench.store, holder=HOLDER, retention=bench.retention, now=bench.clock)


def at(version: int | None = None, tag: str | None = None) -> VersionRef:
    return VersionRef(ORDERS, version=version, tag=tag)


def refs(bench) -> dict[str, int]:
    return tables.table_tags(tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS)))


def test_a_tag_moves_and_its_moves_are_kept(bench) -> None:
    first, second = bench.load("raw.orders"), bench.load("raw.orders")
    made = tagging(bench).tag(at(1), "prod")
    assert (made.name, made.version, made.snapshot_id, made.changed_by) == ("prod", 1, first.snapshot_id, "user@host")
    assert bench.catalog.resolve(at(tag="prod")) == first
    assert tagging(bench).tag(at(), "prod").version == 2
    assert bench.catalog.resolve(VersionRef.parse("raw.orders@prod")) == second
    removed = tagging(bench).untag(ORDERS, "prod")
    assert removed is not None
    assert removed.version == 2
    assert bench.catalog.tags() == ()
    moves = [(change.name, change.before, change.after) for change in bench.catalog.tag_changes(ORDERS)]
    assert moves == [("prod", 2, None), ("prod", 1, 2), ("prod", None, 1)]
    assert bench.catalog.integrity() == ()


def test_iceberg_readers_see_the_tag(bench) -> None:
    bench.load("raw.orders", rows=rows(1, 2))
    bench.load("raw.orders", rows=rows(3))
    tagging(bench).tag(at(1), "prod")
    table = StaticTable.from_metadata(bench.catalog.metadata_location(ORDERS))
    assert table.snapshot_by_name("prod").snapshot_id == bench.catalog.resolve(at(1)).snapshot_id
    found = table.scan(snapshot_id=table.snapshot_by_name("prod").snapshot_id).to_arrow()
    assert found["x"].to_pylist() == [1, 2]
    assert sorted(table.scan().to_arrow()["x"].to_pylist()) == [1, 2, 3]


def test_a_tagged_version_never_expires_and_an_untagged_one_does(bench) -> None:
    bench.retention = Retention(snapshots=1, age=timedelta(milliseconds=1))
    bench.load("raw.orders", rows=rows(1))
    tagging(bench).tag(at(1), "keep")
    for value in (2, 3, 4):
        bench.load("raw.orders", rows=rows(value), operation=Operation.REPLACE)
    assert [version.expired for version in bench.catalog.versions(ORDERS)] == [False, True, True, False]
    assert refs(bench) == {"keep": bench.catalog.resolve(at(1)).snapshot_id}
    with pytest.raises(TableError, match="has expired"):
        tagging(bench).tag(at(2), "late")
    tagging(bench).untag(ORDERS, "keep")
    bench.load("raw.orders", rows=rows(5))
    assert bench.catalog.resolve(at(1)).expired


@pytest.mark.parametrize(
    "name", ["v7", "v7x", "main", "latest", "Prod", "7up", "a b", "a..b", "a-", "", "x" * 129, "é"]
)
def test_what_cannot_be_a_tag(bench, name: str) -> None:
    bench.load("raw.orders")
    with pytest.raises(UsageError, match="cannot be a tag"):
        tagging(bench).tag(at(), name)


@pytest.mark.parametrize("text", ["raw.orders@Prod", "raw.orders@v0", "raw.orders@a--b", "raw.orders@v1x"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(SelectorError, match="is not a version"):
        VersionRef.parse(text)


def test_an_unknown_tag_names_those_that_are_there(bench) -> None:
    bench.load("raw.orders")
    tagging(bench).tag(at(), "prod")
    with pytest.raises(NotFoundError, match="no tag 'prd'") as caught:
        bench.catalog.resolve(at(tag="prd"))
    assert caught.value.hint == "its tags: prod"
    with pytest.raises(NotFoundError):
        tagging(bench).untag(ORDERS, "prd")


def test_tagging_what_is_tagged_already_writes_nothing(bench) -> None:
    bench.load("raw.orders")
    tagging(bench).tag(at(), "prod")
    before = bench.catalog.metadata_location(ORDERS)
    tagging(bench).tag(at(1), "prod")
    assert bench.catalog.metadata_location(ORDERS) == before
    assert len(bench.catalog.tag_changes()) == 1


def test_commits_and_moves_of_tags_at_the_same_time_all_land(bench) -> None:
    bench.load("raw.orders")
    errors: list[BaseException] = []

    def work(what) -> None:
        try:
            what()
        except BaseException as err:  # noqa: BLE001 - a thread's error is the test's
            errors.append(err)

    def load() -> None:
        for _ in range(4):
            bench.load("raw.orders")

    def move(name: str) -> None:
        for _ in range(4):
            tagging(bench).tag(at(), name)
            tagging(bench).tag(at(1), name)

    targets = [load, lambda: move("a"), lambda: move("b")]
    threads = [threading.Thread(target=work, args=(target,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert bench.catalog.resolve(at()).version == 5
    first = bench.catalog.resolve(at(1)).snapshot_id
    assert refs(bench) == {"a": first, "b": first}
    assert {(tag.name, tag.version) for tag in bench.catalog.tags()} == {("a", 1), ("b", 1)}
    assert bench.catalog.integrity() == ()


def test_a_tag_of_another_engine_is_named_and_mended(bench) -> None:
    bench.load("raw.orders")
    bench.load("raw.orders")
    tagging(bench).tag(at(1), "prod")
    assert differences(bench.catalog, bench.store, ORDERS) == []
    state = tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS))
    newest = bench.catalog.resolve(at()).snapshot_id
    head = {**state.head, "refs": {**state.head["refs"], "theirs": {"snapshot-id": newest, "type": "tag"}}}
    head["refs"]["prod"] = {"snapshot-id": newest, "type": "tag"}
    foreign = replace(state, head=head)
    staged = tables.stage_tag(
        bench.store, foreign, "x", None, prefix=f"{state.location}/metadata", now_ms=0, uuid="u", keep=5
    )
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.update(s.iceberg_tables).values(metadata_location=staged.metadata_location))
        connection.commit()
    assert differences(bench.catalog, bench.store, ORDERS) == [
        f"the tag prod is on v1 here, and on snapshot {newest} in the table's metadata",
        f"the tag theirs is only in the table's metadata, on snapshot {newest}",
    ]
    tagging(bench).tag(at(1), "prod")
    before = bench.catalog.metadata_location(ORDERS)
    assert tagging(bench).find(ORDERS, "theirs") is None
    assert bench.catalog.metadata_location(ORDERS) == before
    assert tagging(bench).untag(ORDERS, "theirs") is None
    assert differences(bench.catalog, bench.store, ORDERS) == []


def test_a_branch_of_another_engine_keeps_its_name(bench) -> None:
    version = bench.load("raw.orders")
    state = tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS))
    branch = {"snapshot-id": version.snapshot_id, "type": "branch"}
    foreign = replace(state, head={**state.head, "refs": {**state.head["refs"], "audit": branch}})
    staged = tables.stage_tag(
        bench.store, foreign, "x", None, prefix=f"{state.location}/metadata", now_ms=0, uuid="u", keep=5
    )
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.update(s.iceberg_tables).values(metadata_location=staged.metadata_location))
        connection.commit()
    with pytest.raises(UsageError, match="is a branch"):
        tagging(bench).tag(at(1), "audit")
    with pytest.raises(NotFoundError):
        tagging(bench).untag(ORDERS, "audit")
    assert bench.catalog.tags() == ()
    after = tables.load_state(bench.store, bench.catalog.metadata_location(ORDERS))
    assert after.head["refs"]["audit"] == branch


def test_what_went_wrong_is_told_although_it_cannot_be_recorded(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.load("raw.orders")

    def fail(_self, _execution, _error) -> None:
        raise CatalogLostError("the database is gone")

    monkeypatch.setattr(type(bench.catalog), "fail", fail)
    monkeypatch.setattr("lakecat.failpoints._SPEC", "tag.locked:1:raise")
    monkeypatch.setattr("lakecat.failpoints._hits", 0)
    with pytest.raises(LakecatError, match=r"tag\.locked"):
        tagging(bench).tag(at(), "prod")


def test_what_a_broken_move_leaves_is_nothing(bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.load("raw.orders")
    before = bench.catalog.metadata_location(ORDERS)
    files = {one.location for one in bench.store.list(bench.store.url)}
    for name in ("tag.begun", "tag.locked", "tag.written", "tag.swapped", "tag.before"):
        monkeypatch.setattr("lakecat.failpoints._SPEC", f"{name}:1:raise")
        monkeypatch.setattr("lakecat.failpoints._hits", 0)
        with pytest.raises(Exception, match=name):
            tagging(bench).tag(at(), "prod")
        monkeypatch.setattr("lakecat.failpoints._SPEC", "")
        assert bench.catalog.metadata_location(ORDERS) == before
        assert bench.catalog.tags() == ()
        assert {one.location for one in bench.store.list(bench.store.url)} == files
        assert bench.catalog.executions(limit=1)[0].state is ExecutionState.FAILED
    tagging(bench).tag(at(), "prod")
    assert bench.catalog.integrity() == ()


MOVE = """
import sys
from datetime import UTC, datetime
from lakecat.catalog import Catalog, Holder
from lakecat.catalog.tagging import Tagging
from lakecat.config import Retention
from lakecat.store import LakeStore
from lakecat.types import VersionRef
catalog = Catalog.open(sys.argv[1])
work = Tagging(
    catalog=catalog, store=LakeStore.open(sys.argv[2]), holder=Holder("h", 1, "u", "c"), retention=Retention(),
    now=datetime.now(UTC),
)
work.tag(VersionRef.parse("raw.orders@v2"), "prod")
"""


@pytest.mark.parametrize(("step", "moved"), [("tag.written", False), ("tag.before", False), ("tag.after", True)])
def test_killed_in_the_middle_it_has_moved_or_it_has_not(bench, step: str, moved: bool) -> None:
    first, second = bench.load("raw.orders"), bench.load("raw.orders")
    tagging(bench).tag(at(1), "prod")
    before = bench.catalog.metadata_location(ORDERS)
    url = bench.url.render_as_string(hide_password=False)
    environment = {**os.environ, "LAKECAT_FAILPOINT": f"{step}:1:kill"}
    done = subprocess.run([sys.executable, "-c", MOVE, url, bench.store.url], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert bench.catalog.resolve(at(tag="prod")) == (second if moved else first)
    assert refs(bench) == {"prod": (second if moved else first).snapshot_id}
    assert (bench.catalog.metadata_location(ORDERS) == before) is not moved
    assert len(bench.catalog.tag_changes()) == (2 if moved else 1)
    assert {problem.code for problem in bench.catalog.integrity()} <= {"execution.stale"}
    killed = bench.catalog.executions(limit=1)[0]
    with bench.catalog.database.writing() as connection:
        connection.execute(sa.update(s.lease).values(expires_ms=0))  # as it will be in a while
        connection.commit()
    tagging(bench).tag(at(1), "prod")
    tagging(bench).tag(at(2), "prod")
    state = bench.catalog.execution(killed.execution_id).info.state
    assert state is (ExecutionState.COMPLETE if moved else ExecutionState.CANCELED)
    assert bench.catalog.integrity() == ()
