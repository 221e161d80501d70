"""The type of a CSV column is decided over all of its values, and no value is ever changed."""

from __future__ import annotations

# ruff: noqa: DTZ001 - timestamps without zone are meant
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from lakecat.errors import ParseError


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "-20", "0"], "int64", [1, -20, 0]),
        (["9223372036854775807", "-9223372036854775808"], "int64", [2**63 - 1, -(2**63)]),
        (["9223372036854775808", "1"], "decimal128(38, 0)", [Decimal(2**63), Decimal(1)]),
        (["1" * 39], "string", ["1" * 39]),
        (["00501", "12"], "string", ["00501", "12"]),
        (["0x1A"], "string", ["0x1A"]),
        (["-0"], "double", [-0.0]),
        (["1_000"], "string", ["1_000"]),
        (["1,000"], "string", ["1,000"]),
        (["0.5", "17", ".25"], "double", [0.5, 17.0, 0.25]),
        (["007.5"], "string", ["007.5"]),
        (["10.357019999999999"], "double", [10.357019999999999]),
        (["0.1234567890123456789"], "decimal128(38, 19)", [Decimal("0.1234567890123456789")]),
        (["0.1234567890123456789", "5"], "decimal128(38, 19)", [Decimal("0.1234567890123456789"), Decimal(5)]),
        (["9007199254740993", "0.5"], "decimal128(38, 1)", [Decimal(9007199254740993), Decimal("0.5")]),
        (["1e+5", "1.5E-3"], "double", [1e5, 1.5e-3]),
        (["1E5", "2E7"], "string", ["1E5", "2E7"]),
        (["1E5", "27"], "string", ["1E5", "27"]),
        (["1012.3", "1e3", "990"], "double", [1012.3, 1000.0, 990.0]),
        (["1.0e400"], "string", ["1.0e400"]),
        (["1.0e-400"], "string", ["1.0e-400"]),
        (["nan", "1.5"], "string", ["nan", "1.5"]),
        (["inf"], "string", ["inf"]),
        (["true", "False"], "bool", [True, False]),
        (["yes", "no"], "string", ["yes", "no"]),
        (["2013-01-31"], "date32[day]", [date(2013, 1, 31)]),
        (["2013-02-30"], "string", ["2013-02-30"]),
        (["0000-01-01"], "string", ["0000-01-01"]),
        (["2013-01-31", "2013-01-31 05:06"], "timestamp[us]", [datetime(2013, 1, 31), datetime(2013, 1, 31, 5, 6)]),
        (["2013-01-01T05:00:00.123456"], "timestamp[us]", [datetime(2013, 1, 1, 5, 0, 0, 123456)]),
        (["2013-01-01T05:00:00.1234567"], "string", ["2013-01-01T05:00:00.1234567"]),
        (["2013-01-01T05:00:00.123456000"], "timestamp[us]", [datetime(2013, 1, 1, 5, 0, 0, 123456)]),
        (["2013-01-01T05:00:00+02:00"], "timestamp[us, tz=UTC]", [datetime(2013, 1, 1, 3, tzinfo=UTC)]),
        (["2013-01-01T05:00:00Z", "2013-01-01T05:00:00"], "string", ["2013-01-01T05:00:00Z", "2013-01-01T05:00:00"]),
        (["2016-12-31T23:59:60Z"], "string", ["2016-12-31T23:59:60Z"]),
        ([" 5"], "string", [" 5"]),
        (["", "7"], "int64", [None, 7]),
        (["", ""], "string", [None, None]),
    ],
)
def test_inferred_types(tmp_path: Path, load, texts: list[str], kind: str, values: list[object]) -> None:
    quoted = (f'"{text}"' if "," in text else text for text in texts)
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"{text},1\n" for text in quoted))
    got = load("a.csv")
    assert got.types["x"] == kind
    assert [row["x"] for row in got.rows] == values


def test_a_value_far_down_decides_the_type_of_the_whole_column(tmp_path: Path, load) -> None:
    lines = [f"{n},{n}\n" for n in range(700_000)]
    lines[650_000] = "unknown,0.5\n"
    (tmp_path / "a.csv").write_text("a,b\n" + "".join(lines))
    got = load("a.csv")
    assert got.types == {"a": "string", "b": "double"}
    assert got.rows[3] == {"a": "3", "b": 3.0}
    assert got.rows[650_000] == {"a": "unknown", "b": 0.5}


def test_types_hold_over_all_files_of_a_slice(tmp_path: Path, load) -> None:
    (tmp_path / "1.csv").write_text("a\n1\n")
    (tmp_path / "2.csv").write_text("a\n2.5\n")
    got = load("*.csv")
    assert got.types == {"a": "double"}
    assert got.rows == [{"a": 1.0}, {"a": 2.5}]


