"""Every type of MySQL and MariaDB, with values from the edges that their manuals give ("Data Types")."""

# ruff: noqa: DTZ001, E501 - a table of values, and times without zone are meant

from __future__ import annotations

import struct
from contextlib import closing
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pymysql
import pytest

from lakecat.errors import ParseError, SourceError
from lakecat_connectors import _sql_mysql_types

STRING = pa.large_string()
D = Decimal
BYTES = pa.large_binary()
MOMENT = pa.timestamp("us")
FLOAT = struct.unpack("f", struct.pack("f", 3.4028234e38))[0]
TENTH = struct.unpack("f", struct.pack("f", 0.1))[0]
POINT = struct.pack("<BIdd", 1, 1, 1.5, -2.0)  # OGC's well-known binary: little endian, type 1, x, y

# name: column's type, values as SQL, Arrow type in the table, values expected
CASES: dict[str, tuple[str, list[str], pa.DataType, list[Any]]] = {
    "tiny": ("tinyint", ["-128", "127"], pa.int32(), [-128, 127]),
    "tiny_one": ("tinyint(1)", ["1", "-5"], pa.int32(), [1, -5]),
    "tiny_unsigned": ("tinyint unsigned", ["0", "255"], pa.int32(), [0, 255]),
    "small": ("smallint", ["-32768", "32767"], pa.int32(), [-32768, 32767]),
    "small_unsigned": ("smallint unsigned", ["0", "65535"], pa.int32(), [0, 65535]),
    "medium": ("mediumint", ["-8388608", "8388607"], pa.int32(), [-8388608, 8388607]),
    "medium_unsigned": ("mediumint unsigned", ["0", "16777215"], pa.int32(), [0, 16777215]),
    "int_": ("int", ["-2147483648", "2147483647"], pa.int32(), [-(2**31), 2**31 - 1]),
    "int_unsigned": ("int unsigned", ["0", "4294967295"], pa.int64(), [0, 2**32 - 1]),
    "zerofill": ("int(8) zerofill", ["42", "4294967295"], pa.int64(), [42, 2**32 - 1]),
    "big": ("bigint", ["-9223372036854775808", "9223372036854775807"], pa.int64(), [-(2**63), 2**63 - 1]),
    "big_unsigned": ("bigint unsigned", ["0", "18446744073709551615"], pa.decimal128(20, 0), [D(0), D(2**64 - 1)]),
    "dec": ("decimal(38,10)", ["-1234567890123456789012345678.0123456789", "0.0000000001"], pa.decimal128(38, 10), [D("-1234567890123456789012345678.0123456789"), D("0.0000000001")]),
    "dec_default": ("decimal", ["-9999999999", "9999999999"], pa.decimal128(10, 0), [D(-9999999999), D(9999999999)]),
    "dec_unsigned": ("decimal(5,5) unsigned zerofill", ["0.00001", "0.99999"], pa.decimal128(5, 5), [D("0.00001"), D("0.99999")]),
    "dec_wide": ("decimal(65,30)", ["12345678901234567890123456789012345.123456789012345678901234567891", "-0.000000000000000000000000000001"], STRING, ["12345678901234567890123456789012345.123456789012345678901234567891", "-0.000000000000000000000000000001"]),
    "single": ("float", ["3.4028234e38", "0.1"], pa.float32(), [FLOAT, TENTH]),
    "single_digits": ("float", ["16777217", "1.40129846e-45"], pa.float32(), [16777216.0, 1.401298464324817e-45]),
    "single_shown": ("float(7,2)", ["12345.67", "0.01"], pa.float32(), [struct.unpack("f", struct.pack("f", 12345.67))[0], struct.unpack("f", struct.pack("f", 0.01))[0]]),
    "double_": ("double", ["0.1e0", "1.7976931348623157e308"], pa.float64(), [0.1, 1.7976931348623157e308]),
    "double_digits": ("double", ["5e-324", "0.30000000000000004e0"], pa.float64(), [5e-324, 0.30000000000000004]),
    "bit_one": ("bit(1)", ["b'1'", "b'0'"], pa.bool_(), [True, False]),
    "bit_many": ("bit(10)", ["b'1111111111'", "b'101'"], pa.int64(), [1023, 5]),
    "bit_all": ("bit(64)", ["18446744073709551615", "1"], pa.decimal128(20, 0), [D(2**64 - 1), D(1)]),
    "year_": ("year", ["1901", "0"], pa.int32(), [1901, 0]),
    "day": ("date", ["'0001-01-01'", "'9999-12-31'"], pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "moment": ("datetime(6)", ["'1000-01-01 00:00:00.000001'", "'9999-12-31 23:59:59.999999'"], MOMENT, [datetime(1000, 1, 1, 0, 0, 0, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)]),
    "moment_short": ("datetime", ["'2024-02-29 12:30:00'", "'1969-12-31 23:59:59'"], MOMENT, [datetime(2024, 2, 29, 12, 30), datetime(1969, 12, 31, 23, 59, 59)]),
    "stamp": ("timestamp(6) null", ["'2024-07-01 02:00:00.5'", "'2038-01-19 05:14:07.999999'"], pa.timestamp("us", "UTC"), [datetime(2024, 7, 1, 0, 0, 0, 500000, UTC), datetime(2038, 1, 19, 3, 14, 7, 999999, UTC)]),
    "clock": ("time(6)", ["'00:00:00.000001'", "'23:59:59.999999'"], pa.time64("us"), [time(0, 0, 0, 1), time(23, 59, 59, 999999)]),
    "fixed": ("char(5)", ["'ab  '", "''"], STRING, ["ab", ""]),
    "varying": ("varchar(40) character set utf8mb4", ["'ab  '", "'\U0001f408 ünïcödé'"], STRING, ["ab  ", "\U0001f408 ünïcödé"]),
    "western": ("varchar(20) character set latin1", ["'na\u00efve \u20ac'", "'NULL'"], STRING, ["naïve €", "NULL"]),
    "wide": ("varchar(20) character set utf16", ["'\U0001f408'", "'a'"], STRING, ["\U0001f408", "a"]),
    "cyrillic": ("varchar(20) character set koi8r", ["'кот'", "'x'"], STRING, ["кот", "x"]),
    "collated": ("varchar(20) character set utf8mb4 collate utf8mb4_bin", ["'Ä'", "'ä'"], STRING, ["Ä", "ä"]),
    "texts": ("text character set utf8mb4", ["'line\\nbreak\\t\\\\ \\' \\\" \\0 end'", "''"], STRING, ["line\nbreak\t\\ ' \" \0 end", ""]),
    "long_text": ("longtext character set utf8mb4", ["repeat('ä', 300)", "repeat('x', 70000)"], STRING, ["ä" * 300, "x" * 70000]),
    "mood": ("enum('sad','very happy','')", ["'very happy'", "''"], STRING, ["very happy", ""]),
    "flags": ("set('a','b','c d')", ["'c d,a'", "''"], STRING, ["a,c d", ""]),
    "document": ("json", ["'{\"b\": 1.0, \"a\": [1, null, \"ü\"]}'", "'null'"], STRING, ['{"b": 1.0, "a": [1, null, "ü"]}', "null"]),
    "fixed_bytes": ("binary(4)", ["x'00ff'", "x'20202020'"], BYTES, [b"\x00\xff\0\0", b"    "]),
    "var_bytes": ("varbinary(300)", ["x''", "x'00ff0a5c27'"], BYTES, [b"", b"\x00\xff\n\\'"]),
    "blobs": ("longblob", ["repeat(x'fb', 251)", "repeat(x'fe', 65536)"], BYTES, [b"\xfb" * 251, b"\xfe" * 65536]),
    "shape": ("geometry", ["ST_GeomFromText('POINT(1.5 -2)')", "ST_GeomFromText('POINT(1.5 -2)')"], BYTES, [POINT, POINT]),
    "ident": ("uuid", ["'00112233-4455-6677-8899-aabbccddeeff'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'"], pa.uuid(), [UUID("00112233-4455-6677-8899-aabbccddeeff"), UUID("f" * 32)]),
    "address": ("inet6", ["'::1'", "'2001:db8::ff00:42:8329'"], STRING, ["::1", "2001:db8::ff00:42:8329"]),
}  # fmt: skip
MARIADB_ONLY = ("ident", "address")


@pytest.fixture
def my(mariadb_url):
    """A connection in another time zone than UTC, whose statements are committed one by one."""
    with closing(connect(mariadb_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+02:00', sql_mode = ''")
        yield cursor


def connect(url) -> pymysql.Connection:
    return pymysql.connect(
        host=url.host, port=url.port, user=url.username, password=url.password, database=url.database,
        charset="utf8mb4", autocommit=True,
    )  # fmt: skip


@pytest.fixture
def my_project(tmp_path, make_sql_project, mariadb_url, monkeypatch):
    monkeypatch.setenv("SQL_PASSWORD", str(mariadb_url.password))
    return make_sql_project(tmp_path / "project", mariadb_url)


def load(project, *, options=None, **keys):
    whole = {"mode": "replace", "target": "raw.t", "stream": "t", **keys}
    return project.run(project.job(options={"password": "env:SQL_PASSWORD", **(options or {})}, **whole))


def make(my, cases) -> None:
    """A table with one column for each case: two rows of values and one of NULLs."""
    columns = ", ".join(f"`{name}` {case[0]}" for name, case in cases.items())
    my.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}) ENGINE=InnoDB ROW_FORMAT=DYNAMIC")
    for number in (0, 1):
        values = [case[1][number] for case in cases.values()]
        my.execute(f"INSERT INTO t VALUES ({number}, {', '.join(values)})")
    my.execute("INSERT INTO t (id) VALUES (2)")


def test_every_type_is_exact(my, my_project) -> None:
    cases = dict(CASES)
    my.execute("SELECT version()")
    if "MariaDB" not in my.fetchone()[0]:
        for name in MARIADB_ONLY:
            del cases[name]
    make(my, cases)
    (result,) = load(my_project)
    assert result.rows == 3
    table = my_project.table("raw.t").sort_by("id")
    wrong = {n: str(table.schema.field(n).type) for n, case in cases.items() if table.schema.field(n).type != case[2]}
    assert wrong == {}
    got = {name: table.column(name).to_pylist() for name in cases}
    assert got == {name: [*case[3], None] for name, case in cases.items()}


def test_queries_have_the_types_of_their_columns(my, my_project) -> None:
    cases = {name: case for name, case in CASES.items() if name not in MARIADB_ONLY}
    make(my, cases)
    load(my_project, stream=None, options={"query": "SELECT t.*, 1.50 AS price, 'x:y%s' AS text FROM t -- all\n"})
    table = my_project.table("raw.t").sort_by("id")
    got = {name: table.column(name).to_pylist() for name in cases}
    assert got == {name: [*case[3], None] for name, case in cases.items()}
    assert table.schema.field("big_unsigned").type == pa.decimal128(20, 0)
    assert table.schema.field("price").type == pa.decimal128(3, 2)
    assert table["price"].to_pylist() == [D("1.50")] * 3
    assert table["text"].to_pylist() == ["x:y%s"] * 3


BEYOND = [
    ("date", "0000-00-00"),
    ("date", "2024-00-10"),
    ("date", "2024-02-00"),
    ("date", "0000-05-06"),
    ("datetime", "0000-00-00 00:00:00"),
    ("datetime(3)", "0000-01-01 10:00:00.5"),
    ("timestamp null", "0000-00-00 00:00:00"),
    ("time", "24:00:00"),
    ("time", "838:59:59"),
    ("time(6)", "-00:00:00.000001"),
]


@pytest.mark.parametrize(("type_", "text"), BEYOND)
def test_dates_and_times_that_no_column_holds_are_never_others(my, my_project, type_, text) -> None:
    my.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {type_})")
    my.execute("INSERT INTO t VALUES (1, NULL), (7, %s), (9, NULL)", (text,))
    with pytest.raises(ParseError) as caught:
        load(my_project)
    assert "the row with id = '7'" in caught.value.what
    assert caught.value.where is not None
    assert caught.value.where.column == "v"
    assert not my_project.exists("raw.t")
    (result,) = load(my_project, quarantine=True)
    assert (result.rows, result.rejected) == (2, 1)
    load(my_project, options={"out_of_range": "null"}, target="raw.nulls")
    assert sorted(my_project.table("raw.nulls").to_pylist(), key=lambda row: row["id"])[1] == {"id": 7, "v": None}
    load(my_project, columns={"v": "string"}, target="raw.texts")
    (kept,) = my_project.table("raw.texts")["v"].drop_null().to_pylist()
    assert kept.startswith(text)


