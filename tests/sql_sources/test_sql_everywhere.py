"""The same behaviour on every database: rows by a cursor come once, whatever is equal, late, NULL, filtered or cut."""

# ruff: noqa: E501

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import psycopg
import pymysql
import pytest
from sqlalchemy.engine import URL

from lakecat.connector import Cursor, Nulls, ReadOptions, StreamRequest
from lakecat.errors import ConfigError, SourceError
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql

LAST = Cursor(column="seq")


class Db:
    """A database whose statements are run and committed one by one, on a connection that is closed again."""

    def __init__(self, kind: str, url: URL, connect) -> None:
        self.kind = kind
        self.url = url
        self.connect = connect

    def run(self, *statements: str) -> None:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)

    def add(self, *rows: tuple[int, object]) -> None:
        """Rows of t: key and cursor."""
        values = ", ".join(f"({key}, {'NULL' if seq is None else seq}, 'v{key}')" for key, seq in rows)
        self.run(f"INSERT INTO t VALUES {values}")

    def type(self, name: str) -> str:
        """A type by the name that it has here."""
        own = {
            "mysql": {"moment": "datetime(6)", "zoned": "timestamp(6)", "double": "double", "text": "varchar(50)"},
            "sqlite": {"moment": "text", "double": "double", "text": "text"},
        }
        return own.get(self.kind, {}).get(
            name, {"moment": "timestamp", "zoned": "timestamptz", "double": "double precision"}.get(name, name)
        )


KINDS = ["mysql", "sqlite", "duckdb", "generic"]  # PostgreSQL has all this and more in a module of its own


@pytest.fixture(params=KINDS)
def db(request, tmp_path, monkeypatch) -> Db:
    kind = request.param
    if kind == "generic":
        url = request.getfixturevalue("postgres_url")
        monkeypatch.setenv("SQL_PASSWORD", str(url.password))
        keys = {
            "host": url.host,
            "port": url.port,
            "dbname": url.database,
            "user": url.username,
            "password": str(url.password),
        }
        return Db(kind, url.set(drivername="postgresql+pg8000"), lambda: psycopg.connect(autocommit=True, **keys))
    if kind == "mysql":
        url = request.getfixturevalue("mariadb_url")
        monkeypatch.setenv("SQL_PASSWORD", str(url.password))
        keys = {
            "host": url.host,
            "port": url.port,
            "database": url.database,
            "user": url.username,
            "password": str(url.password),
        }
        return Db(kind, url, lambda: pymysql.connect(autocommit=True, init_command="SET time_zone = '+00:00'", **keys))
    file = str(tmp_path / f"data.{kind}")
    if kind == "sqlite":
        return Db(kind, URL.create("sqlite", database=file), lambda: sqlite3.connect(file, isolation_level=None))
    return Db(kind, URL.create("duckdb", database=file), lambda: duckdb.connect(file))


@pytest.fixture
def make(db, make_landed):
    def landed(**options):
        if db.url.host:
            options["password"] = "env:SQL_PASSWORD"
        url = db.url.set(drivername="postgresql") if db.kind == "generic" else db.url
        made = make_landed(url, **options)
        if db.kind == "generic":
            made.options["connection"] = db.url._replace(password=None).render_as_string()
        return made

    return landed


@pytest.fixture
def landed(db, make):
    db.run(f"CREATE TABLE t (id integer PRIMARY KEY, seq integer, v {db.type('text')})")
    return make()


def asked(cursor: Cursor | None = LAST, **keys) -> StreamRequest:
    return StreamRequest(**{"name": "t", "cursor": cursor, **keys})


def ids(landed) -> list[int]:
    return sorted(row["id"] for row in landed.rows)


def test_equal_values_at_the_edge_come_once(db, landed) -> None:
    db.add((1, 1), (2, 5), (3, 5))
    assert landed.run(asked()) == 3
    assert landed.run(asked()) == 0
    db.add((4, 5), (5, 5))
    assert landed.run(asked()) == 2
    db.add((6, 5), (7, 6))
    assert landed.run(asked()) == 2
    assert landed.run(asked()) == 0
    assert ids(landed) == [1, 2, 3, 4, 5, 6, 7]
    assert len({slice_.key for slice_ in landed.slices}) == 3


