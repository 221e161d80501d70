"""Each of PostgreSQL's types arrives as what its documentation says the value is, or is refused."""

# ruff: noqa: DTZ001, E501, Q003 - a table of values, and times without zone are meant

from __future__ import annotations

import contextlib
import math
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from uuid import UUID

import psycopg
import pyarrow as pa
import pytest

from lakecat.connector import ConnectorContext, ReadOptions, StreamRequest
from lakecat.errors import ParseError
from lakecat.types import WriteMode
from lakecat_connectors import _sql_postgres_session as session
from lakecat_connectors.sql import Sql

STRING = pa.large_string()
D = Decimal
# A column's definition, the literals put in (None: NULL), the Arrow type that the table gives, and the values.
CASES = {
    "smallint": ("smallint", ["-32768", "32767"], pa.int32(), [-32768, 32767]),
    "integer": ("integer", ["-2147483648", "2147483647"], pa.int32(), [-(2**31), 2**31 - 1]),
    "bigint": ("bigint", ["-9223372036854775808", "9007199254740993"], pa.int64(), [-(2**63), 2**53 + 1]),
    "oid": ("oid", ["0", "4294967295"], pa.int64(), [0, 2**32 - 1]),
    "xid8": ("xid8", ["0", "18446744073709551615"], pa.decimal128(20, 0), [D(0), D(2**64 - 1)]),
    "real": ("real", ["1e-45", "NaN"], pa.float32(), [2**-149, "nan"]),
    "real_inf": ("real", ["3.4028235e38", "-Infinity"], pa.float32(), [(2 - 2**-23) * 2.0**127, -math.inf]),
    "double": ("double precision", ["0.1", "1e-310"], pa.float64(), [0.1, 1e-310]),
    "double_nan": ("double precision", ["NaN", "Infinity"], pa.float64(), ["nan", math.inf]),
    "numeric_p_s": ("numeric(15,2)", ["9999999999999.99", "-0.01"], pa.decimal128(15, 2), [D("9999999999999.99"), D("-0.01")]),
    "numeric_38": ("numeric(38,10)", ["1234567890123456789012345678.0123456789", "0"], pa.decimal128(38, 10), [D("1234567890123456789012345678.0123456789"), D(0)]),
    "numeric_39": ("numeric(39,1)", ["12345678901234567890123456789012345678.9", "1"], STRING, ["12345678901234567890123456789012345678.9", "1.0"]),
    "numeric_negative_scale": ("numeric(3,-2)", ["12345", "-99900"], pa.decimal128(5, 0), [D(12300), D(-99900)]),
    "numeric_all_scale": ("numeric(3,5)", ["0.00999", "-0.00001"], pa.decimal128(5, 5), [D("0.00999"), D("-0.00001")]),
    "numeric": ("numeric", ["12345678901234567890123456789012345678901234567890.123", "NaN"], STRING, ["12345678901234567890123456789012345678901234567890.123", "NaN"]),
    "money": ("money", ["92233720368547758.07", "-1.50"], pa.decimal128(19, 2), [D("92233720368547758.07"), D("-1.50")]),
    "boolean": ("boolean", ["true", "false"], pa.bool_(), [True, False]),
    "text": ("text", ["", "a\\N\n\r\n\t\"q\",\\.é漢😀"], STRING, ["", "a\\N\n\r\n\t\"q\",\\.é漢😀"]),
    "text_null_like": ("text", ["\\N", "NULL"], STRING, ["\\N", "NULL"]),
    "text_spaces": ("text", ["  a ", "\r"], STRING, ["  a ", "\r"]),
    "varchar": ("varchar(5)", ["abc", "e  "], STRING, ["abc", "e  "]),
    "char": ("char(5)", ["abc", ""], STRING, ["abc  ", "     "]),
    "name": ("name", ["n", ""], STRING, ["n", ""]),
    "single": ('"char"', ["x", ""], STRING, ["x", ""]),
    "bytea": ("bytea", ["\\x00ff0a", "\\x"], pa.large_binary(), [b"\x00\xff\n", b""]),
    "date": ("date", ["0001-01-01", "9999-12-31"], pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "timestamp": ("timestamp", ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"], pa.timestamp("us"), [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    "timestamptz": ("timestamptz", ["2024-03-31 02:30:00+05:30", "1900-01-01 00:00:00.000001+00"], pa.timestamp("us", "UTC"), [datetime(2024, 3, 30, 21, 0, tzinfo=UTC), datetime(1900, 1, 1, 0, 0, 0, 1, tzinfo=UTC)]),
    "timestamp_0": ("timestamp(0)", ["2024-01-01 00:00:00.4", "1969-12-31 23:59:59"], pa.timestamp("us"), [datetime(2024, 1, 1), datetime(1969, 12, 31, 23, 59, 59)]),
    "time": ("time", ["00:00:00", "23:59:59.999999"], pa.time64("us"), [time(), time(23, 59, 59, 999999)]),
    "timetz": ("timetz", ["12:00:00+05:30", "24:00:00-08"], STRING, ["12:00:00+05:30", "24:00:00-08"]),
    "interval": ("interval", ["1 year 2 mons 3 days 04:05:06.7", "-1 day"], STRING, ["P1Y2M3DT4H5M6.7S", "P-1D"]),
    "uuid": ("uuid", ["00112233-4455-6677-8899-aabbccddeeff", "ffffffff-ffff-ffff-ffff-ffffffffffff"], pa.uuid(), [UUID("00112233-4455-6677-8899-aabbccddeeff"), UUID(int=2**128 - 1)]),
    "json": ("json", ['{"a": 1,  "a": 2}', "null"], STRING, ['{"a": 1,  "a": 2}', "null"]),
    "jsonb": ("jsonb", ['{"b":1,"a":1.10}', '"x"'], STRING, ['{"a": 1.10, "b": 1}', '"x"']),
    "xml": ("xml", ["<a>&amp;</a>", "<b/>"], STRING, ["<a>&amp;</a>", "<b/>"]),
    "inet": ("inet", ["192.168.0.1/24", "::1"], STRING, ["192.168.0.1/24", "::1"]),
    "cidr": ("cidr", ["10.0.0.0/8", "2001:db8::/32"], STRING, ["10.0.0.0/8", "2001:db8::/32"]),
    "macaddr": ("macaddr", ["08:00:2b:01:02:03", "00:00:00:00:00:00"], STRING, ["08:00:2b:01:02:03", "00:00:00:00:00:00"]),
    "bit": ("bit(3)", ["101", "000"], STRING, ["101", "000"]),
    "varbit": ("bit varying", ["1", ""], STRING, ["1", ""]),
    "enum": ("mood", ["sad", "very happy"], STRING, ["sad", "very happy"]),
    "domain": ("posint", ["1", "7"], pa.int32(), [1, 7]),
    "domain_numeric": ("price", ["1.5", "99999999.9999"], pa.decimal128(12, 4), [D("1.5000"), D("99999999.9999")]),
    "composite": ("pair", ['(1,"a b")', "(,)"], STRING, ['(1,"a b")', "(,)"]),
    "range": ("int4range", ["[1,5)", "empty"], STRING, ["[1,5)", "empty"]),
    "tsrange": ("tsrange", ["[2024-01-01,)", "empty"], STRING, ['["2024-01-01 00:00:00",)', "empty"]),
    "point": ("point", ["(1,2.5)", "(0,0)"], STRING, ["(1,2.5)", "(0,0)"]),
    "tsvector": ("tsvector", ["a:1 b:2", ""], STRING, ["'a':1 'b':2", ""]),
    "pg_lsn": ("pg_lsn", ["0/16B3748", "0/0"], STRING, ["0/16B3748", "0/0"]),
    "hstore": ("hstore", ["a=>1,b=>NULL", ""], STRING, ['"a"=>"1", "b"=>NULL', ""]),
    "ints": ("integer[]", ["{1,NULL,-3}", "{}"], pa.large_list(pa.int32()), [[1, None, -3], []]),
    "ints_2": ("integer[][]", ["{{1,2},{3,NULL}}", "{}"], pa.large_list(pa.large_list(pa.int32())), [[[1, 2], [3, None]], []]),
    "numerics": ("numeric(20,3)[]", ["{12345678901234567.891,0}", "{NULL}"], pa.large_list(pa.decimal128(20, 3)), [[D("12345678901234567.891"), D("0.000")], [None]]),
    "texts": ("text[]", ['{"a,b","",NULL,"NULL","q\\"\\\\"}', '{"x\n"}'], pa.large_list(STRING), [["a,b", "", None, "NULL", 'q"\\'], ["x\n"]]),
    "chars": ("char(3)[]", ["{a,bc}", "{}"], pa.large_list(STRING), [["a  ", "bc "], []]),
    "doubles": ("double precision[]", ["{NaN,0.1,-Infinity}", "{}"], pa.large_list(pa.float64()), [["nan", 0.1, -math.inf], []]),
    "booleans": ("boolean[]", ["{t,f,NULL}", "{}"], pa.large_list(pa.bool_()), [[True, False, None], []]),
    "moments": ("timestamptz[]", ['{"2024-01-01 00:00:00+01"}', "{}"], pa.large_list(pa.timestamp("us", "UTC")), [[datetime(2023, 12, 31, 23, tzinfo=UTC)], []]),
    "times": ("time[]", ["{12:30:00.5}", "{}"], pa.large_list(pa.time64("us")), [[time(12, 30, 0, 500000)], []]),
    "days": ("date[]", ["{2024-02-29}", "{}"], pa.large_list(pa.date32()), [[date(2024, 2, 29)], []]),
    "bytes": ("bytea[]", ['{"\\\\x00ff"}', "{}"], pa.large_list(pa.large_binary()), [[b"\x00\xff"], []]),
    "jsons": ("jsonb[]", ['{"{\\"a\\": 1}"}', "{}"], pa.large_list(STRING), [['{"a": 1}'], []]),
    "enums": ("mood[]", ['{sad,"very happy"}', "{}"], pa.large_list(STRING), [["sad", "very happy"], []]),
    "uuids": ("uuid[]", ["{00112233-4455-6677-8899-aabbccddeeff,NULL}", "{}"], pa.large_list(STRING), [["00112233-4455-6677-8899-aabbccddeeff", None], []]),
    "monies": ("money[]", ["{1.50}", "{}"], STRING, ["{$1.50}", "{}"]),
    "domain_list": ("ints", ["{1,2}", "{}"], pa.large_list(pa.int32()), [[1, 2], []]),
    "bounded_list": ("integer[]", ["[2:3]={7,8}", "{}"], pa.large_list(pa.int32()), [[7, 8], []]),
}  # fmt: skip
TYPES = """
CREATE TYPE mood AS ENUM ('sad','ok','very happy');
CREATE DOMAIN posint AS integer CHECK (VALUE > 0);
CREATE DOMAIN price AS numeric(12,4);
CREATE DOMAIN ints AS integer[];
CREATE TYPE pair AS (a int, b text);
"""


def seen(value: object) -> object:
    """NaN equals itself here."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return [seen(part) for part in value] if isinstance(value, list) else value


def make(pg, cases) -> None:
    """A table with one column for each case: two rows of values and one of NULLs."""
    columns = ", ".join(f'"{name}" {case[0]}' for name, case in cases.items())
    pg.execute(f"CREATE TABLE t (id integer PRIMARY KEY, {columns})")
    for number in (0, 1):
        values = [case[1][number] for case in cases.values()]
        pg.execute(f"INSERT INTO t VALUES ({number}, {', '.join(['%s'] * len(values))})", values)
    pg.execute("INSERT INTO t (id) VALUES (2)")


@pytest.fixture
def cases(pg):
    """Those that this server has; some are built without a library."""
    found = dict(CASES)
    pg.execute(TYPES)
    if pg.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'hstore'").fetchone():
        pg.execute("CREATE EXTENSION hstore")
    else:
        del found["hstore"]
    if pg.info.server_version < 150000:
        del found["numeric_negative_scale"], found["numeric_all_scale"]
    with contextlib.suppress(psycopg.errors.FeatureNotSupported):
        pg.execute("SELECT '<a/>'::xml")
        return found
    del found["xml"]
    return found


HOSTILE = {
    "timezone": "Asia/Kolkata",
    "datestyle": "SQL, DMY",
    "intervalstyle": "postgres_verbose",
    "extra_float_digits": "-15",
    "bytea_output": "escape",
    "standard_conforming_strings": "off",
    "client_encoding": "LATIN1",
    "statement_timeout": "1",
    "search_path": "nowhere",
    "default_transaction_isolation": "serializable",
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("settings", [{}, HOSTILE], ids=["default", "hostile"])
def test_every_type_is_exact_whatever_the_database_is_set_to(
    pg, pg_project, cases, settings, pooled, monkeypatch
) -> None:
    if pooled:  # a pooler gives each transaction another session
        connect = session.connect

        def connect_anew(options):
            connection = connect(options)
            connection.execute("RESET ALL")
            return connection

        monkeypatch.setattr(session, "connect", connect_anew)
    make(pg, cases)
    for name, value in settings.items():
        pg.execute(f"ALTER DATABASE {pg.info.dbname} SET {name} = '{value}'")
    (result,) = pg_project.run(pg_project.job(mode="replace", target="raw.t", stream="public.t"))
    assert result.rows == 3
    table = pg_project.table("raw.t").sort_by("id")
    wrong_types = {
        name: str(table.schema.field(name).type)
        for name, case in cases.items()
        if table.schema.field(name).type != case[2]
    }
    assert wrong_types == {}
    got = {name: seen(table.column(name).to_pylist()) for name in cases}
    assert got == {name: [*case[3], None] for name, case in cases.items()}


def test_every_type_survives_a_merge(pg, pg_project, cases) -> None:
    make(pg, cases)
    job = pg_project.job(mode="merge", target="raw.t", stream="public.t")
    pg_project.run(job)
    first = next(iter(cases))
    pg.execute(f'UPDATE t SET "{first}" = NULL WHERE id = 1')
    pg_project.run(job)
    table = pg_project.table("raw.t").sort_by("id")
    expected = {name: [*case[3], None] for name, case in cases.items()}
    expected[first] = [expected[first][0], None, None]
    assert {name: seen(table.column(name).to_pylist()) for name in cases} == expected


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("numeric(10,2)", "NaN"),
        ("timestamp", "infinity"),
        ("timestamp", "0044-03-15 BC"),
        ("timestamptz", "10000-01-01 00:00:00+00"),
        ("timestamptz", "-infinity"),
        ("date", "10000-01-01"),
        ("date", "-infinity"),
        ("date", "0001-12-31 BC"),
        ("time", "24:00:00"),
        ("timestamp[]", "{infinity}"),
        ("integer[]", "{{1},{2}}"),
        ("numeric(10,2)[]", "{NaN}"),
    ],
)
def test_a_value_that_no_column_holds_is_an_error_that_names_the_row(pg, pg_project, type_, text) -> None:
    pg.execute(f"CREATE TABLE t (id integer PRIMARY KEY, v {type_})")
    pg.execute("INSERT INTO t VALUES (1, NULL), (7, %s), (9, NULL)", [text])
    connector = Sql.open({"connection": pg_project.connection}, ConnectorContext(root=pg_project.root))
    with closing(connector):
        (slice_,) = connector.plan(StreamRequest(name="public.t", mode=WriteMode.REPLACE), None)
        with pytest.raises(ParseError) as caught:
            list(connector.read(slice_, ReadOptions()))
        assert "the row with id = '7'" in caught.value.what
        assert caught.value.where is not None
        assert caught.value.where.column == "v"
        reader = connector.read(slice_, ReadOptions(rejects=1))
        assert [row["id"] for batch in reader for row in batch.to_pylist()] == [1, 9]
        assert reader.summary().rejected.num_rows == 1


def test_rows_that_no_column_holds_are_set_aside(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, v numeric(9,2), w date)")
    pg.execute("INSERT INTO t VALUES (1, 'NaN', 'infinity'), (2, 2, '2024-01-01'), (3, 3, '-infinity')")
    keys = {"mode": "replace", "target": "raw.t", "stream": "public.t"}
    with pytest.raises(ParseError):
        pg_project.run(pg_project.job(**keys))
    assert not pg_project.exists("raw.t")
    (result,) = pg_project.run(pg_project.job(**keys, quarantine=True))
    assert (result.rows, result.rejected) == (1, 2)
    assert pg_project.rows("raw.t") == {(2, D("2.00"), date(2024, 1, 1)): 1}
    aside = pg_project.table("raw.t_quarantine").sort_by("text").to_pylist()
    assert [(row["column"], row["text"]) for row in aside] == [
        ("v", '{"id": "1", "v": "NaN", "w": "infinity"}'),
        ("w", '{"id": "3", "v": "3.00", "w": "-infinity"}'),
    ]


def test_dates_beyond_the_calendar_are_null_where_the_job_says_so(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (id integer PRIMARY KEY, a timestamp, b timestamptz, c date, d time, e numeric(5,1))")
    pg.execute(
        "INSERT INTO t VALUES (1, 'infinity', '0044-03-15 00:00:00 BC', '10000-01-01', '24:00:00', 1),"
        "(2, '2024-01-01', '2024-01-01', '2024-01-01', '12:00', 2)"
    )
    job = pg_project.job(mode="replace", target="raw.t", stream="public.t", options={"out_of_range": "null"})
    pg_project.run(job)
    day = datetime(2024, 1, 1)
    assert pg_project.rows("raw.t") == {
        (1, None, None, None, None, D("1.0")): 1,
        (2, day, day.replace(tzinfo=UTC), day.date(), time(12), D("2.0")): 1,
    }
    pg.execute("INSERT INTO t VALUES (3, NULL, NULL, NULL, NULL, 'NaN')")
    with pytest.raises(ParseError):
        pg_project.run(job)


def test_policies_choose_other_types(pg, pg_project) -> None:
    pg.execute("CREATE TABLE t (n numeric, i interval, u uuid, s text)")
    uuid = "00112233-4455-6677-8899-aabbccddeeff"
    pg.execute("INSERT INTO t VALUES (1234567890123456789.5, '-1 year 2 mons -3 days +04:05:06.7', %s, '17')", [uuid])
    pg.execute("INSERT INTO t VALUES (NULL, NULL, NULL, NULL), (0, '100 hours', %s, '-1')", [uuid])
    options = {"numeric": "decimal(38, 3)", "interval": "struct", "uuid": "string"}
    job = pg_project.job(mode="replace", target="raw.t", stream="public.t", options=options, columns={"s": "long"})
    pg_project.run(job)
    rows = pg_project.table("raw.t").to_pylist()
    assert rows[0]["n"] == D("1234567890123456789.500")
    # months, days and microseconds have signs of their own in PostgreSQL
    micros = ((4 * 60 + 5) * 60 + 6) * 1_000_000 + 700_000
    assert rows[0]["i"] == {"months": -10, "days": -3, "microseconds": micros}
    assert rows[2]["i"] == {"months": 0, "days": 0, "microseconds": 360_000_000_000}
    assert [row["u"] for row in rows] == [uuid, None, uuid]
    assert [row["s"] for row in rows] == [17, None, -1]
    pg.execute("INSERT INTO t VALUES (0.0001, NULL, NULL, NULL)")
    with pytest.raises(ParseError, match=r"0\.0001"):
        pg_project.run(job)


def test_an_interval_without_end_has_no_parts(pg, pg_project) -> None:
    if pg.info.server_version < 170000:
        pytest.skip("this version has no infinite intervals")
    pg.execute(
        "CREATE TABLE t (id integer PRIMARY KEY, i interval); INSERT INTO t VALUES (1, '1 day'), (2, 'infinity')"
    )
    keys = {"mode": "replace", "target": "raw.t", "stream": "public.t"}
    pg_project.run(pg_project.job(**keys))
    assert pg_project.rows("raw.t") == {(1, "P1D"): 1, (2, "infinity"): 1}
    job = pg_project.job(**{**keys, "target": "raw.u"}, options={"interval": "struct"}, quarantine=True)
    (result,) = pg_project.run(job)
    assert (result.rows, result.rejected) == (1, 1)
