"""COMMIT raised an error: the outcome is unknown until the database has been asked. On every engine."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from lakecat import tables
from lakecat.catalog import Catalog, CompletedExecution, Holder
from lakecat.catalog import commit as commits
from lakecat.catalog.commit import CommitPlan, commit
from lakecat.errors import CatalogUnavailableError, CommitUnknownError, LeaseHeldError
from lakecat.types import DatasetName, ExecutionState, VersionRef

RAW = DatasetName("raw", "orders")


def break_commits(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, how: Callable[[Any, Callable[[], None]], None]):
    """Let ``how(connection, apply)`` stand for the next COMMIT alone, and lose its answer."""
    dialect = catalog.database.engine.dialect
    real, left = dialect.do_commit, [1]

    def lossy(connection: Any) -> None:
        if not left:
            return real(connection)
        left.pop()
        raw = connection.driver_connection
        how(raw, raw.commit)
        raise dialect.dbapi.OperationalError(2013, "Lost connection to server during query")

    monkeypatch.setattr(dialect, "do_commit", lossy)


def check_landed_once(bench, execution, result) -> None:
    assert [str(v) for v in result.versions] == ["raw.orders@v1"]
    assert bench.catalog.versions(RAW) == result.versions
    state = tables.load_state(bench.store, bench.catalog.metadata_location(RAW))
    assert tables.read(bench.store, tables.Scan(state, state.current_snapshot_id)).read_all().num_rows == 3
    assert bench.catalog.execution(execution.execution_id).info.state is ExecutionState.COMPLETE
    metadata = {o.location for o in bench.store.list(tables.metadata_prefix(state.location, execution.uuid))}
    assert len([m for m in metadata if m.endswith(".metadata.json")]) == 1, "a lost attempt's files are removed"
    assert bench.catalog.integrity() == ()


def test_applied_but_the_answer_was_lost(bench, monkeypatch):
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")

    def applied(connection, apply):
        apply()
        if bench.catalog.database.backend != "sqlite":
            connection.close()

    break_commits(bench.catalog, monkeypatch, applied)
    result = bench.commit(execution, change)
    assert result.attempts == 1
    check_landed_once(bench, execution, result)


def test_not_applied_is_tried_again(bench, monkeypatch):
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")

    def dropped(connection, _apply):
        connection.rollback()
        if bench.catalog.database.backend != "sqlite":
            connection.close()
        else:
            # SQLite has no server to lose; what it says when COMMIT cannot get its lock is what is tried again.
            error = bench.catalog.database.engine.dialect.dbapi.OperationalError("database is locked")
            error.sqlite_errorcode = 5
            raise error

    break_commits(bench.catalog, monkeypatch, dropped)
    result = bench.commit(execution, change)
    assert result.attempts == 2
    check_landed_once(bench, execution, result)


def test_a_commit_still_under_way_on_the_server_is_waited_for(bench, monkeypatch):
    """The row lock of the transaction in doubt makes the question wait until its answer is certain."""
    if bench.catalog.database.backend == "sqlite":
        pytest.skip("SQLite's COMMIT ends before it returns")
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")
    dialect = bench.catalog.database.engine.dialect
    kept: list[Any] = []
    for name in ("do_close", "do_terminate"):
        real = getattr(dialect, name)
        monkeypatch.setattr(dialect, name, lambda c, real=real: None if c in kept else real(c))

    def in_flight(connection, apply):
        kept.append(connection)
        timers.append(threading.Timer(1.5, apply))
        timers[0].start()

    timers: list[threading.Timer] = []
    break_commits(bench.catalog, monkeypatch, in_flight)
    result = bench.commit(execution, change)
    timers[0].join()
    assert result.attempts == 1
    check_landed_once(bench, execution, result)
    kept.pop().close()


def test_a_database_that_does_not_answer_leaves_everything_in_place(bench, monkeypatch):
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")
    database = bench.catalog.database
    real = database.connect

    def gone() -> sa.Connection:
        raise sa.exc.OperationalError("connect", None, OSError("connection refused"))

    def applied(connection, apply):
        apply()
        monkeypatch.setattr(type(database), "connect", lambda _self: gone())

    break_commits(bench.catalog, monkeypatch, applied)
    plan = CommitPlan(execution=execution, changes=(change,))
    with pytest.raises(CommitUnknownError):
        commit(bench.catalog, bench.store, plan, retention=bench.retention, now=bench.clock, unknown_wait=1)
    with pytest.raises(CatalogUnavailableError) as caught:
        bench.catalog.datasets()
    assert "p@ss" not in str(caught.value)
    monkeypatch.setattr(type(database), "connect", lambda _self: real())
    version = bench.catalog.resolve(VersionRef(RAW))
    assert bench.store.exists(version.metadata_location)
    assert all(bench.store.exists(file.file_path) for file in change.added)
    lease = bench.catalog.acquire("other", Holder("h", 1, "u", "c"))
    again = bench.catalog.begin(lease, bench.start("raw.orders", "monday"))
    assert isinstance(again, CompletedExecution)
    assert again.versions == (version,)


def test_interrupted_in_commit_the_outcome_is_asked_for(bench, monkeypatch):
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")

    def interrupted(_connection, apply):
        apply()
        raise KeyboardInterrupt

    break_commits(bench.catalog, monkeypatch, interrupted)
    with pytest.raises(CommitUnknownError, match="was applied"):
        bench.commit(execution, change)
    assert bench.catalog.dataset(RAW).versions == 1
    assert bench.catalog.integrity() == ()


def test_interrupted_right_after_commit_nothing_live_is_removed(bench, monkeypatch):
    """Control-C between COMMIT's answer and the giving back of the connection."""
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")
    real = commits.try_commit

    def interrupted(connection: sa.Connection) -> None:
        real(connection)
        raise KeyboardInterrupt

    monkeypatch.setattr(commits, "try_commit", interrupted)
    with pytest.raises(CommitUnknownError, match="was applied"):
        bench.commit(execution, change)
    version = bench.catalog.resolve(VersionRef(RAW))
    state = tables.load_state(bench.store, version.metadata_location)
    assert tables.read(bench.store, tables.Scan(state, state.current_snapshot_id)).read_all().num_rows == 3
    assert bench.catalog.integrity() == ()


