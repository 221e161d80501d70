"""SQLite's columns by their declared types and by what is really in them ("Datatypes In SQLite")."""

# ruff: noqa: DTZ001 - a table of values, and times without zone are meant

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.engine import URL

from lakecat.connector import Cursor, StreamRequest
from lakecat.errors import ParseError, SourceAccessError, SourceError, SourceUnavailableError
from lakecat.types import WriteMode
from lakecat_connectors.sql import Sql

STRING = pa.large_string()
D = Decimal
BYTES = pa.large_binary()

# name: declared type, values stored, Arrow type in the table, values expected
CASES: dict[str, tuple[str, list[Any], pa.DataType, list[Any]]] = {
    "whole": ("INTEGER", [2**63 - 1, -(2**63)], pa.int64(), [2**63 - 1, -(2**63)]),
    "beyond_doubles": ("BIGINT UNSIGNED", [2**53 + 1, -(2**53) - 1], pa.int64(), [2**53 + 1, -(2**53) - 1]),
    "integer_affinity": ("FLOATING POINT", ["12", 7.0], pa.int64(), [12, 7]),  # "POINT" holds INT
    "real_": ("REAL", [0.1, 3], pa.float64(), [0.1, 3.0]),
    "doubles": ("DOUBLE PRECISION", [math.inf, 5e-324], pa.float64(), [math.inf, 5e-324]),
    "text_": ("TEXT", ["", 'a\nb"\0c'], STRING, ["", 'a\nb"\0c']),
    "text_affinity": ("VARCHAR(10)", [12, "longer than ten characters"], STRING, ["12", "longer than ten characters"]),
    "flag": ("BOOLEAN", [True, False], pa.bool_(), [True, False]),
    "exact": ("DECIMAL(10,2)", [0.1, 12345678.9], pa.decimal128(10, 2), [D("0.10"), D("12345678.90")]),
    "exact_whole": ("NUMERIC(18)", [5, -(10**17)], pa.decimal128(18, 0), [D(5), D(-(10**17))]),
    "loose": ("NUMERIC", [2**62 + 1, 0.1], STRING, ["4611686018427387905", "0.1"]),
    "day": ("DATE", ["2024-02-29", "0000-00-00"], STRING, ["2024-02-29", "0000-00-00"]),
    "moment": ("DATETIME", ["2024-02-29 12:00:00", 1700000000], STRING, ["2024-02-29 12:00:00", "1700000000"]),
    "document": ("JSON", ['{"a": 1}', "5"], STRING, ['{"a": 1}', "5"]),
    "blob_": ("BLOB", [b"", b"\x00\xff"], BYTES, [b"", b"\x00\xff"]),
    "untyped_whole": ("", [1, 2], pa.int64(), [1, 2]),
    "untyped_mixed": ("", [1, 2.5], pa.float64(), [1.0, 2.5]),
    "untyped_text": ("", ["1", "x"], STRING, ["1", "x"]),
    "untyped_bytes": ("", [b"1", b""], BYTES, [b"1", b""]),
    "made": ("INTEGER GENERATED ALWAYS AS (id * 2)", [], pa.int64(), [0, 2]),
}  # fmt: skip


@pytest.fixture
def file(tmp_path):
    return tmp_path / "project" / "data.db"


@pytest.fixture
def lite_project(tmp_path, make_sql_project):
    return make_sql_project(tmp_path / "project", URL.create("sqlite", database="data.db"))


@pytest.fixture
def lite(file, lite_project):
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        yield connection


def load(project, **keys):
    return project.run(project.job(**{"mode": "replace", "target": "raw.t", "stream": "t", **keys}))


def make(lite, cases) -> None:
    columns = ", ".join(f'"{name}" {case[0]}' for name, case in cases.items())
    lite.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, {columns})")
    stored = {name: case for name, case in cases.items() if case[1]}
    names = ", ".join(f'"{name}"' for name in stored)
    for number in (0, 1):
        values = [case[1][number] for case in stored.values()]
        lite.execute(f"INSERT INTO t (id, {names}) VALUES (?{', ?' * len(values)})", [number, *values])
    lite.execute("INSERT INTO t (id) VALUES (2)")