def test_a_lag_finds_what_came_late(db, landed) -> None:
    db.add((1, 5), (2, 10))
    cursor = Cursor(column="seq", lag=4)
    assert landed.run(asked(cursor)) == 2
    db.add((3, 7), (4, 6))
    assert landed.run(asked(cursor)) == 2
    assert landed.run(asked(cursor)) == 0
    assert ids(landed) == [1, 2, 3, 4]


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.MERGE])
def test_null_cursors(db, landed, mode) -> None:
    db.add((1, 1), (2, None))
    request = {"mode": mode, "key": ("id",) if mode is WriteMode.MERGE else ()}
    with pytest.raises(SourceError, match="is NULL"):
        landed.run(asked(**request))
    assert landed.run(asked(Cursor(column="seq", nulls=Nulls.SKIP), **request)) == 1
    including = asked(Cursor(column="seq", nulls=Nulls.INCLUDE), **request)
    assert landed.run(including) == 1
    assert landed.run(including) == 0
    db.add((3, None), (4, 2), (5, None))
    assert landed.run(including) == 3
    assert landed.run(including) == 0
    assert ids(landed) == [1, 2, 3, 4, 5]


def test_start_is_inside_and_end_outside(db, landed) -> None:
    db.add(*((n, n) for n in range(1, 9)))
    cursor = Cursor(column="seq", start=3, end=6)
    assert landed.run(asked(cursor)) == 3
    assert ids(landed) == [3, 4, 5]
    db.add((20, 5), (21, 6))
    assert landed.run(asked(cursor)) == 1


def test_steps_and_checkpoints_can_be_broken_off_at_any_commit(db, landed, make) -> None:
    rows = [(n, n * 7 % 50) for n in range(1, 101)]
    db.add(*rows)
    for request in (asked(Cursor(column="seq", step=10)), asked(checkpoint=25)):
        whole = make()
        assert whole.run(request) == 100
        assert len(whole.slices) > 2
        broken = make()
        for commits in (1, 0, 2):
            broken.run(request, commits=commits)
        broken.run(request)
        assert Counter(row["id"] for row in broken.rows) == Counter(dict.fromkeys(range(1, 101), 1))
        assert broken.run(request) == 0


def test_holding_back_the_greatest_value(db, landed, make) -> None:
    holding = make(edge="hold")
    db.add((1, 1), (2, 1))
    assert holding.run(asked()) == 0
    db.add((3, 2))
    assert holding.run(asked()) == 2
    db.add((4, 2), (5, 3))
    assert holding.run(asked()) == 2
    assert ids(holding) == [1, 2, 3, 4]


def test_a_source_that_was_set_back_is_an_error(db, landed) -> None:
    db.add((1, 1), (2, 9))
    landed.run(asked())
    db.run("DELETE FROM t WHERE id = 2")
    with pytest.raises(SourceError, match="went back from 9 to 1"):
        landed.run(asked())
    db.run("DELETE FROM t")
    assert landed.run(asked()) == 0


def test_a_filter_and_chosen_columns(db, landed, make) -> None:
    db.add((1, 1), (2, 2), (3, 3))
    own = make(where="v <> 'v2' -- not: this one", include=["seq", "v"])
    assert own.run(asked()) == 2
    assert own.rows == [{"seq": 1, "v": "v1"}, {"seq": 3, "v": "v3"}]
    db.add((4, 3))
    assert own.run(asked()) == 1


def test_a_query_is_a_stream(db, make, landed) -> None:
    db.add((1, 1), (2, 2))
    query = make(query="SELECT id, seq, v, ':x 50%' AS text FROM t WHERE v LIKE 'v%' -- all\n;")
    request = StreamRequest(name="q", cursor=LAST)
    if db.kind == "generic":
        with pytest.raises(ConfigError, match="unknown types"):
            query.run(request)
        return
    assert query.run(request) == 2
    assert query.rows[0] == {"id": 1, "seq": 1, "v": "v1", "text": ":x 50%"}
    db.add((3, 2), (4, 3))
    assert query.run(request) == 2
    assert query.run(request) == 0


def test_a_view_is_a_stream(db, make, landed) -> None:
    db.run("CREATE VIEW seen AS SELECT id, seq FROM t WHERE id > 1")
    db.add((1, 1), (2, 2))
    assert landed.run(asked(name="seen")) == 1
    db.add((3, 2))
    assert landed.run(asked(name="seen")) == 1
    assert ids(landed) == [2, 3]


