"""JSON lines: nested values kept, numbers exact, everything that is not one object on one line refused."""

from __future__ import annotations

import gzip
import json

# ruff: noqa: DTZ001 - timestamps without zone are meant
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import ParseError


def lines(path: Path, *rows: object) -> None:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def test_nested_values_are_kept(tmp_path: Path, load) -> None:
    lines(
        tmp_path / "a.jsonl", {"id": 1, "tags": ["x", None], "at": {"lat": 1.5, "on": True}}, {"id": 2, "at": {"z": 7}}
    )
    got = load("a.jsonl")
    assert got.types == {
        "id": "int64",
        "tags": "list<item: string>",
        "at": "struct<lat: double, on: bool, z: int64>",
    }
    assert got.rows == [
        {"id": 1, "tags": ["x", None], "at": {"lat": 1.5, "on": True, "z": None}},
        {"id": 2, "tags": None, "at": {"lat": None, "on": None, "z": 7}},
    ]


@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", "null"], "int64", [1, None]),
        (["9007199254740993", "1"], "int64", [2**53 + 1, 1]),
        (["9223372036854775808"], "decimal128(38, 0)", [Decimal(2**63)]),
        (["1", "1.5"], "double", [1.0, 1.5]),
        (["9007199254740993", "0.5"], "decimal128(38, 1)", [Decimal(2**53 + 1), Decimal("0.5")]),
        (["0.1234567890123456789"], "decimal128(38, 19)", [Decimal("0.1234567890123456789")]),
        (["10.357019999999999"], "double", [10.357019999999999]),
        (["1e300", "-0.0"], "double", [1e300, -0.0]),
        (["true", "false"], "bool", [True, False]),
        (["true", "1"], "string", ["true", "1"]),
        (["1", '"x"', "[1]", '{"b": 1}', "null"], "string", ["1", "x", "[1]", '{"b":1}', None]),
        (["{}", "{}"], "string", ["{}", "{}"]),
        (['"2013-01-01"'], "string", ["2013-01-01"]),
        (['"\\u0000"'], "string", ["\0"]),
    ],
)
def test_inferred_types(tmp_path: Path, load, texts: list[str], kind: str, values: list[object]) -> None:
    lines(tmp_path / "a.jsonl", *(f'{{"v": {text}}}' for text in texts))
    got = load("a.jsonl")
    assert got.types == {"v": kind}
    assert [row["v"] for row in got.rows] == values


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("[1]", "an array"),
        ("5", "a number"),
        ("null", "null"),
        ('{"a": 1', "not JSON"),
        ('{"a": 1}{"a": 2}', "not JSON"),
        ('{"a": 1, "a": 2}', "twice"),
        ('{"a": 1, "A": 2}', "are one column"),
        ('{"v": {"x": 1, "X": 2}}', "are one column"),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "Infinity"),
        ('{"a": 1e999}', "range of a double"),
        ('{"a": 01}', "not JSON"),
        ('{"a": ' + "9" * 40 + "}", "digits"),
        ('{"a": ' + "9" * 20_000 + "}", "digits"),
        ('{"a": "\\ud800"}', "surrogate"),
        ('{"": 1}', "no column name"),
        ('{"a\\u0000b": 1}', "no column name"),
        ('{"a": ' + "[" * 65 + "]" * 65 + "}", "deeper than 64"),
        ("[" * 100_000, "deeper than 64"),
        ('{"a":' * 50_000, "deeper than 64"),
        ("<html></html>", "not JSON"),
        ("{'a': 1}", "not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, load, line: str, says: str) -> None:
    lines(tmp_path / "a.jsonl", {"ok": 1}, "", line)
    with pytest.raises(ParseError, match=says) as error:
        load("a.jsonl")
    assert error.value.where is not None
    assert (error.value.where.file, error.value.where.line) == (str(tmp_path / "a.jsonl"), 3)


def test_bytes_that_are_no_text_are_named(tmp_path: Path, load) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "x"}\n{"a": "\xff"}\n')
    with pytest.raises(ParseError, match="not UTF-8") as error:
        load("a.jsonl")
    assert error.value.where is not None
    assert error.value.where.line == 2