@pytest.mark.parametrize("source", ["table", "view", "query"])
def test_every_type_is_exact(lite, lite_project, source) -> None:
    make(lite, CASES)
    lite.execute("CREATE VIEW v AS SELECT * FROM t")
    keys = {"stream": None, "options": {"query": "SELECT * FROM t -- all of it\n;"}} if source == "query" else {}
    (result,) = load(lite_project, **({"stream": "v"} if source == "view" else keys))
    assert result.rows == 3
    table = lite_project.table("raw.t").sort_by("id")
    wrong = {n: str(table.schema.field(n).type) for n, case in CASES.items() if table.schema.field(n).type != case[2]}
    assert wrong == {}
    got = {name: table.column(name).to_pylist() for name in CASES}
    assert got == {name: [*case[3], 4 if name == "made" else None] for name, case in CASES.items()}


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("INTEGER", "abc"),
        ("INTEGER", 1.5),
        ("INTEGER", b"\1"),
        ("REAL", "abc"),
        ("TEXT", b"abc"),
        ("BLOB", "abc"),
        ("BOOLEAN", 2),
        ("DECIMAL(10,2)", 1.005),
        ("DECIMAL(4,2)", 100),
        ("NUMERIC", b"1"),
        ("", b"1"),
    ],
)
def test_a_value_of_another_type_is_an_error_or_set_aside(lite, lite_project, declared, value) -> None:
    lite.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, v {declared})")
    fine = "x" if declared == "" else None
    lite.executemany("INSERT INTO t VALUES (?, ?)", [(1, fine), (7, value), (9, None)])
    with pytest.raises(ParseError) as caught:
        load(lite_project)
    assert "the row with id = '7'" in caught.value.what
    assert not lite_project.exists("raw.t")
    (result,) = load(lite_project, quarantine=True)
    assert (result.rows, result.rejected) == (2, 1)
    assert sorted(lite_project.table("raw.t")["id"].to_pylist()) == [1, 9]


def test_text_that_is_no_utf8_costs_only_its_own_row(lite, lite_project) -> None:
    lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)")
    lite.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"text {n}") for n in range(200)])
    lite.execute("UPDATE t SET v = CAST(x'61ff62' AS TEXT) WHERE id = 150")
    with pytest.raises(ParseError, match="the row with id = '150'"):
        load(lite_project)
    (result,) = load(lite_project, quarantine=True)
    assert (result.rows, result.rejected) == (199, 1)
    assert sorted(lite_project.table("raw.t")["v"].to_pylist()) == sorted(f"text {n}" for n in range(200) if n != 150)


def test_texts_become_dates_where_the_job_says_so(lite, lite_project) -> None:
    lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, d DATE, m DATETIME, n NUMERIC, x)")
    lite.execute("INSERT INTO t VALUES (1, '2024-02-29', '2024-02-29T12:00:00.5', 0.1, 1)")
    lite.execute("INSERT INTO t VALUES (2, NULL, '1999-12-31 23:59:59', 12, 'a')")
    load(lite_project, columns={"d": "date", "m": "timestamp", "n": "decimal(10,3)", "x": "string"})
    table = lite_project.table("raw.t").sort_by("id")
    assert table["d"].to_pylist() == [date(2024, 2, 29), None]
    assert table["m"].to_pylist() == [datetime(2024, 2, 29, 12, 0, 0, 500000), datetime(1999, 12, 31, 23, 59, 59)]
    assert table["n"].to_pylist() == [D("0.100"), D("12.000")]
    assert table["x"].to_pylist() == ["1", "a"]