def test_the_whole_table_at_each_run_without_a_cursor(db, landed) -> None:
    db.add((1, 1), (2, 2))
    request = asked(None, mode=WriteMode.MERGE, key=("id",))
    assert landed.run(request) == 2
    assert landed.run(request) == 2
    with pytest.raises(ConfigError, match="append needs cursor"):
        landed.run(asked(None))


@pytest.mark.parametrize("cursor", [None, {"column": "seq", "nulls": "include"}])
def test_rows_that_are_gone_are_deleted(db, landed, tmp_path, make_sql_project, cursor) -> None:
    project = make_sql_project(tmp_path / "project", db.url)
    job = project.job(
        mode="merge", key="id", deletes="absent", target="raw.t", stream="t",
        options={**landed.options, "went_back": "ignore"}, **({"cursor": cursor} if cursor else {}),
    )  # fmt: skip
    db.add((1, 1), (2, 2), (3, None), (4, 4))
    project.run(job)
    db.run("DELETE FROM t WHERE id IN (2, 3)", "INSERT INTO t VALUES (5, 5, 'v5')")
    project.run(job)
    assert sorted(project.table("raw.t")["id"].to_pylist()) == [1, 4, 5]
    db.run("DELETE FROM t WHERE id = 5")
    project.run(job)
    assert sorted(project.table("raw.t")["id"].to_pylist()) == [1, 4]


def test_an_empty_table_is_no_rows_with_types(db, landed) -> None:
    assert landed.run(asked()) == 0
    assert landed.run(asked(None, mode=WriteMode.REPLACE)) == 0
    assert landed.position is None


CURSORS = {
    "bigint": ["-9223372036854775808", "9007199254740993", "9223372036854775807"],
    "decimal(38,10)": ["-0.0000000001", "0.1", "12345678901234567890.0123456789"],
    "double": ["-1e300", "0.1e0", "0.30000000000000004e0"],
    "date": ["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"],
    "moment": ["'1000-01-01 00:00:00.000001'", "'2024-02-29 23:59:59.999999'", "'9999-12-31 00:00:00'"],
    "zoned": [
        "'1990-01-01 00:00:00.000001+00:00'",
        "'2024-02-29 23:59:59.999999+00:00'",
        "'2037-12-31 00:00:00+00:00'",
    ],
    "text": ["''", "'a''b'", "'x\\y %s :z'"],
}


@pytest.mark.parametrize("name", list(CURSORS))
def test_cursors_of_every_type_are_exact(db, make, name) -> None:
    values = CURSORS[name]
    if db.kind == "sqlite" and name in ("decimal(38,10)", "zoned"):
        pytest.skip("SQLite stores decimals as doubles, and has no times")
    if db.kind == "mysql":
        values = [value.replace("+00:00", "").replace("\\", "\\\\") for value in values]
    db.run(f"CREATE TABLE t (id integer PRIMARY KEY, seq {db.type(name)})")
    landed = make()
    for number, value in enumerate(values):
        db.run(f"INSERT INTO t VALUES ({number}, {value})")
        assert landed.run(asked()) == 1
        assert landed.run(asked()) == 0
        db.run(f"INSERT INTO t VALUES ({number + 10}, {value})")
        assert landed.run(asked()) == 1
    assert ids(landed) == [0, 1, 2, 10, 11, 12]
    again = make()
    assert again.run(asked(checkpoint=1)) == 6
    assert len(again.slices) == 3


def test_values_are_what_they_were(db, make) -> None:
    db.run(
        f"CREATE TABLE t (id integer PRIMARY KEY, d decimal(12,3), f {db.type('double')}, day date, s {db.type('text')})",
        "INSERT INTO t VALUES (1, 123456789.125, 0.1, '2024-02-29', '')",
        "INSERT INTO t VALUES (2, NULL, NULL, NULL, NULL)",
    )
    landed = make()
    landed.run(asked(Cursor(column="id")))
    day = "2024-02-29" if db.kind == "sqlite" else date(2024, 2, 29)
    first, second = sorted(landed.rows, key=lambda row: row["id"])
    assert first == {"id": 1, "d": Decimal("123456789.125"), "f": 0.1, "day": day, "s": ""}
    assert second == {"id": 2, "d": None, "f": None, "day": None, "s": None}


