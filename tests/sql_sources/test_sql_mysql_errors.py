"""What goes wrong at a MySQL server costs a run and no row, and is told in our words."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing

import pymysql
import pytest
from fault_proxy import Proxy

from lakecat.connector import Cursor, ReadOptions, StreamRequest
from lakecat.errors import (
    ConfigError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceUnavailableError,
    StreamsFailedError,
)
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql

WHOLE = {"mode": "replace", "target": "raw.t", "stream": "t"}


@pytest.fixture
def my(mariadb_url):
    with closing(connect(mariadb_url)) as connection, connection.cursor() as cursor:
        yield cursor


def connect(url) -> pymysql.Connection:
    return pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database, autocommit=True
    )


@pytest.fixture
def my_project(tmp_path, make_sql_project, mariadb_url, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(mariadb_url.password))
    return make_sql_project(tmp_path / "project", mariadb_url)


@pytest.fixture
def landed(mariadb_url, make_landed, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(mariadb_url.password))
    return make_landed(mariadb_url, password="env:SQL_PASSWORD")


def run(project, *, options=None, **keys):
    return project.run(project.job(options={"password": "env:SQL_PASSWORD", **(options or {})}, **{**WHOLE, **keys}))


def fill(my, rows: int) -> None:
    my.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(200))")
    my.execute(f"INSERT INTO t SELECT seq, repeat('x', 200) FROM seq_1_to_{rows}")


def test_a_wrong_password_is_refused_and_shown_nowhere(my_project, monkeypatch) -> None:
    monkeypatch.setenv("SQL_PASSWORD", "geheim")
    with pytest.raises(SourceAccessError, match="refuses the user 'lakecat'") as caught:
        run(my_project)
    assert "geheim" not in str(caught.value)


def test_a_driver_that_is_not_installed_is_told_with_its_extra(my_project, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("lakecat_connectors._sql_mysql")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match=r"mysql:// URLs, pymysql, is not installed") as caught:
        run(my_project)
    assert "lakecat[mysql]" in str(caught.value.hint)


def test_no_server_no_database_no_table(my, my_project) -> None:
    own = my_project.connection
    my_project.connection = "mysql://lakecat@127.0.0.1:1/x"
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        run(my_project)
    my_project.connection = own + "_not"
    with pytest.raises(SourceAccessError, match="no database"):
        run(my_project)
    my_project.connection = own
    my.execute("CREATE TABLE customers (id int)")
    with pytest.raises(SourceError, match=r"no table or view .*\.customer ") as caught:
        run(my_project, stream="customer")
    assert "customers?" in str(caught.value.hint)
    my_project.connection = own.rpartition("/")[0]
    with pytest.raises(ConfigError, match="which database holds t"):
        run(my_project)


@pytest.mark.parametrize("cut", [100, 6_000, 400_000])
def test_a_connection_that_breaks_costs_a_run_and_no_row(my, my_project, mariadb_url, cut) -> None:
    fill(my, 5000)
    proxy = Proxy((mariadb_url.host, mariadb_url.port))
    own = my_project.connection
    my_project.connection = own.replace(f":{mariadb_url.port}/", f":{proxy.port}/")
    try:
        proxy.cut_after("down", cut)
        with pytest.raises(SourceUnavailableError):
            run(my_project, mode="append", cursor="id")
        assert not my_project.exists("raw.t")
        proxy.heal()
        (result,) = run(my_project, mode="append", cursor="id")
        assert result.rows == 5000
        assert run(my_project, mode="append", cursor="id") == ()
    finally:
        proxy.close()


def test_a_server_that_ends_the_connection_in_the_midst(my, landed) -> None:
    fill(my, 200_000)  # 40 MB: more than the sockets' buffers, so that the server is still sending
    connector = Sql.open(landed.options, landed.context)
    with closing(connector):
        (slice_,) = connector.plan(StreamRequest(name="t", mode=WriteMode.REPLACE), landed)
        reader = connector.read(slice_, ReadOptions(batch_rows=1000))
        batches = iter(reader)
        next(batches)
        my.execute("SELECT id FROM information_schema.PROCESSLIST WHERE id <> connection_id() AND db = database()")
        for (number,) in my.fetchall():
            my.execute(f"KILL {number}")
        with pytest.raises(SourceUnavailableError, match="broke off while reading rows"):
            for _ in batches:
                pass
        # The snapshot is gone: nothing that this run read may be mixed with what comes after.
        with pytest.raises(SourceUnavailableError):
            list(connector.plan(StreamRequest(name="t", mode=WriteMode.REPLACE), landed))


def test_a_table_that_is_planned_cannot_be_changed_before_it_is_read(my, landed, mariadb_url) -> None:
    fill(my, 10)
    connector = Sql.open(landed.options, landed.context)
    with closing(connector):
        (slice_,) = connector.plan(StreamRequest(name="t", mode=WriteMode.REPLACE), landed)
        with closing(connect(mariadb_url)) as other, other.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 1")
            for change in ("DROP TABLE t", "TRUNCATE t", "ALTER TABLE t ADD COLUMN w int"):
                with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
                    cursor.execute(change)
        my.execute("INSERT INTO t VALUES (100, 'later')")
        with closing(connector.read(slice_, ReadOptions())) as reader:
            assert sum(batch.num_rows for batch in reader) == 10


@pytest.mark.parametrize("change", ["TRUNCATE t", "ALTER TABLE t MODIFY v text", "DROP TABLE t"])
def test_a_table_that_changed_after_the_snapshot_is_an_error(my, landed, change) -> None:
    fill(my, 10)
    my.execute("CREATE TABLE u (id int PRIMARY KEY)")
    connector = Sql.open(landed.options, landed.context)
    with closing(connector):
        list(connector.plan(StreamRequest(name="u", mode=WriteMode.REPLACE), landed))
        my.execute(change)
        with pytest.raises(SourceError) as caught:
            list(connector.plan(StreamRequest(name="t", mode=WriteMode.REPLACE), landed))
        if not change.startswith("DROP"):
            assert isinstance(caught.value, SourceChangedError)


def test_a_lock_that_somebody_holds_is_not_waited_for_forever(my, my_project) -> None:
    fill(my, 1)
    my.execute("LOCK TABLES t WRITE")
    with pytest.raises(SourceUnavailableError, match="holds a lock"):
        run(my_project, options={"lock_timeout": 1})
    my.execute("UNLOCK TABLES")


def test_a_statement_that_takes_too_long_is_canceled(my, my_project) -> None:
    fill(my, 1)
    with pytest.raises(SourceUnavailableError, match="statement_timeout"):
        run(my_project, stream=None, options={"query": "SELECT id, sleep(30) AS s FROM t", "statement_timeout": 1})


def test_a_query_cannot_write(my, my_project) -> None:
    fill(my, 3)
    for query in (
        "DELETE FROM t",
        "SELECT 1 AS a; DELETE FROM t",
        "SELECT id FROM t FOR UPDATE) AS x; DELETE FROM t; -- ",
    ):
        with pytest.raises(SourceError):
            run(my_project, stream=None, options={"query": query})
    my.execute("SELECT count(*) FROM t")
    assert my.fetchone() == (3,)


def test_no_rights_on_one_table_of_many(my, my_project, mariadb_url, monkeypatch) -> None:
    fill(my, 3)
    my.execute("CREATE TABLE u (id int PRIMARY KEY, secret int)")
    user = f"u{mariadb_url.database[-12:]}"
    my.execute(f"CREATE USER {user} IDENTIFIED BY 'pw'")
    my.execute(f"GRANT SELECT ON t TO {user}")
    monkeypatch.setenv("SQL_PASSWORD", "pw")
    my_project.connection = my_project.connection.replace("lakecat@", f"{user}@")
    streams = {f"{mariadb_url.database}.{name}": {} for name in ("t", "u")}
    with pytest.raises(StreamsFailedError, match="u"):
        run(my_project, stream=None, streams=streams, target="raw.*", on_error="continue")
    assert my_project.exists("raw.t")
    my.execute(f"GRANT SELECT (id) ON u TO {user}")
    run(my_project, stream="u", target="raw.only")
    assert my_project.table("raw.only").column_names == ["id"]


def test_rows_wait_for_a_slow_reader(my, landed) -> None:
    fill(my, 20_000)
    my.execute("SET GLOBAL net_write_timeout = 1")
    connector = Sql.open(landed.options, landed.context)
    try:
        with closing(connector):
            (slice_,) = connector.plan(StreamRequest(name="t", mode=WriteMode.REPLACE), landed)
            rows = 0
            for batch in connector.read(slice_, ReadOptions(batch_rows=10_000)):
                rows += batch.num_rows
                time.sleep(2)
        assert rows == 20_000
    finally:
        my.execute("SET GLOBAL net_write_timeout = 60")


def test_streams_that_are_read_at_the_same_time_take_turns(my, landed) -> None:
    fill(my, 5000)
    connector = Sql.open(landed.options, landed.context)
    request = StreamRequest(name="t", mode=WriteMode.APPEND, cursor=Cursor(column="id"))
    counts: list[int] = []

    def read(slice_) -> None:
        with closing(connector.read(slice_, ReadOptions(batch_rows=500))) as reader:
            counts.append(sum(batch.num_rows for batch in reader))

    with closing(connector):
        (slice_,) = connector.plan(request, landed)
        threads = [threading.Thread(target=read, args=(slice_,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert counts == [5000, 5000, 5000]


def test_a_parameter_of_the_url_that_means_nothing_is_refused(my_project) -> None:
    """Not passed over: somebody may believe that the connection is encrypted."""
    my_project.connection += "?ssl_ca=geheim"
    with pytest.raises(ConfigError, match="'ssl_ca' means nothing") as caught:
        run(my_project)
    assert "geheim" not in str(caught.value)