def test_tables_without_rowid_and_strict_ones_are_read(lite, lite_project) -> None:
    lite.execute("CREATE TABLE t (a TEXT, b INT, PRIMARY KEY (b, a)) STRICT, WITHOUT ROWID")
    lite.execute("INSERT INTO t VALUES ('x', 2), ('y', 1)")
    load(lite_project, mode="merge", key=["b", "a"])
    assert lite_project.rows("raw.t") == {("x", 2): 1, ("y", 1): 1}


def test_fields_of_ten_megabytes_pass(lite, lite_project) -> None:
    lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB)")
    lite.executemany("INSERT INTO t VALUES (?, ?, ?)", [(n, str(n) * 10_000_000, bytes(10_000_000)) for n in range(3)])
    load(lite_project)
    table = lite_project.table("raw.t").sort_by("id")
    assert table["a"].to_pylist() == [str(n) * 10_000_000 for n in range(3)]


def test_the_file_is_only_read(lite, lite_project, file) -> None:
    lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    lite.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(SourceError):
        load(lite_project, stream=None, options={"query": "DELETE FROM t RETURNING id"})
    assert lite.execute("SELECT count(*) FROM t").fetchone() == (1,)
    with closing(sqlite3.connect(file)) as other:
        other.execute("BEGIN EXCLUSIVE")  # writers do not stop readers in WAL mode
        assert load(lite_project)[0].rows == 1


def test_bad_files_and_names_are_told(lite_project, file, lite) -> None:
    lite.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY)")
    with pytest.raises(SourceError, match="no table or view customer") as caught:
        load(lite_project, stream="customer")
    assert "did you mean customers" in str(caught.value.hint)
    (lite_project.root / "other.db").write_bytes(b"no database at all, but text" * 100)
    with pytest.raises(SourceError, match="no SQLite database"):
        load(lite_project, options={"connection": "sqlite:///other.db"})
    with pytest.raises(SourceUnavailableError, match="no such file"):
        load(lite_project, options={"connection": "sqlite:///missing.db"})
    assert not (lite_project.root / "missing.db").exists()


def test_a_file_that_somebody_locks_is_told(lite_project, file, lite) -> None:
    lite.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    lite.execute("PRAGMA journal_mode = DELETE")
    lite.execute("BEGIN EXCLUSIVE")
    with pytest.raises((SourceUnavailableError, SourceAccessError), match="locked"):
        load(lite_project, options={"lock_timeout": 0})
    lite.execute("ROLLBACK")


def test_a_cursor_of_numbers_and_texts_is_refused(tmp_path, make_landed) -> None:
    """Numbers stand below all texts: once a text was read, later numbers would be lost."""
    file = tmp_path / "data.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME)")
        connection.execute("INSERT INTO t VALUES (1, '2024-01-01')")
        landed = make_landed(URL.create("sqlite", database=str(file)))
        request = StreamRequest(name="t", cursor=Cursor(column="at"))
        assert landed.run(request) == 1
        connection.execute("INSERT INTO t VALUES (2, 1700000000)")
        with pytest.raises(SourceError, match="holds both numbers and texts"):
            landed.run(request)
        landed.options["where"] = "typeof(at) = 'text'"
        assert landed.run(request) == 0
        connection.execute("INSERT INTO t VALUES (3, '2024-01-02')")
        assert landed.run(request) == 1


def test_a_table_whose_name_holds_a_dot_is_found_by_the_name_it_was_discovered_by(tmp_path, make_landed) -> None:
    file = tmp_path / "data.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute('CREATE TABLE "a.b" (id INTEGER PRIMARY KEY)')
        connection.execute('INSERT INTO "a.b" VALUES (7)')
    landed = make_landed(URL.create("sqlite", database=str(file)))
    with closing(Sql.open(landed.options, landed.context)) as connector:
        (stream,) = connector.discover()
    assert stream.name == '"a.b"'
    assert landed.run(StreamRequest(name=stream.name, mode=WriteMode.REPLACE)) == 1