def test_brackets_in_texts_are_no_depth(tmp_path: Path, load) -> None:
    lines(tmp_path / "a.jsonl", {"a": "[" * 200 + '"{'})
    assert load("a.jsonl").rows == [{"a": "[" * 200 + '"{'}]


def test_values_must_fit_the_table(tmp_path: Path, load) -> None:
    schema = pa.schema(
        [("n", pa.int64()), ("x", pa.float64()), ("d", pa.date32()), ("t", pa.timestamp("us")), ("s", pa.string())]
    )
    lines(tmp_path / "a.jsonl", {"n": 1, "x": 2, "d": "2013-01-01", "t": "2013-01-01T02:03:04", "s": 5}, {"new": [1]})
    got = load("a.jsonl", expected=schema)
    assert got.rows[0] == {
        "n": 1,
        "x": 2.0,
        "d": date(2013, 1, 1),
        "t": datetime(2013, 1, 1, 2, 3, 4),
        "s": "5",
        "new": None,
    }
    assert got.types["new"] == "list<item: int64>"
    for bad in ({"n": "1"}, {"n": 1.5}, {"n": True}, {"n": 2**63}, {"x": 2**53 + 1}, {"d": "2013-02-30"}, {"t": 5}):
        lines(tmp_path / "b.jsonl", {"n": 1}, bad)
        with pytest.raises(ParseError) as error:
            load("b.jsonl", expected=schema)
        assert error.value.where is not None
        assert (error.value.where.line, error.value.where.column) == (2, next(iter(bad)))


def test_an_unknown_key_inside_a_known_struct_is_a_new_field(tmp_path: Path, load) -> None:
    schema = pa.schema([("at", pa.struct([("x", pa.float64())]))])
    lines(tmp_path / "a.jsonl", {"at": {"x": 1}}, {"at": {"x": 0.5, "y": [{"z": 2}]}})
    got = load("a.jsonl", expected=schema)
    assert got.types == {"at": "struct<x: double, y: list<item: struct<z: int64>>>"}
    assert got.rows == [{"at": {"x": 1.0, "y": None}}, {"at": {"x": 0.5, "y": [{"z": 2}]}}]


def test_an_unknown_key_inside_a_declared_struct_is_refused(tmp_path: Path, load) -> None:
    lines(tmp_path / "a.jsonl", {"at": {"x": 1}}, {"at": {"x": 1, "y": 2}})
    with pytest.raises(ParseError) as error:
        load("a.jsonl", declared={"at": pa.struct([("x", pa.int64())])})
    assert error.value.where is not None
    assert error.value.where.line == 2


def test_a_kind_that_changes_late_decides_the_column(tmp_path: Path, load) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(f'{{"a": {n}, "pad": "{"x" * 40}"}}\n' for n in range(150_000))
        file.write('{"a": "late"}\n')
    got = load("a.jsonl.gz")
    assert got.types["a"] == "string"
    assert got.table["a"].to_pylist()[-2:] == ["149999", "late"]


def test_keys_that_look_like_data_are_refused(tmp_path: Path, load) -> None:
    lines(tmp_path / "a.jsonl", *({f"k{n}": n} for n in range(10_001)))
    with pytest.raises(ParseError, match="look like data") as error:
        load("a.jsonl")
    assert error.value.where is not None
    assert error.value.where.line == 10_001


def test_empty_and_blank_files(tmp_path: Path, load) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    with pytest.raises(ParseError, match="empty"):
        load("a.jsonl")
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf\r\n")
    assert load("a.jsonl").table.num_rows == 0


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
) | st.text(st.characters(codec="utf-8"), max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(column=st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1, max_size=5), extra=VALUES)
def test_integers_never_change_whatever_stands_beside_them(tmp_path: Path, load, column, extra) -> None:
    lines(tmp_path / "a.jsonl", *({"v": value, "e": extra} for value in column))
    got = load("a.jsonl")
    assert [row["v"] for row in got.rows] == column
    if isinstance(extra, str | bool | int):
        assert all(row["e"] == extra for row in got.rows)