def test_unquoted_empty_is_null_and_quoted_empty_is_a_text(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text('a,b\n"",1\n,2\nNA,3\n"NA",4\n')
    assert [row["a"] for row in load("a.csv").rows] == ["", None, "NA", "NA"]
    assert [row["a"] for row in load("a.csv", null=["", "NA"]).rows] == ["", None, None, "NA"]
    assert [row["a"] for row in load("a.csv", null=["", "NA"], quoted_null=True).rows] == [None] * 4


def test_text_must_fit_the_table(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("n,d,x,t,s,z\n1,1,1,2013-01-01,1,\n2,2.50,0.5,2013-01-02 03:04,b,\n")
    schema = pa.schema(
        [
            ("n", pa.int32()),
            ("d", pa.decimal128(9, 2)),
            ("x", pa.float64()),
            ("t", pa.timestamp("us")),
            ("s", pa.string()),
            ("z", pa.date32()),
        ]
    )
    got = load("a.csv", expected=schema)
    assert got.table.schema == schema
    assert got.rows[1] == {
        "n": 2,
        "d": Decimal("2.50"),
        "x": 0.5,
        "t": datetime(2013, 1, 2, 3, 4),
        "s": "b",
        "z": None,
    }


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("007", pa.int64()),
        ("3000000000", pa.int32()),
        ("1.5", pa.int64()),
        ("nan", pa.float64()),
        ("9007199254740993", pa.float64()),
        ("1.234", pa.decimal128(9, 2)),
        ("12345678.9", pa.decimal128(9, 2)),
        ("1", pa.bool_()),
        ("2013-01-01 00:00", pa.date32()),
        ("2013-01-01T00:00:00", pa.timestamp("us", "UTC")),
        ("2013-01-01T00:00:00Z", pa.timestamp("us")),
    ],
)
def test_a_value_that_does_not_fit_the_table_names_file_line_and_column(
    tmp_path: Path, load, text: str, kind: pa.DataType
) -> None:
    (tmp_path / "a.csv").write_text(f'note,v\n"two\nlines",\nplain,{text}\n')
    with pytest.raises(ParseError) as error:
        load("a.csv", expected=pa.schema([("note", pa.string()), ("v", kind)]))
    where = error.value.where
    assert where is not None
    assert (where.file, where.line, where.column) == (str(tmp_path / "a.csv"), 4, "v")
    assert repr(text) in error.value.what
    assert error.value.exit_code == 1


def test_wrong_type_half_way_is_found_at_its_line(tmp_path: Path, load) -> None:
    lines = ["1,a\n"] * 400_000
    lines[399_990] = "one,a\n"
    (tmp_path / "a.csv").write_text("n,s\n" + "".join(lines))
    with pytest.raises(ParseError) as error:
        load("a.csv", expected=pa.schema([("n", pa.int64()), ("s", pa.string())]))
    assert error.value.where is not None
    assert (error.value.where.line, error.value.where.column) == (399_992, "n")


def test_declared_types_take_what_only_a_person_can_know(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("i,f,b,t\n007,nan,1,31/01/2013 05:06\n8,0.1234567890123456789,f,2013-01-01\n")
    got = load(
        "a.csv",
        declared={"i": pa.int64(), "f": pa.float64(), "b": pa.bool_()},
        timestamp_formats=["%d/%m/%Y %H:%M"],
        null=["2013-01-01"],
    )
    assert got.rows[1] == {"i": 8, "f": 0.1234567890123456789, "b": False, "t": None}
    assert got.rows[0]["t"] == datetime(2013, 1, 31, 5, 6)
    assert got.rows[0]["f"] != got.rows[0]["f"]
    assert (got.rows[0]["i"], got.rows[0]["b"]) == (7, True)


def test_decimals_by_policy(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("p\n1.10\n22.5\n")
    got = load("a.csv", decimals="decimal")
    assert got.types == {"p": "decimal128(38, 2)"}
    assert [row["p"] for row in got.rows] == [Decimal("1.10"), Decimal("22.50")]


def test_trim(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a , b\n 1 ,  \n2,x \n")
    got = load("a.csv", trim=True)
    assert got.rows == [{"a": 1, "b": None}, {"a": 2, "b": "x"}]


def test_new_columns_are_taken_and_missing_ones_are_an_error_unless_allowed(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("c,A\n5,1\n")
    table = pa.schema([("a", pa.int64()), ("b", pa.date32())])
    with pytest.raises(ParseError, match="column 'b' is missing"):
        load("a.csv", expected=table)
    got = load("a.csv", expected=table, missing_columns="null")
    assert got.rows == [{"c": 5, "a": 1, "b": None}]
    assert got.types["b"] == "date32[day]"
