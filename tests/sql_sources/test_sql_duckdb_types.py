"""Every type of DuckDB, with values from the edges that its documentation gives ("Data Types")."""

# ruff: noqa: DTZ001, E501 - a table of values, and times without zone are meant

from __future__ import annotations

import math
import struct
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest
from pyarrow import parquet
from sqlalchemy.engine import URL

from lakecat.errors import ParseError, SourceError, SourceUnavailableError

STRING = pa.large_string()
D = Decimal
BYTES = pa.large_binary()
MOMENT = pa.timestamp("us")
POINT = struct.pack("<BIdd", 1, 1, 1.5, -2.0)
INTERVAL = pa.struct([("months", pa.int32()), ("days", pa.int32()), ("microseconds", pa.int64())])
ID = "00112233-4455-6677-8899-aabbccddeeff"

# name: column's type, values as SQL, Arrow type in the table, values expected
CASES: dict[str, tuple[str, list[str], pa.DataType, list[Any]]] = {
    "flag": ("BOOLEAN", ["true", "false"], pa.bool_(), [True, False]),
    "tiny": ("TINYINT", ["-128", "127"], pa.int32(), [-128, 127]),
    "small": ("SMALLINT", ["-32768", "32767"], pa.int32(), [-32768, 32767]),
    "int_": ("INTEGER", ["-2147483648", "2147483647"], pa.int32(), [-(2**31), 2**31 - 1]),
    "big": ("BIGINT", ["-9223372036854775808", "9223372036854775807"], pa.int64(), [-(2**63), 2**63 - 1]),
    "utiny": ("UTINYINT", ["0", "255"], pa.int32(), [0, 255]),
    "usmall": ("USMALLINT", ["0", "65535"], pa.int32(), [0, 65535]),
    "uint": ("UINTEGER", ["0", "4294967295"], pa.int64(), [0, 2**32 - 1]),
    "ubig": ("UBIGINT", ["0", "18446744073709551615"], pa.decimal128(20, 0), [D(0), D(2**64 - 1)]),
    "huge": ("HUGEINT", ["-170141183460469231731687303715884105728", "170141183460469231731687303715884105727"], STRING, [str(-(2**127)), str(2**127 - 1)]),
    "uhuge": ("UHUGEINT", ["0", "340282366920938463463374607431768211455"], STRING, ["0", str(2**128 - 1)]),
    "bignum_": ("BIGNUM", ["'123456789012345678901234567890123456789012345'::BIGNUM", "(-5)::BIGNUM"], STRING, ["123456789012345678901234567890123456789012345", "-5"]),
    "dec": ("DECIMAL(38,10)", ["'-1234567890123456789012345678.0123456789'", "0.0000000001"], pa.decimal128(38, 10), [D("-1234567890123456789012345678.0123456789"), D("0.0000000001")]),
    "dec_small": ("DECIMAL(4,1)", ["999.9", "-0.1"], pa.decimal128(4, 1), [D("999.9"), D("-0.1")]),
    "single": ("FLOAT", ["'nan'", "16777217"], pa.float32(), ["nan", 16777216.0]),
    "double_": ("DOUBLE", ["'-inf'", "0.30000000000000004"], pa.float64(), [-math.inf, 0.30000000000000004]),
    "text_": ("VARCHAR", ["''", "'a\nb ünï \U0001f408'"], STRING, ["", "a\nb ünï \U0001f408"]),
    "blob_": ("BLOB", ["''", "'\\x00\\xFF'"], BYTES, [b"", b"\x00\xff"]),
    "day": ("DATE", ["'0001-01-01'", "'9999-12-31'"], pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "clock": ("TIME", ["'00:00:00.000001'", "'23:59:59.999999'"], pa.time64("us"), [time(0, 0, 0, 1), time(23, 59, 59, 999999)]),
    "clock_ns": ("TIME_NS", ["'00:00:00.000001'", "'23:59:59.999999'"], pa.time64("us"), [time(0, 0, 0, 1), time(23, 59, 59, 999999)]),
    "clock_tz": ("TIME WITH TIME ZONE", ["'12:00:00.5+02:30:15'", "'00:00:00-15:59:59'"], STRING, ["12:00:00.5+02:30:15", "00:00:00-15:59:59"]),
    "moment": ("TIMESTAMP", ["'0001-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"], MOMENT, [datetime(1, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    "moment_s": ("TIMESTAMP_S", ["'1969-12-31 23:59:59'", "'9999-12-31 23:59:59'"], MOMENT, [datetime(1969, 12, 31, 23, 59, 59), datetime(9999, 12, 31, 23, 59, 59)]),
    "moment_ms": ("TIMESTAMP_MS", ["'1969-12-31 23:59:59.999'", "'2024-01-01'"], MOMENT, [datetime(1969, 12, 31, 23, 59, 59, 999000), datetime(2024, 1, 1)]),
    "moment_ns": ("TIMESTAMP_NS", ["'2024-01-01 00:00:00.123456'", "'1700-01-01'"], MOMENT, [datetime(2024, 1, 1, 0, 0, 0, 123456), datetime(1700, 1, 1)]),
    "moment_tz": ("TIMESTAMP WITH TIME ZONE", ["'2024-07-01 02:00:00+02'", "'9999-12-31 23:59:59.999999+00'"], pa.timestamp("us", "UTC"), [datetime(2024, 7, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]),
    "span": ("INTERVAL", ["INTERVAL '1 year 2 months -3 days' + INTERVAL '4 hours 5 minutes 6.789 seconds'", "INTERVAL '0 seconds'"], STRING, ["P1Y2M-3DT4H5M6.789S", "PT0S"]),
    "back": ("INTERVAL", ["INTERVAL '-14 months'", "INTERVAL '-90.5 seconds'"], STRING, ["P-1Y-2M", "PT-1M-30.5S"]),
    "ident": ("UUID", [f"'{ID}'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"], pa.uuid(), [UUID(ID), UUID("f" * 32)]),
    "bits": ("BIT", ["'101'", "'0000000011111111'"], STRING, ["101", "0000000011111111"]),
    "mood": ("ENUM('sad','very happy')", ["'very happy'", "'sad'"], STRING, ["very happy", "sad"]),
    "document": ("JSON", ['\'{"b": 1.0, "a": [1, null]}\'', "'null'"], STRING, ['{"b": 1.0, "a": [1, null]}', "null"]),
    "shape": ("GEOMETRY", ["'POINT(1.5 -2)'", "'POINT(1.5 -2)'"], BYTES, [POINT, POINT]),
    "anything": ("VARIANT", ["[1, 2]::VARIANT", "'x'::VARIANT"], STRING, ["[1,2]", '"x"']),
    "either": ("UNION(num INTEGER, str VARCHAR)", ["union_value(num := 2)", "union_value(str := 'a')"], STRING, ['{"num":2}', '{"str":"a"}']),
    "list_": ("INTEGER[]", ["[1, NULL, 3]", "[]"], pa.large_list(pa.int32()), [[1, None, 3], []]),
    "nested": ("VARCHAR[][]", ["[['a'], [], NULL]", "[['b', 'c']]"], pa.large_list(pa.large_list(STRING)), [[["a"], [], None], [["b", "c"]]]),
    "idents": ("UUID[]", [f"['{ID}', NULL]", "[]"], pa.large_list(STRING), [[ID, None], []]),
    "array_": ("DOUBLE[2]", ["[1.5, 2.5]", "[NULL, 0]"], pa.large_list(pa.float64()), [[1.5, 2.5], [None, 0.0]]),
    "struct_": ("STRUCT(a HUGEINT, b INTERVAL[])", ["{'a': 170141183460469231731687303715884105727::HUGEINT, 'b': [INTERVAL '1 day', NULL]}", "{'a': NULL, 'b': NULL}"], pa.struct([("a", STRING), ("b", pa.large_list(STRING))]), [{"a": str(2**127 - 1), "b": ["P1D", None]}, {"a": None, "b": None}]),
    "map_": ("MAP(VARCHAR, DATE)", ["MAP {'x': '2024-02-29'::DATE, 'y': NULL}", "MAP {}"], pa.map_(STRING, pa.date32()), [[("x", date(2024, 2, 29)), ("y", None)], []]),
    "deep": ("STRUCT(k BIT, t TIMETZ, m MAP(INTEGER, UBIGINT[]))[]", ["[{'k': '11'::BIT, 't': '01:00:00+01'::TIMETZ, 'm': MAP {1: [18446744073709551615]}}]", "[NULL]"], pa.large_list(pa.struct([("k", STRING), ("t", STRING), ("m", pa.map_(pa.int32(), pa.large_list(pa.decimal128(20, 0))))])), [[{"k": "11", "t": "01:00:00+01", "m": [(1, [D(2**64 - 1)])]}], [None]]),
}  # fmt: skip


@pytest.fixture
def duck_project(tmp_path, make_sql_project):
    return make_sql_project(tmp_path / "project", URL.create("duckdb", database="data.duckdb"))


@pytest.fixture
def run(duck_project):
    """Run statements in the file, and close it."""

    def execute(*statements: str) -> None:
        with closing(duckdb.connect(str(duck_project.root / "data.duckdb"))) as connection:
            for statement in statements:
                connection.execute(statement)

    return execute


def load(project, **keys):
    return project.run(project.job(**{"mode": "replace", "target": "raw.t", "stream": "t", **keys}))


def seen(value: object) -> object:
    """NaN equals itself here."""
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("source", ["table", "query"])
def test_every_type_is_exact(duck_project, run, source) -> None:
    columns = ", ".join(f'"{name}" {case[0]}' for name, case in CASES.items())
    values = [", ".join(case[1][number] for case in CASES.values()) for number in (0, 1)]
    run(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})",
        f"INSERT INTO t VALUES (0, {values[0]})",
        f"INSERT INTO t VALUES (1, {values[1]})",
        "INSERT INTO t (id) VALUES (2)",
    )
    keys = {"stream": None, "options": {"query": "SELECT * FROM t -- all of it\n;"}} if source == "query" else {}
    (result,) = load(duck_project, **keys)
    assert result.rows == 3
    table = duck_project.table("raw.t").sort_by("id")
    wrong = {n: str(table.schema.field(n).type) for n, case in CASES.items() if table.schema.field(n).type != case[2]}
    assert wrong == {}
    (file,) = (duck_project.root / "lake").rglob("*.parquet")
    stored = parquet.read_table(file).sort_by("id")
    got = {name: [seen(value) for value in stored.column(name).to_pylist()] for name in CASES if name != "ident"}
    got["ident"] = table.column("ident").to_pylist()
    assert got == {name: [*case[3], None] for name, case in CASES.items()}


def test_policies_choose_other_types(duck_project, run) -> None:
    run(
        "CREATE TABLE t (id INTEGER, h HUGEINT, u UUID, i INTERVAL, l HUGEINT[])",
        f"INSERT INTO t VALUES (1, 7, '{ID}', INTERVAL '-14 months -3 days 2.5 seconds', [8])",
    )
    load(duck_project, options={"numeric": "decimal(38,0)", "uuid": "string", "interval": "struct"})
    table = duck_project.table("raw.t")
    assert table.schema.field("i").type == INTERVAL
    (row,) = table.to_pylist()
    span = {"months": -14, "days": -3, "microseconds": 2_500_000}
    assert row == {"id": 1, "h": D(7), "u": ID, "i": span, "l": [D(8)]}


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("DATE", "infinity"),
        ("DATE", "-infinity"),
        ("DATE", "10000-01-01"),
        ("DATE", "0001-12-31 (BC)"),
        ("TIMESTAMP", "infinity"),
        ("TIMESTAMP", "10000-01-01"),
        ("TIMESTAMP", "0044-03-15 (BC) 00:00:00"),
        ("TIMESTAMP_S", "infinity"),
        ("TIMESTAMP_MS", "-infinity"),
        ("TIMESTAMP_NS", "infinity"),
        ("TIMESTAMP WITH TIME ZONE", "-infinity"),
        ("TIME", "24:00:00"),
        ("TIMESTAMP_NS", "2024-01-01 00:00:00.123456789"),
        ("DATE[]", "[infinity]"),
    ],
)
def test_a_value_that_no_column_holds_is_an_error_or_set_aside(duck_project, run, type_, text) -> None:
    run(
        f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {type_})",
        f"INSERT INTO t VALUES (1, NULL), (7, '{text}'), (9, NULL)",
    )
    with pytest.raises(ParseError) as caught:
        load(duck_project)
    assert "the row with id = '7'" in caught.value.what
    assert not duck_project.exists("raw.t")
    (result,) = load(duck_project, quarantine=True)
    assert (result.rows, result.rejected) == (2, 1)
    load(duck_project, columns={"v": "string"}, target="raw.texts")
    (kept,) = duck_project.table("raw.texts")["v"].drop_null().to_pylist()
    assert kept.startswith(text)
    if "[" in type_ or "789" in text:
        return  # a part of a value, and a value within the range, are no matter of out_of_range
    load(duck_project, options={"out_of_range": "null"}, target="raw.nulls")
    assert sorted(duck_project.table("raw.nulls").to_pylist(), key=lambda row: row["id"])[1] == {"id": 7, "v": None}


