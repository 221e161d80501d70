"""What goes wrong with a PostgreSQL source is told in our words, without secrets, and costs nothing but a run."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from fault_proxy import Proxy

from lakecat.connector import ConnectorContext, Cursor, ReadOptions, StreamRequest
from lakecat.errors import (
    ConfigError,
    SourceAccessError,
    SourceChangedError,
    SourceError,
    SourceUnavailableError,
)
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql

WHOLE = {"mode": "replace", "target": "raw.t", "stream": "public.t"}


def fill(pg, rows: int = 1000, width: int = 100) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text)")
    pg.execute(f"INSERT INTO t SELECT n, repeat('x', {width}) FROM generate_series(1, {rows}) n")


@contextmanager
def passwords_wanted(pg, role: str):
    """The server asks this role for its password."""
    rules = pg.execute("SELECT pg_read_file('pg_hba.conf')").fetchone()[0]
    path = pg.execute("SELECT setting FROM pg_settings WHERE name = 'hba_file'").fetchone()[0]

    def write(text: str) -> None:
        pg.execute(f"COPY (SELECT unnest(string_to_array($x${text}$x$, E'\\n'))) TO '{path}'")
        pg.execute("SELECT pg_reload_conf()")

    write(f"host all {role} 127.0.0.1/32 scram-sha-256\n{rules}")
    try:
        yield
    finally:
        write(rules)


def test_a_wrong_password_is_refused_and_the_right_one_is_shown_nowhere(pg, pg_project, monkeypatch) -> None:
    fill(pg, 3)
    role = f"secretive_{pg.info.dbname}"
    pg.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'Gr0ss&Geheim'; GRANT SELECT ON t TO {role}")
    pg_project.connection = pg_project.connection.replace("postgres@", f"{role}@")
    job = pg_project.job(**WHOLE, options={"password": "env:LAKECAT_TEST_PASSWORD"})
    try:
        with passwords_wanted(pg, role):
            with pytest.raises(ConfigError, match="LAKECAT_TEST_PASSWORD"):
                pg_project.run(job)
            monkeypatch.setenv("LAKECAT_TEST_PASSWORD", "wr0ng&Geheim")
            with pytest.raises(SourceAccessError) as caught:
                pg_project.run(job)
            assert "Geheim" not in str(caught.value)
            monkeypatch.setenv("LAKECAT_TEST_PASSWORD", "Gr0ss&Geheim")
            (result,) = pg_project.run(job)
            assert result.rows == 3
            whole = f"postgresql://{role}:Gr0ss%26Geheim@{pg.info.host}:{pg.info.port}/{pg.info.dbname}"
            monkeypatch.setenv("LAKECAT_TEST_URL", whole)
            (result,) = pg_project.run(pg_project.job(**WHOLE, options={"connection": "env:LAKECAT_TEST_URL"}))
        assert all("Geheim" not in source for source in result.sources)
        for file in (pg_project.root / "lake").rglob("*.json"):
            assert b"Geheim" not in file.read_bytes()
        assert b"Geheim" not in (pg_project.root / "catalog.db").read_bytes()
    finally:
        pg.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"connection": "postgresql://u:geheim@h/d"}, "holds a password"),
        ({"connection": "postgresql://u@h/d?password=geheim"}, "holds a password"),
        ({"connection": "nonsense geheim"}, "no database URL"),
        ({"connection": "postgresq://u@h/d"}, "no source reads postgresq://"),
        ({"connection": "postgresql://u@h/d", "password": "geheim"}, "by reference"),
        ({"connection": "postgresql://u@h/d", "tabel": "x"}, "unknown option 'tabel'"),
        ({"connection": "postgresql://u@h/d", "table": "x", "query": "y"}, "cannot stand together"),
        ({"connection": "postgresql://u@h/d", "numeric": "float"}, "numeric"),
        ({"connection": "postgresql://u@h/d", "splits": 0}, "splits"),
        ({}, "'connection' is missing"),
    ],
)
def test_options_that_are_wrong_are_named_and_nothing_secret_is(pg_project, options, what) -> None:
    job = pg_project.job(**WHOLE)
    whole = job.model_copy(update={"options": options})
    with pytest.raises(ConfigError) as caught:
        pg_project.run(whole)
    assert what in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("password", ["pa@geheim", "p@/geheim", "a@b@geheim"])
def test_a_password_that_is_cut_at_its_own_sign_is_not_shown(pg_project, monkeypatch, password) -> None:
    monkeypatch.setenv("LAKECAT_TEST_URL", f"postgresql://u:{password}@127.0.0.1:1/d")
    with pytest.raises(ConfigError, match=r"%40|no database URL") as caught:
        pg_project.run(pg_project.job(**WHOLE, options={"connection": "env:LAKECAT_TEST_URL"}))
    assert "geheim" not in str(caught.value)


def test_nobody_listens_there(pg_project) -> None:
    pg_project.connection = "postgresql://postgres@127.0.0.1:1/x"
    with pytest.raises(SourceUnavailableError, match="does not answer"):
        pg_project.run(pg_project.job(**WHOLE))


def test_no_encryption_where_it_is_required(pg, pg_project) -> None:
    assert pg.execute("SHOW ssl").fetchone() == ("off",)
    with pytest.raises(SourceUnavailableError, match="no encrypted connection"):
        pg_project.run(pg_project.job(**WHOLE, options={"ssl": {"mode": "verify-full", "root_certificate": "ca.pem"}}))


def test_an_encrypted_connection_to_a_server_that_is_proved(pg, pg_project, tmp_path, missing) -> None:
    folder = Path(pg.execute("SHOW data_directory").fetchone()[0])
    openssl = shutil.which("openssl")
    if openssl is None:
        missing("no openssl: install it to make certificates")
    for name, subject in (("server", "127.0.0.1"), ("other", "elsewhere")):
        made = [
            openssl,
            "req",
            "-new",
            "-x509",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={subject}",
            "-newkey",
            "rsa:2048",
        ]
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")]
        names = ["-addext", f"subjectAltName=IP:127.0.0.1,DNS:{subject}"]
        subprocess.run([*made, *files, *names], check=True, capture_output=True)
    for suffix in ("crt", "key"):
        shutil.copy(tmp_path / f"server.{suffix}", folder / f"server.{suffix}")
        owner = folder.stat()
        os.chown(folder / f"server.{suffix}", owner.st_uid, owner.st_gid)
        (folder / f"server.{suffix}").chmod(0o600)
    fill(pg, 3)
    pg.execute("ALTER SYSTEM SET ssl = on")
    pg.execute("SELECT pg_reload_conf()")
    try:
        ssl = {"mode": "verify-full", "root_certificate": str(tmp_path / "server.crt")}
        (result,) = pg_project.run(pg_project.job(**WHOLE, options={"ssl": ssl}))
        assert result.rows == 3
        for mode, root in (("verify-ca", tmp_path / "other.crt"), ("verify-full", tmp_path / "missing.crt")):
            job = pg_project.job(**WHOLE, options={"ssl": {"mode": mode, "root_certificate": str(root)}})
            with pytest.raises(SourceUnavailableError, match="no encrypted connection"):
                pg_project.run(job)
    finally:
        pg.execute("ALTER SYSTEM RESET ssl")
        pg.execute("SELECT pg_reload_conf()")


def test_there_is_no_such_database(pg_project) -> None:
    pg_project.connection += "_not"
    with pytest.raises(SourceAccessError, match="no such database"):
        pg_project.run(pg_project.job(**WHOLE))


@pytest.mark.parametrize("cut", [100, 20_000, 300_000])
def test_a_connection_that_breaks_costs_a_run_and_no_row(pg, pg_project, postgres_url, cut) -> None:
    fill(pg, 5000)
    proxy = Proxy((postgres_url.host, postgres_url.port))
    pg_project.connection = pg_project.connection.replace(f":{postgres_url.port}/", f":{proxy.port}/")
    job = pg_project.job(target="raw.t", stream="public.t", cursor="id", options={"ssl": {"mode": "disable"}})
    try:
        proxy.cut_after("down", cut)
        with pytest.raises(SourceUnavailableError):
            pg_project.run(job)
        assert not pg_project.exists("raw.t")
        proxy.heal()
        (result,) = pg_project.run(job)
    finally:
        proxy.close()
    assert result.rows == 5000
    assert len(set(pg_project.table("raw.t")["id"].to_pylist())) == 5000


def open_source(pg_project, **options) -> Sql:
    return Sql.open({"connection": pg_project.connection, **options}, ConnectorContext(root=pg_project.root))


class Nothing:
    position = None


def planned(connector: Sql, cursor: Cursor | None = None):
    mode = WriteMode.REPLACE if cursor is None else WriteMode.APPEND
    (slice_,) = connector.plan(StreamRequest(name="public.t", mode=mode, cursor=cursor), Nothing())
    return slice_


def test_a_server_process_that_is_ended_in_the_midst(pg, pg_project) -> None:
    fill(pg, 20_000, 1000)
    connector = open_source(pg_project)
    reader = connector.read(planned(connector), ReadOptions(batch_rows=100))
    batches = iter(reader)
    next(batches)
    pg.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'lakecat' AND datname = current_database() AND query LIKE 'COPY%'"
    )
    with pytest.raises(SourceUnavailableError, match="broke off"):
        list(batches)
    connector.close()


@pytest.mark.parametrize("cursor", [None, Cursor(column="id")])
@pytest.mark.parametrize(
    "change", ["TRUNCATE t", "ALTER TABLE t ALTER id TYPE bigint", "DROP TABLE t", "ALTER TABLE t DROP v"]
)
def test_a_table_that_is_planned_cannot_be_changed_before_it_is_read(pg, pg_project, change, cursor) -> None:
    """What TRUNCATE and ALTER do is seen by snapshots that were taken before; so they have to wait."""
    fill(pg)
    connector = open_source(pg_project)
    slice_ = planned(connector, cursor)
    pg.execute("SET lock_timeout = '200ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable, match="lock timeout"):
        pg.execute(change)
    rows = sum(batch.num_rows for batch in connector.read(slice_, ReadOptions()))
    connector.close()
    assert rows == 1000
    pg.execute(change)


@pytest.mark.parametrize(
    "change", ["TRUNCATE t", "ALTER TABLE t ALTER id TYPE bigint", "ALTER TABLE t RENAME v TO w", "DROP TABLE t"]
)
def test_a_table_that_changed_after_the_snapshot_is_an_error(pg, pg_project, change) -> None:
    fill(pg)
    pg.execute("CREATE TABLE first (id integer)")
    connector = open_source(pg_project)
    list(connector.plan(StreamRequest(name="public.first", mode=WriteMode.REPLACE), Nothing()))
    pg.execute(change)
    with pytest.raises(SourceChangedError):
        planned(connector)
    # An error of one stream does not cost the others their snapshot.
    list(connector.plan(StreamRequest(name="public.first", mode=WriteMode.REPLACE), Nothing()))
    connector.close()


def test_a_lock_that_somebody_holds_is_not_waited_for_forever(pg, pg_project, pg_connect) -> None:
    fill(pg)
    holder = pg_connect(autocommit=False)
    holder.execute("LOCK TABLE t")
    with pytest.raises(SourceUnavailableError, match="lock"):
        pg_project.run(pg_project.job(**WHOLE, options={"lock_timeout": 1}))


def test_a_statement_that_takes_too_long_is_canceled(pg, pg_project) -> None:
    fill(pg, 10)
    pg.execute("CREATE VIEW slow AS SELECT id, pg_sleep(0.5)::text AS s FROM t")
    job = pg_project.job(**{**WHOLE, "stream": "public.slow"}, options={"statement_timeout": 1})
    with pytest.raises(SourceUnavailableError, match="canceled"):
        pg_project.run(job)


def test_an_error_of_the_query_is_told(pg, pg_project) -> None:
    fill(pg, 10)
    for query, what in (("SELECT 1/(id-5) AS x FROM t", "division by zero"), ("SELECT nope FROM t", "nope")):
        with pytest.raises(SourceError, match=what):
            pg_project.run(pg_project.job(target="raw.t", mode="replace", options={"query": query}))


def test_a_query_cannot_write(pg, pg_project) -> None:
    fill(pg, 1)
    pg.execute("CREATE FUNCTION bump() RETURNS integer LANGUAGE sql AS 'UPDATE t SET v = ''written'' RETURNING id'")
    with pytest.raises(SourceError, match="read-only"):
        pg_project.run(pg_project.job(target="raw.t", mode="replace", options={"query": "SELECT bump() AS id"}))
    for query in ("SELECT 1; DROP TABLE t", "SELECT 1) AS q; DROP TABLE t; SELECT * FROM (SELECT 1"):
        with pytest.raises(SourceError):
            pg_project.run(pg_project.job(target="raw.t", mode="replace", options={"query": query}))
    assert pg.execute("SELECT v FROM t").fetchone() == ("x" * 100,)


def test_fields_of_ten_mebibytes(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v text, b bytea)")
    size = 10 * 2**20
    for number in range(4):
        pg.execute(
            "INSERT INTO t VALUES (%s, repeat('é\n', %s), convert_to(repeat('x', %s), 'UTF8'))",
            [number, size // 3, size],
        )
    (result,) = pg_project.run(pg_project.job(**WHOLE))
    assert result.rows == 4
    table = pg_project.table("raw.t")
    assert {len(value) for value in table["v"].to_pylist()} == {size // 3 * 2}
    assert {bytes(value) == b"x" * size for value in table["b"].to_pylist()} == {True}


def test_text_that_is_no_text_is_told(pg, pg_project, postgres_server, make_sql_project, tmp_path) -> None:
    """A database of encoding SQL_ASCII holds any bytes."""
    name = f"{pg.info.dbname}_ascii"
    pg.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    url = postgres_server.admin.set(database=name)
    try:
        project = make_sql_project(tmp_path / "ascii", url)
        query = "SELECT convert_from('\\xff'::bytea, 'SQL_ASCII') AS v"
        with pytest.raises(SourceError, match="not of the database's encoding"):
            project.run(project.job(target="raw.t", mode="replace", options={"query": query}))
    finally:
        pg.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_where_no_snapshot_can_be_shared_one_connection_reads_all(pg, pg_project, monkeypatch) -> None:
    """As on servers that export none: everything is still of one snapshot."""
    from lakecat_connectors import _sql_postgres_session as session

    def begin(connection, _options) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    monkeypatch.setattr(session, "_begin", begin)
    fill(pg, 3000)
    pg.execute("CREATE TABLE u AS TABLE t")
    job = pg_project.job(target="raw.*", mode="replace", streams=["public.t", "public.u"], options={"splits": 3})
    assert [result.rows for result in pg_project.run(job)] == [3000, 3000]
    growing = pg_project.job("growing", target="raw.grown", stream="public.t", cursor={"column": "id", "lag": 100})
    pg_project.run(growing)
    pg.execute("INSERT INTO t SELECT n, '' FROM generate_series(3001, 9000) n")
    assert [result.rows for result in pg_project.run(growing)] == [6000]
    pg.execute("DELETE FROM t WHERE id > 3000")
    connector = open_source(pg_project, splits=3)
    slice_ = planned(connector)
    assert slice_.splits == ()
    reader = connector.read(slice_, ReadOptions(batch_rows=10))
    batches = iter(reader)
    next(batches)
    pg.execute("DELETE FROM t")
    reader.close()  # in the midst of a COPY
    again = connector.read(slice_, ReadOptions())
    assert sum(batch.num_rows for batch in again) == 3000
    connector.close()


def test_what_is_closed_leaves_no_connection(pg, pg_project) -> None:
    fill(pg, 50_000)
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'lakecat' AND datname = current_database()"
    connector = open_source(pg_project)
    reader = connector.read(planned(connector), ReadOptions(batch_rows=10))
    batches = iter(reader)
    next(batches)
    assert pg.execute(count).fetchone() == (2,)
    reader.close()
    reader.close()
    connector.close()
    connector.close()
    waiting = threading.Event()
    for _ in range(100):
        if pg.execute(count).fetchone() == (0,):
            return
        waiting.wait(0.05)
    pytest.fail("connections are left")


@pytest.mark.parametrize(("cursor", "grown"), [(Cursor(column="id"), False), (Cursor(column="id", lag=5), True)])
def test_another_instance_reads_a_slice_only_as_it_was_planned(pg, pg_project, cursor, grown) -> None:
    fill(pg, 10)
    one, other = open_source(pg_project), open_source(pg_project)
    slice_ = planned(one, cursor)
    one.close()
    if grown:
        pg.execute("UPDATE t SET id = -1 WHERE id = 8")
        with pytest.raises(SourceChangedError, match="plan it again"):
            other.read(slice_, ReadOptions())
    else:
        pg.execute("INSERT INTO t VALUES (11, '')")
        assert sum(batch.num_rows for batch in other.read(slice_, ReadOptions())) == 10
    other.close()