def lose_the_answer(bench, connection: Any, apply: Callable[[], None]) -> None:
    apply()
    connection.close()


def test_a_lease_whose_answer_was_lost_is_ours(bench, monkeypatch):
    if bench.catalog.database.backend == "sqlite":
        pytest.skip("SQLite's COMMIT has no answer to lose")
    first = bench.catalog.acquire("raw.a", Holder("h", 1, "u", "c"))
    bench.catalog.release(first)
    for resource in ("raw.a", "raw.new"):
        break_commits(bench.catalog, monkeypatch, lambda c, apply: lose_the_answer(bench, c, apply))
        lease = bench.catalog.acquire(resource, Holder("h", 2, "u", "c"))
        monkeypatch.undo()
        assert bench.catalog.renew(lease).fence == lease.fence
        with pytest.raises(LeaseHeldError):
            bench.catalog.acquire(resource, Holder("h", 2, "u", "c"))


def test_an_execution_whose_answer_was_lost_is_begun_once(bench, monkeypatch):
    if bench.catalog.database.backend == "sqlite":
        pytest.skip("SQLite's COMMIT has no answer to lose")
    lease = bench.catalog.acquire("raw.orders", Holder("h", 1, "u", "c"))
    break_commits(bench.catalog, monkeypatch, lambda c, apply: lose_the_answer(bench, c, apply))
    execution = bench.catalog.begin(lease, bench.start("raw.orders", "monday"))
    assert len(bench.catalog.executions()) == 1
    check_landed_once(bench, execution, bench.commit(execution, bench.change(execution, "raw.orders")))


@pytest.mark.parametrize("catalog_url", ["sqlite"], indirect=True)
def test_a_full_disk_at_commit_is_said_at_once_and_leaves_no_files(bench, monkeypatch):
    _, execution = bench.begin("raw.orders", "monday")
    change = bench.change(execution, "raw.orders")
    dialect = bench.catalog.database.engine.dialect
    real = dialect.do_commit
    kept = sqlite3.connect(bench.url.database)
    (before,) = kept.execute("PRAGMA data_version").fetchone()

    def full(connection: Any) -> None:
        if connection.driver_connection.in_transaction and writes(connection.driver_connection):
            connection.rollback()
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        real(connection)

    def writes(connection: sqlite3.Connection) -> bool:
        """Whether this connection holds the write lock: then nobody else can have it."""
        try:
            kept.execute("PRAGMA busy_timeout = 0")
            kept.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        kept.rollback()
        return False

    monkeypatch.setattr(dialect, "do_commit", full)
    plan = CommitPlan(execution=execution, changes=(change,))
    with pytest.raises(CatalogUnavailableError, match="full"):
        commit(bench.catalog, bench.store, plan, retention=bench.retention, now=bench.clock, unknown_wait=2)
    assert kept.execute("PRAGMA data_version").fetchone() == (before,)
    kept.close()
    assert not list(bench.store.list(tables.metadata_prefix(change.location, execution.uuid)))
    monkeypatch.undo()
    check_landed_once(bench, execution, bench.commit(execution, change))