def test_what_the_job_declares_binds(my, my_project) -> None:
    my.execute(
        "CREATE TABLE t (id int PRIMARY KEY, flag tinyint(1), wide decimal(65,30), many int unsigned, at varchar(30))"
    )
    my.execute("INSERT INTO t VALUES (1, 1, 2.5, 7, '2024-01-02 03:04:05'), (2, 0, -2, 8, '2024-01-02T03:04:06')")
    columns = {"flag": "boolean", "wide": "decimal(38,2)", "many": "int", "at": "timestamp"}
    load(my_project, columns=columns)
    table = my_project.table("raw.t").sort_by("id")
    assert table["flag"].to_pylist() == [True, False]
    assert table["wide"].to_pylist() == [D("2.50"), D("-2.00")]
    assert table["many"].to_pylist() == [7, 8]
    assert table["at"].to_pylist() == [datetime(2024, 1, 2, 3, 4, 5), datetime(2024, 1, 2, 3, 4, 6)]
    my.execute("INSERT INTO t VALUES (3, 2, 0, 9, NULL)")
    with pytest.raises(ParseError, match="'2' does not fit 'flag'"):
        load(my_project, columns=columns)


def test_a_column_of_an_unknown_type_is_refused_by_name_and_can_be_left_out(my, my_project, monkeypatch) -> None:
    # As a server to come would have types that are not known here.
    monkeypatch.delitem(_sql_mysql_types._OTHERS, "year")
    my.execute("CREATE TABLE t (id int PRIMARY KEY, v year)")
    my.execute("INSERT INTO t VALUES (1, 2024)")
    with pytest.raises(
        SourceError, match=r"has a column 'v' that cannot be read: the type year\(4\) is not known"
    ) as caught:
        load(my_project)
    assert caught.value.where is not None
    assert caught.value.where.column == "v"
    assert not my_project.exists("raw.t")
    load(my_project, options={"exclude": ["v"]})
    assert my_project.table("raw.t").to_pylist() == [{"id": 1}]


