"""How versions are written in queries, and what they come to mean."""

from datetime import UTC, datetime

import pytest

from lakecat.errors import SelectorError, UsageError
from lakecat.lake.travel import TravelQuery, read_query
from lakecat.types import DatasetName, VersionRef

FLIGHTS = DatasetName("raw", "flights")


def read(sql: str, dialect: str = "duckdb") -> TravelQuery:
    return read_query(sql, dialect=dialect, engine_dialect="duckdb")


def references(sql: str, dialect: str = "duckdb") -> list[VersionRef]:
    return list(read(sql, dialect).relations.values())


@pytest.mark.parametrize(
    "text",
    [
        "raw.flights@v3",
        "raw.flights FOR VERSION AS OF 3",
        "raw.flights FOR VERSION AS OF 3 AS f",
        "raw.flights@v3 f",
        "RAW.Flights@v3",
        'raw."flights"@v3',
        "raw.flights AT (VERSION => 3)",
    ],
)
def test_a_version(text: str) -> None:
    assert references(f"SELECT * FROM {text}") == [VersionRef(FLIGHTS, version=3)]


@pytest.mark.parametrize("dialect", ["snowflake", "bigquery", "spark", "postgres", "trino", "redshift"])
def test_the_same_in_other_dialects(dialect: str) -> None:
    sql = "SELECT count(*) FROM raw.flights@v3 f JOIN raw.flights g ON f.a = g.a"
    assert references(sql, dialect) == [VersionRef(FLIGHTS, version=3), VersionRef(FLIGHTS)]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("@2026-11-01", datetime(2026, 11, 1, 23, 59, 59, 999999, tzinfo=UTC)),
        ("@2026-11-01T12:00:00Z", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        ("@2026-11-01T12:00:00+02:00", datetime(2026, 11, 1, 10, tzinfo=UTC)),
        (" FOR TIMESTAMP AS OF '2026-11-01 12:00:00'", datetime(2026, 11, 1, 12, tzinfo=UTC)),
        (" FOR TIMESTAMP AS OF TIMESTAMP '2026-11-01 12:00:00'", datetime(2026, 11, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_moment(text: str, moment: datetime) -> None:
    assert references(f"SELECT * FROM raw.flights{text}") == [VersionRef(FLIGHTS, as_of=moment)]


def test_a_snapshot_id() -> None:
    assert references("SELECT * FROM raw.flights@123456789012345") == [VersionRef(FLIGHTS, snapshot_id=123456789012345)]


def test_versions_anywhere_in_a_query_and_ctes_are_no_tables() -> None:
    sql = """
        WITH a AS (SELECT * FROM raw.a@v1), b AS (SELECT * FROM a)
        SELECT (SELECT max(x) FROM raw.c@v2) FROM b WHERE x IN (SELECT x FROM raw.a) UNION ALL SELECT 1 FROM raw.a@v3
    """
    found = sorted(str(ref) for ref in references(sql))
    assert found == ["raw.a", "raw.a@v1", "raw.a@v3", "raw.c@v2"]


def test_an_at_in_text_or_before_a_parameter_is_left_alone() -> None:
    found = read("SELECT 'raw.x@v1' AS t, $who AS w FROM raw.flights -- raw.y@v2")
    assert list(found.relations) == [FLIGHTS]
    assert "'raw.x@v1'" in found.sql


@pytest.mark.parametrize("dialect", ["duckdb", "snowflake", "bigquery", "spark", "postgres", "trino", "mysql"])
def test_a_tag(dialect: str) -> None:
    sql = "SELECT f.a FROM raw.flights@prod f JOIN raw.flights@q3-2026.a AS g ON f.a = g.a WHERE f.b > 1 -- @x"
    assert references(sql, dialect) == [VersionRef(FLIGHTS, tag="prod"), VersionRef(FLIGHTS, tag="q3-2026.a")]


def test_a_tag_as_spark_writes_it_and_before_a_comment() -> None:
    assert references("SELECT * FROM raw.flights FOR VERSION AS OF 'prod'") == [VersionRef(FLIGHTS, tag="prod")]
    assert references("SELECT * FROM raw.flights@prod--why\n") == [VersionRef(FLIGHTS, tag="prod")]


def test_the_old_name_still_qualifies_columns() -> None:
    assert 'AS "flights"' in read("SELECT flights.a FROM raw.flights@v1").sql
    assert read("SELECT raw.flights.a FROM raw.flights").sql.count('AS "flights"') == 0


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT * FROM raw.flights@Latest", SelectorError),
        ("SELECT * FROM raw.flights@v0", SelectorError),
        ("SELECT * FROM raw.flights@v1x", SelectorError),
        ("SELECT * FROM raw.flights@2026-13-01", SelectorError),
        ("SELECT * FROM raw.flights FOR TIMESTAMP AS OF now()", SelectorError),
        ("SELECT * FROM flights", SelectorError),
        ("SELECT * FROM a.b.c", SelectorError),
        ("SELECT 1; SELECT 2", UsageError),
        ("DELETE FROM raw.flights", UsageError),
        ("CREATE TABLE a.b AS SELECT 1", UsageError),
        ("", UsageError),
        ("SELECT 'open", UsageError),
        ("SELECT (" * 500, UsageError),
    ],
)
def test_what_is_refused(sql: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(sql)
