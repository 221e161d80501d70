"""A server that goes away in the midst: nothing half written, an error of ours, and the next call works."""

from __future__ import annotations

import os
import signal
import time
from uuid import uuid4

import pytest
import sqlalchemy as sa
from fault_proxy import Proxy
from sqlalchemy.engine import URL

from lakecat.catalog import Catalog, ExecutionStart, Holder, RunningExecution
from lakecat.catalog import schema as s
from lakecat.errors import CatalogError, CatalogUnavailableError, CommitUnknownError, LakecatError
from lakecat.types import DatasetName, ExecutionType

HOLDER = Holder("host", 1, "user", "lakecat run")
TARGETS = (DatasetName("raw", "orders"), DatasetName("raw", "items"))


def begin(catalog: Catalog, name: str) -> RunningExecution:
    """A transaction of a dozen statements; each of these executions has the same rows."""
    lease = catalog.acquire(f"lease {name}", HOLDER)
    start = ExecutionStart(
        type=ExecutionType.INGEST, job=f"job {name}", run_key=name, targets=TARGETS, prefix=f"file:///x/{name}/",
        properties={"parameter": "value " * 20},
    )  # fmt: skip
    running = catalog.begin(lease, start, uuid=str(uuid4()))
    assert isinstance(running, RunningExecution)
    return running


def rows_of(catalog: Catalog, job: str) -> list[tuple[int, int, int, int]]:
    """For each execution of the job how many contexts, properties and intents it has, and its state."""
    ours = s.lake_execution
    counted = [
        sa.select(sa.func.count()).where(table.c.execution_id == ours.c.execution_id).scalar_subquery()
        for table in (s.association, s.execution_property, s.intent)
    ]
    with catalog.database.reading() as connection:
        state = sa.select(s.execution.c.last_known_state).where(s.execution.c.id == ours.c.execution_id)
        query = sa.select(*counted, state.scalar_subquery()).where(ours.c.job == job)
        return [tuple(row) for row in connection.execute(query)]


def everything(catalog: Catalog) -> dict[str, int]:
    with catalog.database.reading() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in (s.execution, s.lake_execution, s.association, s.execution_property, s.intent)
        }


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_connection_that_breaks_after_any_byte(server_url: URL, proxy: Proxy, way: str):
    """Each is begun once and whole, for what broke is tried again; and where that fails, not at all."""
    Catalog.open(server_url, create=True).close()
    with Catalog.open(server_url) as direct, Catalog.open(server_url.set(port=proxy.port)) as catalog:
        begin(catalog, "whole")
        (whole,) = rows_of(direct, "job whole")
        size = 4000 if way == "up" else 2500
        for number, count in enumerate(range(0, size, 97)):
            proxy.cut_after(way, count)
            name = f"n{number}"
            try:
                begin(catalog, name)
            except LakecatError as err:
                check_told(err)
                assert rows_of(direct, f"job {name}") in ([], [whole])
            else:
                assert rows_of(direct, f"job {name}") == [whole], (number, count)
            proxy.heal()
            assert catalog.datasets() == ()
        assert proxy.cuts > 15, "most of these counts must lie within the transaction"
        assert catalog.integrity() == ()


def check_told(error: BaseException) -> None:
    assert isinstance(error, CatalogError)
    assert "p@ss" not in str(error)
    assert error.hint or error.next_command


@pytest.mark.parametrize("repeatable", [True, False])
def test_a_commit_whose_answer_is_lost(server_url: URL, proxy: Proxy, repeatable: bool):
    """What may be done twice is done again; of the other it is said that it may have been written, or not."""

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(s.setting).values(name=f"n{len(tries)}", value="1"))
        tries.append(1)
        if len(tries) == 1:
            proxy.cut_answer_to(b"COMMIT")

    tries: list[int] = []
    with Catalog.open(server_url, create=True) as direct, Catalog.open(server_url.set(port=proxy.port)) as through:
        if repeatable:
            through.database.write(work)
        else:
            with pytest.raises(CommitUnknownError) as caught:
                through.database.write(work, repeatable=False)
            check_told(caught.value)
        assert proxy.cuts == 1
        assert {"n0", "n1"} & direct.settings().keys() == ({"n0", "n1"} if repeatable else {"n0"})