def test_what_cannot_be_read_is_refused_by_name(duck_project, run) -> None:
    run("CREATE TABLE t (id INTEGER, v UNION(a INTEGER)[])", "INSERT INTO t VALUES (1, [union_value(a := 1)])")
    with pytest.raises(SourceError, match="a column 'v' that cannot be read"):
        load(duck_project)
    load(duck_project, options={"exclude": ["v"]})
    assert duck_project.table("raw.t").to_pylist() == [{"id": 1}]
    load(duck_project, columns={"v": "string"}, target="raw.texts")
    assert duck_project.table("raw.texts").to_pylist() == [{"id": 1, "v": "[1]"}]


def test_what_the_job_declares_binds(duck_project, run) -> None:
    run("CREATE TABLE t (id BIGINT, a VARCHAR, b DOUBLE)", "INSERT INTO t VALUES (1, '2024-02-29', 2), (2, NULL, 3)")
    load(duck_project, columns={"id": "int", "a": "date", "b": "long"})
    table = duck_project.table("raw.t").sort_by("id")
    assert table.schema.field("id").type == pa.int32()
    assert table.to_pylist() == [{"id": 1, "a": date(2024, 2, 29), "b": 2}, {"id": 2, "a": None, "b": 3}]
    run("UPDATE t SET b = 2.5 WHERE id = 2")
    with pytest.raises(ParseError, match=r"'2\.5' does not fit 'b'"):
        load(duck_project, columns={"b": "long"}, target="raw.other")