def test_quoted_names_are_only_names(db, make) -> None:
    quote = "`" if db.kind == "mysql" else '"'
    name, column = (f"{quote}{text}{quote}" for text in ("select 5%; --", "from :x %s"))
    db.run(f"CREATE TABLE {name} (id integer PRIMARY KEY, {column} integer)", f"INSERT INTO {name} VALUES (1, 2)")
    landed = make()
    assert landed.run(asked(Cursor(column="from :x %s"), name="select 5%; --")) == 1
    assert landed.rows == [{"id": 1, "from :x %s": 2}]


def test_discovery_tells_tables_views_keys_and_types(db, landed, make) -> None:
    db.run("CREATE VIEW seen AS SELECT id, seq FROM t", "CREATE TABLE k (b integer, a integer, PRIMARY KEY (a, b))")
    db.add((1, 1))
    connector = Sql.open(landed.options, landed.context)
    try:
        found = {stream.name.rpartition(".")[2]: stream for stream in connector.discover()}
    finally:
        connector.close()
    assert sorted(found) == ["k", "seen", "t"]
    assert found["k"].key == ("a", "b")
    assert found["t"].key == ("id",)
    assert found["seen"].key == ()
    assert found["t"].schema.names == ["id", "seq", "v"]
    assert "SQL_PASSWORD" not in os.environ or os.environ["SQL_PASSWORD"] not in found["t"].uri
    assert landed.run(asked(name=found["t"].name)) == 1


def test_several_streams_of_one_run_are_of_one_moment(db, landed) -> None:
    if db.kind == "duckdb":
        pytest.skip("nobody can write a DuckDB file that is open")
    db.run("CREATE TABLE u (id integer PRIMARY KEY)")
    if db.kind == "sqlite":
        db.run("PRAGMA journal_mode = WAL")
    db.add((1, 1))
    connector = Sql.open(landed.options, landed.context)
    counts = []
    try:
        for name in ("t", "u"):
            (slice_,) = connector.plan(asked(None, name=name, mode=WriteMode.REPLACE), landed)
            reader = connector.read(slice_, ReadOptions())
            counts.append(sum(batch.num_rows for batch in reader))
            reader.close()
            db.run("INSERT INTO u VALUES (1)" if name == "t" else "INSERT INTO u VALUES (2)")
    finally:
        connector.close()
    assert counts == [1, 0]


def test_a_reader_that_is_closed_in_the_midst_leaves_the_others(db, landed) -> None:
    db.add(*((n, n) for n in range(5000)))
    connector = Sql.open(landed.options, landed.context)
    request = asked(None, mode=WriteMode.REPLACE)
    try:
        (slice_,) = connector.plan(request, landed)
        reader = connector.read(slice_, ReadOptions(batch_rows=600))
        assert next(iter(reader)).num_rows <= 600
        reader.close()
        again = connector.read(slice_, ReadOptions())
        assert sum(batch.num_rows for batch in again) == 5000
    finally:
        connector.close()


def test_moments_with_zone_are_in_utc(db, make) -> None:
    if db.kind == "sqlite":
        pytest.skip("SQLite has no times")
    text = "'2024-07-01 00:00:00'" if db.kind == "mysql" else "'2024-07-01 02:00:00+02:00'"
    db.run(f"CREATE TABLE t (id integer PRIMARY KEY, seq {db.type('zoned')})", f"INSERT INTO t VALUES (1, {text})")
    landed = make()
    landed.run(asked(Cursor(column="seq", start="2024-07-01T02:00:00+02:00", lag=60)))
    assert landed.rows == [{"id": 1, "seq": datetime(2024, 7, 1, tzinfo=UTC)}]
    assert landed.run(asked(Cursor(column="seq", start="2024-07-01T02:00:00+02:00", lag=60))) == 0


def test_a_driver_of_sqlalchemy_that_is_not_installed_is_told(tmp_path, make_landed) -> None:
    other = make_landed(URL.create("mssql+pyodbc", "reader", host="127.0.0.1", database="x"))
    other.options["connection"] = "mssql+pyodbc://reader@127.0.0.1/x"
    with pytest.raises(ConfigError, match=r"mssql\+pyodbc:// is not installed"):
        other.run(asked())
    other.options["connection"] = "postgre://reader@127.0.0.1/x"
    with pytest.raises(ConfigError, match="no source reads postgre://"):
        other.run(asked())
