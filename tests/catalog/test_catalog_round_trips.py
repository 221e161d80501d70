"""What a run costs on a server, counted on the wire, and that asking less often gives up nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import IntegrityError
from wire import Wire

from lakecat.catalog import Catalog, Script, leases, trips
from lakecat.catalog import schema as s
from lakecat.store import LakeStore
from lakecat.types import ColumnEdge, EdgeKind, ExecutionType

SCRIPT = Script("SELECT 1", "ab" * 32, "a.sql", "duckdb")
EDGES = (ColumnEdge("raw.x", "x", "raw.orders", "x", EdgeKind.IDENTITY),)
on_servers = pytest.mark.parametrize("catalog_url", ["postgres", "mariadb"], indirect=True)


@pytest.fixture
def wired(catalog_url: URL, bench, tmp_path: Path) -> Iterator[tuple[Wire, object]]:
    """The bench once more, by way of a counter."""
    with Wire.before(catalog_url) as wire, Catalog.open(wire.through(catalog_url)) as catalog:
        store = LakeStore.open(f"file://{tmp_path}/lake")
        yield wire, type(bench)(catalog, store, catalog_url)


@pytest.mark.parametrize("catalog_url", ["postgres"], indirect=True)
def test_a_run_on_postgresql_takes_few_round_trips(wired):
    wire, bench = wired
    read = bench.load("raw.orders")
    costs = {}
    for _ in range(2):  # the first makes connection, contexts and table
        with wire.counting() as costs["begin"]:
            lease, execution = bench.begin("raw.x", inputs=(read,), script=SCRIPT, type=ExecutionType.TRANSFORM)
        change = bench.change(execution, "raw.x")
        with wire.counting() as costs["commit"]:
            bench.commit(execution, change, edges=EDGES)
        bench.catalog.release(lease)
    assert costs["begin"].round_trips <= 5 + 8, "taking the lease, and the execution"
    assert costs["commit"].round_trips <= 9


@on_servers
def test_events_keep_their_roles_when_their_ids_are_not_waited_for(bench):
    read = [bench.load(f"raw.in{n}") for n in range(3)]
    lease, execution = bench.begin("raw.x", inputs=tuple(read), script=SCRIPT, type=ExecutionType.TRANSFORM)
    written = bench.commit(execution, bench.change(execution, "raw.x")).versions[0]
    bench.catalog.release(lease)
    with bench.catalog.database.reading() as connection:
        paths = connection.execute(
            sa.select(s.event.c.artifact_id, s.event.c.type, s.event_path.c.step_key)
            .join(s.event_path, s.event_path.c.event_id == s.event.c.id)
            .where(s.event.c.execution_id == execution.execution_id)
        ).all()
    script = {row.step_key for row in paths} - {"raw.in0", "raw.in1", "raw.in2", "raw.x"}
    assert script == {"script"}
    roles = {row.artifact_id: (row.type, row.step_key) for row in paths}
    assert len(paths) == len(roles) == 5
    assert roles[written.artifact_id] == (4, "raw.x")
    assert [roles[version.artifact_id] for version in read] == [(3, f"raw.in{n}") for n in range(3)]


@on_servers
def test_the_clock_of_a_lock_is_read_after_the_wait_for_it(bench):
    database = bench.catalog.database
    bench.load("raw.orders")
    locked, released = threading.Event(), 0

    def hold() -> None:
        nonlocal released
        with database.writing() as connection:
            leases.lock(connection, "raw.orders")
            locked.set()
            time.sleep(0.5)
            _, released = leases.lock(connection, "raw.orders")
            connection.commit()

    other = threading.Thread(target=hold)
    other.start()
    assert locked.wait(10)
    with database.writing() as connection:
        _, now = leases.lock(connection, "raw.orders")
    other.join()
    assert now >= released > 0


@on_servers
def test_an_error_of_statements_sent_together_is_the_statements_own(bench):
    database = bench.catalog.database
    row = {"name": "taken", "value": "1"}
    with database.writing() as connection:
        connection.execute(sa.insert(s.setting), [row])
        connection.commit()

    def send(connection: sa.Connection) -> None:
        with trips.together(connection):
            connection.execute(sa.insert(s.setting), [row])
            connection.execute(sa.insert(s.setting), [{"name": "other", "value": "2"}])

    with database.writing() as connection, pytest.raises(IntegrityError):
        send(connection)
    assert "other" not in bench.catalog.settings()


@on_servers
def test_work_that_is_tried_again_finds_a_new_connection_by_itself(bench):
    database = bench.catalog.database
    bench.load("raw.orders")
    kill = {
        "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND datname = current_database()",
        "mysql": "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND db = database()",
    }
    admin = sa.create_engine(bench.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        found = connection.exec_driver_sql(kill[database.backend]).scalars().all()
        assert found
        if database.backend == "mysql":
            for number in found:
                connection.exec_driver_sql(f"KILL {int(number)}")
    assert bench.load("raw.orders").version == 2