def test_nothing_outside_the_file_is_reached(duck_project, run) -> None:
    outside = duck_project.root / "outside.csv"
    outside.write_text("a\n1\n")
    run(f"CREATE VIEW v AS SELECT * FROM read_csv('{outside}')", "CREATE TABLE t (id INTEGER)")
    with pytest.raises(SourceError):
        load(duck_project, stream="v")
    with pytest.raises(SourceError, match="failed"):
        load(duck_project, stream=None, options={"query": f"SELECT * FROM read_csv('{outside}')"})


def test_errors_in_the_midst_are_ours(duck_project, run) -> None:
    run(
        "CREATE TABLE t AS SELECT CASE WHEN i = 150000 THEN 'x' ELSE i::VARCHAR END AS v FROM range(200000) AS r(i)",
        "CREATE VIEW v AS SELECT v::INTEGER AS v FROM t",
    )
    with pytest.raises(SourceError, match="Could not convert string 'x'"):
        load(duck_project, stream="v")
    assert not duck_project.exists("raw.t")


def test_bad_files_and_names_are_told(duck_project, run) -> None:
    run("CREATE TABLE customers (id INTEGER)")
    with pytest.raises(SourceError, match=r"no table or view main\.customer") as caught:
        load(duck_project, stream="customer")
    assert "did you mean main.customers" in str(caught.value.hint)
    (duck_project.root / "other.db").write_bytes(b"no database at all, but text" * 1000)
    with pytest.raises(SourceError, match="no DuckDB database"):
        load(duck_project, options={"connection": "duckdb:///other.db"})
    with pytest.raises(SourceUnavailableError, match="no such file"):
        load(duck_project, options={"connection": "duckdb:///missing.db"})


def test_fields_of_ten_megabytes_pass(duck_project, run) -> None:
    run("CREATE TABLE t AS SELECT i AS id, repeat('x', 10000000) AS v FROM range(5) AS r(i)")
    assert load(duck_project)[0].rows == 5
    assert {len(text) for text in duck_project.table("raw.t")["v"].to_pylist()} == {10_000_000}
