"""The slow way by SQLAlchemy (pg8000), for what its drivers hand out oddly, and for databases without a snapshot."""

from __future__ import annotations

from decimal import Decimal

import pytest

from lakecat.connector import Cursor, StreamRequest
from lakecat.errors import ConfigError, ParseError, SourceError
from lakecat.types import WriteMode
from lakecat_connectors import _sql_generic as generic

WHOLE = StreamRequest(name="t", mode=WriteMode.REPLACE)


@pytest.fixture
def landed(postgres_url, make_landed, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(postgres_url.password))
    made = make_landed(postgres_url, password="env:SQL_PASSWORD")
    url = postgres_url.set(drivername="postgresql+pg8000")
    made.options["connection"] = url._replace(password=None).render_as_string()
    return made


@pytest.mark.parametrize(
    ("type_", "text"),
    [("timestamp", "infinity"), ("date", "-infinity"), ("date", "10000-01-01"), ("timestamptz", "0044-01-01 BC")],
)
def test_dates_beyond_the_calendar_are_an_error_or_null(pg, landed, type_, text) -> None:
    pg.execute(f"CREATE TABLE t (id integer PRIMARY KEY, v {type_})")
    pg.execute("INSERT INTO t VALUES (1, %s), (2, '2024-01-01')", [text])
    with pytest.raises(ParseError, match="the row with id = '1'"):
        landed.run(WHOLE)
    landed.options["out_of_range"] = "null"
    assert landed.run(WHOLE) == 2
    assert [row["v"] is None for row in landed.rows] == [True, False]


def test_numbers_that_are_none(pg, landed) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, a numeric, b double precision, c real, d numeric(9, 2))")
    pg.execute("INSERT INTO t VALUES (1, 'NaN', 'NaN', '-Infinity', 1.5)")
    landed.run(WHOLE)
    (row,) = landed.rows
    assert (row["a"], row["b"] != row["b"], row["c"], row["d"]) == ("NaN", True, float("-inf"), Decimal("1.50"))
    pg.execute("UPDATE t SET d = 'NaN'")
    with pytest.raises(ParseError, match="'NaN' does not fit 'd'"):
        landed.run(WHOLE)
    with pytest.raises(SourceError, match="no later row will pass"):
        landed.run(StreamRequest(name="t", cursor=Cursor(column="a")))


def test_what_a_driver_raises_is_told_in_our_words(pg, landed) -> None:
    pg.execute("CREATE TABLE t (v time); INSERT INTO t VALUES ('24:00')")
    with pytest.raises(SourceError, match="the driver failed while reading rows: ValueError"):
        landed.run(WHOLE)


def test_without_a_snapshot_rows_are_appended_only_by_an_edge_that_nobody_can_join(pg, landed, monkeypatch) -> None:
    monkeypatch.setattr(generic, "_SNAPSHOTS", {})
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, at integer)")
    pg.execute("INSERT INTO t VALUES (1, 5), (2, 5), (3, 6)")
    for keys in ({}, {"mode": WriteMode.APPEND, "checkpoint": 1}):
        with pytest.raises(ConfigError, match="not read in one snapshot"):
            landed.run(StreamRequest(name="t", cursor=Cursor(column="at"), **keys))
    assert landed.run(StreamRequest(name="t", cursor=Cursor(column="id"), checkpoint=1)) == 3
    landed.position = None
    landed.options["edge"] = "hold"
    assert landed.run(StreamRequest(name="t", cursor=Cursor(column="at"))) == 2
    with pytest.raises(ConfigError, match="not read in one snapshot"):
        landed.run(StreamRequest(name="t", cursor=Cursor(column="at"), checkpoint=1))