def test_a_query_with_two_columns_of_one_name_is_refused(my, my_project) -> None:
    my.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    my.execute("INSERT INTO t VALUES (1, 2)")
    with pytest.raises(SourceError, match="names two columns alike"):
        load(my_project, stream=None, options={"query": "SELECT a.id, b.id FROM t a JOIN t b USING (id)"})


def test_fields_and_rows_of_many_megabytes_pass(my, my_project) -> None:
    my.execute("SET GLOBAL max_allowed_packet = 67108864")
    with closing(connect_again(my)) as other, other.cursor() as cursor:
        cursor.execute("CREATE TABLE t (id int PRIMARY KEY, a longtext, b longblob)")
        cursor.execute("INSERT INTO t VALUES (1, 'before', x'00'), (3, 'after', x'01')")
        # Beyond 16 MiB a row comes in several packets.
        cursor.execute("INSERT INTO t VALUES (2, repeat('ab', 5000000), repeat(x'fefd', 6000000))")
    load(my_project)
    table = my_project.table("raw.t").sort_by("id")
    assert table["id"].to_pylist() == [1, 2, 3]
    assert table["a"][1].as_py() == "ab" * 5_000_000
    assert table["b"].to_pylist() == [b"\0", b"\xfe\xfd" * 6_000_000, b"\1"]


def connect_again(my):
    own = my.connection
    return pymysql.connect(
        host=own.host, port=own.port, user="lakecat", password="p@ss:w/rd", database=own.db.decode(), autocommit=True
    )
