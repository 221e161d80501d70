"""Fixed-width files: cut by characters, typed by the rules of CSV, lines that do not fit refused."""

from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from lakecat.errors import ConfigError, ParseError

LINES = "1    Ängström  2020-01-02  10.50\n22   b                      7\n333\n"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_widths_and_positions(tmp_path: Path, load, end: str) -> None:
    (tmp_path / "a.txt").write_bytes(LINES.replace("\n", end).encode())
    rows = [
        {"id": 1, "name": "Ängström", "day": dt.date(2020, 1, 2), "sum": 10.5},
        {"id": 22, "name": "b", "day": None, "sum": 7.0},
        {"id": 333, "name": None, "day": None, "sum": None},
    ]
    widths = load("a.txt", format="fixed", widths=[5, 10, 10, 7], header=False, names=["id", "name", "day", "sum"])
    assert widths.rows == rows
    positions = load("a.txt", format="fixed", positions={"id": [1, 5], "sum": [26, 32]})
    assert positions.rows == [{"id": row["id"], "sum": row["sum"]} for row in rows]


def test_a_header_names_the_columns(tmp_path: Path, load) -> None:
    (tmp_path / "a.fwf").write_text("id   name\n007  x\n")
    assert load("a.fwf", format="fixed", widths=[5, 10]).rows == [{"id": "007", "name": "x"}]
    assert load("a.fwf", format="fixed", positions={"n": [6, 9]}, header=True).rows == [{"n": "x"}]


def test_other_encodings_compression_and_lines_above(tmp_path: Path, load) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress("title\nÄb1\n".encode("latin-1")))
    got = load(
        "a.gz", format="fixed", encoding="latin-1", skip_lines=1, positions={"a": [1, 1], "b": [2, 2], "c": [3, 3]}
    )
    assert got.rows == [{"a": "Ä", "b": "b", "c": 1}]


@pytest.mark.parametrize(
    ("content", "says", "line"),
    [
        (b"ab\nabc\n", "goes on after its last column", 2),
        (b"ab\na\x1f\n", "control character", 2),
        (b"ab\n\nab\n", "blank line", 2),
        (b"ab\n\xff\n", "not UTF-8", 2),
        (b"", "empty", None),
    ],
)
def test_bad_lines_are_refused(tmp_path: Path, load, content: bytes, says: str, line: int | None) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ParseError, match=says) as caught:
        load("a.txt", format="fixed", positions={"x": [1, 1], "y": [2, 2]})
    assert caught.value.where is not None
    assert caught.value.where.line == line


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"widths": [1], "positions": {"a": [1, 1]}},
        {"widths": []},
        {"widths": [0]},
        {"positions": {"a": [2, 1]}},
        {"positions": {"a": [0, 1]}},
        {"positions": {}},
        {"widths": [1, 2], "names": ["a"], "header": False},
    ],
)
def test_the_options_are_checked(load, options) -> None:
    with pytest.raises(ConfigError, match="files connector"):
        load("a.txt", format="fixed", **options)


def test_lines_that_cannot_be_cut_are_set_aside(tmp_path: Path, load) -> None:
    lines = [b"1 ab", b"2 abcd", b"3 \xff\xfe", b"4 c", b"5\x1fd", b"6\0e", b"x f", b"8 \xc3\xa9g", b""]
    (tmp_path / "a.fwf").write_bytes(b"n t\n" + b"\n".join(lines))
    got = load("a.fwf", widths=[2, 2], format="fixed", rejects=9, declared={"n": pa.int64()})
    assert got.rows == [{"n": 1, "t": "ab"}, {"n": 4, "t": "c"}, {"n": 8, "t": "ég"}]
    assert [(one["line"], one["text"], one["reason"].partition(":")[0]) for one in got.rejected] == [
        (3, "2 abcd", "goes on after its last column, which ends at character 4"),
        (4, "3 \ufffd\ufffd", "bytes ff are not UTF-8 text"),
        (6, "5 d", "holds a control character (U+001F)"),
        (7, "6\0 e", "holds a NUL byte"),
        (8, "x f", "'x' is not long"),
    ]


def test_lines_of_one_column_that_cannot_be_cut_leave_no_row(tmp_path: Path, load) -> None:
    (tmp_path / "a.fwf").write_bytes("1é\n\n22\n333\n".encode("cp1252") + b"\x81\n")
    got = load("a.fwf", widths=[2], format="fixed", rejects=9, header=False, names=["a"], encoding="cp1252", null=[""])
    assert got.rows == [{"a": "1é"}, {"a": None}, {"a": "22"}]
    assert [(one["line"], one["reason"]) for one in got.rejected] == [
        (4, "goes on after its last column, which ends at character 2"),
        (5, "some bytes are not CP1252 text"),
    ]


def test_a_header_that_cannot_be_cut_is_an_error(tmp_path: Path, load) -> None:
    (tmp_path / "a.fwf").write_bytes(b"n tttt\n1 a\n")
    with pytest.raises(ParseError, match="goes on after its last column"):
        load("a.fwf", widths=[2, 2], format="fixed", rejects=9)
