"""Odd settings, engines, names and cursors on MariaDB: nothing lost, nothing twice, or a clear error."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime

import pymysql
import pytest

from lakecat.connector import Cursor, StreamRequest
from lakecat.errors import ConfigError
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql


@pytest.fixture
def my(mariadb_url, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(mariadb_url.password))
    with (
        closing(
            pymysql.connect(
                host=mariadb_url.host, port=mariadb_url.port, user=mariadb_url.username,
                password=mariadb_url.password, database=mariadb_url.database, charset="utf8mb4", autocommit=True,
            )
        ) as connection,
        connection.cursor() as cursor,
    ):  # fmt: skip
        cursor.execute("SET sql_mode = ''")
        yield cursor


@pytest.fixture
def landed(my, mariadb_url, make_landed):
    return make_landed(mariadb_url, password="env:SQL_PASSWORD")


def asked(cursor: Cursor | None, **keys) -> StreamRequest:
    return StreamRequest(**{"name": "t", "cursor": cursor, **keys})


@pytest.mark.parametrize(
    "mode",
    [
        "PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL,ANSI_QUOTES",
        "NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,HIGH_NOT_PRECEDENCE",
        "ORACLE",
        "TRADITIONAL,NO_UNSIGNED_SUBTRACTION,TIME_ROUND_FRACTIONAL",
    ],
)
def test_values_and_cursors_are_the_same_in_every_mode_of_the_server(my, landed, mode) -> None:
    my.execute("CREATE TABLE t (id int PRIMARY KEY, s varchar(20) CHARACTER SET utf8mb4, c char(5), `q\"'` bit(3))")
    my.execute("INSERT INTO t VALUES (1, '', 'ab', 3), (2, 'a\\'b\\\\c', '', 5)")
    my.execute("SELECT @@global.sql_mode")
    (old,) = my.fetchone()
    my.execute("SET GLOBAL sql_mode = %s", (mode,))
    try:
        assert landed.run(asked(Cursor(column="s", end="a"))) == 1
        assert landed.run(asked(Cursor(column="s"))) == 1
        my.execute("INSERT INTO t VALUES (3, 'a\\'b\\\\c', '', 5)")
        assert landed.run(asked(Cursor(column="s"))) == 1
    finally:
        my.execute("SET GLOBAL sql_mode = %s", (old,))
    assert [tuple(row.values()) for row in landed.rows] == [
        (1, "", "ab", 3),
        (2, "a'b\\c", "", 5),
        (3, "a'b\\c", "", 5),
    ]


@pytest.mark.parametrize("type_", ["timestamp(6) NULL", "datetime", "date"])
def test_zero_dates_are_below_all_others_as_a_cursor(my, landed, type_) -> None:
    my.execute(f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, at {type_})")
    my.execute("INSERT INTO t (at) VALUES (0), ('2024-01-01'), ('2024-01-02')")
    landed.options["out_of_range"] = "null"
    assert landed.run(asked(Cursor(column="at"), checkpoint=1)) == 3
    assert len(landed.slices) == 3
    my.execute("INSERT INTO t (at) VALUES ('2024-01-02')")
    assert landed.run(asked(Cursor(column="at"))) == 1
    assert landed.run(asked(Cursor(column="at"))) == 0
    assert [row["id"] for row in landed.rows] == [1, 2, 3, 4]
    assert landed.rows[0]["at"] is None


@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("bigint unsigned", ["0", "18446744073709551614", "18446744073709551615"]),
        ("bit(64)", ["1", "18446744073709551614", "18446744073709551615"]),
        ("decimal(65, 30)", ["1e-30", "1.000000000000000000000000000001", "1.000000000000000000000000000002"]),
        ("float", ["0.1", "16777216", "1e30"]),
        ("decimal(5, 0) unsigned zerofill", ["0", "5", "99999"]),
        ("varchar(9) CHARACTER SET latin1 COLLATE latin1_german1_ci", ["'a'", "'ä'", "'ß'"]),
        ("varchar(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", ["'A'", "'a'", "'\U0001f408'"]),
        ("char(5)", ["'a'", "'A '", "'b'"]),
        ("inet6", ["'::1'", "'::ffff:1.2.3.4'", "'2001:db8::1'"]),
    ],
)
def test_cursors_of_odd_types(my, landed, type_, values) -> None:
    my.execute(f"CREATE TABLE t (id int AUTO_INCREMENT PRIMARY KEY, at {type_})")
    my.execute(f"INSERT INTO t (at) VALUES ({'), ('.join(values)})")
    assert landed.run(asked(Cursor(column="at"), checkpoint=1)) == 3
    my.execute(f"INSERT INTO t (at) VALUES ({values[-1]})")
    assert landed.run(asked(Cursor(column="at"))) == 1
    assert landed.run(asked(Cursor(column="at"))) == 0
    assert sorted(row["id"] for row in landed.rows) == [1, 2, 3, 4]


def test_columns_that_are_made_hidden_or_versioned(my, landed) -> None:
    my.execute(
        "CREATE TABLE t (id int PRIMARY KEY, hidden int INVISIBLE DEFAULT 7, stored int AS (id * 2) STORED, "
        "made int AS (id * 3) VIRTUAL, mood enum('a,b', 'c''d', 'é', ''), flags set('x y', 'é'), "
        "raw varchar(9) CHARACTER SET latin1, shown double(10, 3), zeros bigint(20) ZEROFILL) WITH SYSTEM VERSIONING"
    )
    my.execute("INSERT INTO t (id, mood, flags, raw, shown, zeros) VALUES (1, 'c''d', 'é,x y', x'8081', 1.5, 5)")
    my.execute("UPDATE t SET shown = 2.125")  # leaves a version behind, which is not read
    assert landed.run(asked(Cursor(column="id"))) == 1
    assert landed.rows[0] == {
        "id": 1, "hidden": 7, "stored": 2, "made": 3, "mood": "c'd", "flags": "x y,é", "raw": "€\x81", "shown": 2.125,
        "zeros": 5,
    }  # fmt: skip


def test_rows_of_an_engine_without_snapshots_are_not_appended_by_an_edge_that_others_can_join(my, landed) -> None:
    my.execute("CREATE TABLE t (id int PRIMARY KEY, at int) ENGINE=MyISAM")
    my.execute("INSERT INTO t VALUES (1, 5), (2, 6)")
    for cursor, keys in ((Cursor(column="at"), {}), (Cursor(column="id", lag=1), {})):
        with pytest.raises(ConfigError, match="not read in one snapshot"):
            landed.run(asked(cursor, **keys))
    assert landed.run(asked(Cursor(column="id"))) == 2
    landed.position = None
    assert landed.run(asked(Cursor(column="at"), mode=WriteMode.MERGE, key=("id",))) == 2
    landed.position, landed.options["edge"] = None, "hold"
    assert landed.run(asked(Cursor(column="at"))) == 1


def test_a_database_whose_name_holds_a_dot(my, landed) -> None:
    my.execute("CREATE DATABASE `x.y`")
    try:
        my.execute("CREATE TABLE `x.y`.`a.b` (id int PRIMARY KEY) SELECT 4 AS id")
        landed.options["connection"] = landed.options["connection"].rpartition("/")[0]
        landed.options["schemas"] = ["x.y"]
        with closing(Sql.open(landed.options, landed.context)) as connector:
            (stream,) = connector.discover()
        assert stream.name == '"x.y".a.b'
        assert landed.run(asked(Cursor(column="id"), name=stream.name)) == 1
    finally:
        my.execute("DROP DATABASE `x.y`")


def test_a_time_of_a_session_in_another_zone_is_the_same_moment(my, landed) -> None:
    """Summer time ends at 01:00 UTC; the server's own zone must not matter."""
    my.execute("SET GLOBAL time_zone = '+05:30'")
    try:
        my.execute("SET time_zone = '+00:00'")
        my.execute("CREATE TABLE t (id int PRIMARY KEY, at timestamp(6) NULL)")
        my.execute("INSERT INTO t VALUES (1, '2024-10-27 00:30:00'), (2, '2024-10-27 01:30:00')")
        assert landed.run(asked(Cursor(column="at", lag=5400, start="2024-10-27T02:30:00+02:00"))) == 2
    finally:
        my.execute("SET GLOBAL time_zone = 'SYSTEM'")
    assert [row["at"] for row in landed.rows] == [datetime(2024, 10, 27, hour, 30, tzinfo=UTC) for hour in (0, 1)]
