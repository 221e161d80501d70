"""``dialect: detect``: one dialect that fits, or a refusal; what the sample said must hold for the whole file."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from lakecat.errors import ParseError


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a;b\n1,5;x\n2,5;y\n", [{"a": "1,5", "b": "x"}, {"a": "2,5", "b": "y"}]),
        ("a\tb\n1\t2\n", [{"a": 1, "b": 2}]),
        ("a|b\n1|2\n", [{"a": 1, "b": 2}]),
        ("a,b\n1,'x,\ny'\n", [{"a": 1, "b": "x,\ny"}]),
        ('a,b\n1,"x\\",y"\n', [{"a": 1, "b": 'x",y'}]),
        ('a,b\n1,"x"",y"\n', [{"a": 1, "b": 'x",y'}]),
        ("1,2\n3,4\n", [{"column1": 1, "column2": 2}, {"column1": 3, "column2": 4}]),
        ("x,2020-01-02\n", [{"column1": "x", "column2": dt.date(2020, 1, 2)}]),
        ("word\nx\ny\n", [{"word": "x"}, {"word": "y"}]),
        ("a;b\r\n1;2\r\n", [{"a": 1, "b": 2}]),
    ],
)
def test_dialects(tmp_path: Path, load, text: str, rows: list[dict[str, object]]) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert load("a.csv", dialect="detect").rows == rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_encodings(tmp_path: Path, load, encoding: str) -> None:
    if encoding == "cp1252":
        pytest.importorskip("charset_normalizer", reason="the detect extra is not installed")
    words = ["Straße", "Größe", "für über Äpfel und Öl", "Müller führt die Bäckerei in Köln"] * 5
    (tmp_path / "a.csv").write_bytes(("n;wort\n" + "".join(f"{n};{w}\n" for n, w in enumerate(words))).encode(encoding))
    assert load("a.csv", dialect="detect").table["wort"].to_pylist() == words


def test_what_the_job_says_is_not_looked_for(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("1;2,3\n4;5,6\n")
    assert load("a.csv", dialect="detect", delimiter=";", header=False, names=["x", "y"]).rows == [
        {"x": 1, "y": "2,3"},
        {"x": 4, "y": "5,6"},
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,5;2\n3,5;4\n", "could be read with the delimiters ',' and ';'"),
        ("a,b\n1\n2,3\n", "same number of fields"),
        ("", "empty"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, load, text: str, says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ParseError, match=says):
        load("a.csv", dialect="detect")


def test_a_dialect_that_holds_for_the_sample_only_is_refused(tmp_path: Path, load) -> None:
    (tmp_path / "a.csv").write_text("a;b\n" + "1;2\n" * 100_000 + "1;2;3\n")
    with pytest.raises(ParseError, match="3 fields") as caught:
        load("a.csv", dialect="detect")
    assert caught.value.where is not None
    assert caught.value.where.line == 100_002