def test_snapshots_over_a_broken_connection(server_url: URL, proxy: Proxy):
    """Setting the isolation level is a statement, too."""
    with Catalog.open(server_url, create=True) as direct, Catalog.open(server_url.set(port=proxy.port)) as catalog:
        for count in range(0, 1200, 23):
            proxy.cut_after("up", count)
            try:
                catalog.integrity()
            except CatalogUnavailableError as err:
                check_told(err)
            proxy.heal()
        assert catalog.integrity() == direct.integrity() == ()
        assert proxy.cuts > 10


def test_questions_over_a_broken_connection(server_url: URL, proxy: Proxy):
    Catalog.open(server_url, create=True).close()
    with Catalog.open(server_url.set(port=proxy.port)) as catalog:
        failed = 0
        for count in range(0, 800, 41):
            proxy.cut_after("down", count)
            try:
                catalog.datasets()
            except CatalogUnavailableError as err:
                check_told(err)
                failed += 1
            proxy.heal()
            assert catalog.datasets() == ()
        assert failed > 3


def test_opening_over_a_broken_connection(server_url: URL, proxy: Proxy):
    """A first opening makes the schema: begun anew, it is whole."""
    for count in (0, 30, 200, 1000, 5000, 20_000, 60_000):
        proxy.cut_after("up", count)
        try:
            Catalog.open(server_url.set(port=proxy.port), create=True).close()
        except LakecatError as err:
            check_told(err)
        proxy.heal()
    with Catalog.open(server_url.set(port=proxy.port), create=True) as catalog:
        assert catalog.integrity() == ()
        begin(catalog, "after")
    assert proxy.cuts >= 5


def test_a_backend_that_is_killed(server_url: URL):
    """SIGKILL to PostgreSQL's process of the session, after which the whole server recovers; KILL in MariaDB."""
    Catalog.open(server_url, create=True).close()
    admin = sa.create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    left = [1]

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.insert(s.setting).values(name="half", value="1"))
        if left[0]:
            left[0] -= 1
            kill(admin, connection)
        connection.execute(sa.insert(s.setting).values(name="whole", value="2"))

    with Catalog.open(server_url) as catalog:
        try:
            catalog.database.write(work)
            done = True
        except CatalogUnavailableError as err:
            check_told(err)
            done = False
        wait_for(admin)
        assert ("half" in catalog.settings(), "whole" in catalog.settings()) == (done, done)
        if not done:
            catalog.database.write(work)
        assert {"half", "whole"} <= catalog.settings().keys()


def kill(admin: sa.Engine, connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        os.kill(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one(), signal.SIGKILL)
        return
    number = connection.exec_driver_sql("SELECT CONNECTION_ID()").scalar_one()
    with admin.connect() as other:
        other.exec_driver_sql(f"KILL {number}")


def wait_for(engine: sa.Engine) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_server_that_is_killed_and_comes_back(mariadb_server, mariadb_url: URL):
    """SIGKILL to the whole of MariaDB in the midst of a transaction; then it is started again."""
    Catalog.open(mariadb_url, create=True).close()
    with Catalog.open(mariadb_url) as catalog:
        before = everything(catalog)

        def work(connection: sa.Connection) -> None:
            connection.execute(sa.insert(s.setting).values(name="half", value="1"))
            mariadb_server.kill()
            connection.execute(sa.insert(s.setting).values(name="whole", value="2"))

        with pytest.raises(CatalogUnavailableError) as caught:
            catalog.database.write(work)
        check_told(caught.value)
        with pytest.raises(CatalogUnavailableError) as caught:
            catalog.datasets()
        check_told(caught.value)
        mariadb_server.restart()
        assert not {"half", "whole"} & catalog.settings().keys()
        assert everything(catalog) == before
        begin(catalog, "after")
        assert catalog.integrity() == ()
