"""JSON documents: an array of records, wherever it stands, in bounded memory; the rules of JSON lines hold for each."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ConfigError, ParseError
from lakecat_connectors._json import _Document


def records(text: str, path: str | None = None, size: int = 3) -> list[tuple[int, object]]:
    data = text.encode()
    chunks = iter([data[at : at + size] for at in range(0, len(data), size)])
    document = _Document(chunks, "doc.json")
    return [(line, json.loads(piece)) for line, piece in document.records(tuple(path.split(".")) if path else ())]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        ('\n [\n{"a":\n1}\n,\n{"a": 2}\n]\n', [{"a": 1}, {"a": 2}]),
        ('{\n  "a": 1\n}\n', [{"a": 1}]),
        ('{"a": 1}', [{"a": 1}]),
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}]),
        ('[{"a": 0.1234567890123456789}]', [{"a": Decimal("0.1234567890123456789")}]),
        ('\ufeff[{"a": "é"}]', [{"a": "é"}]),
        ('[{"a": 12345678901234567890}]', [{"a": Decimal(12345678901234567890)}]),
    ],
)
def test_documents_and_lines(tmp_path: Path, load, text: str, rows: list[dict[str, object]]) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert load("a.json").rows == rows


def test_an_empty_array_is_no_rows(tmp_path: Path, load) -> None:
    (tmp_path / "a.json").write_text('{"data": {"rows": []}}')
    assert load("a.json", records="data.rows").rows == []


def test_records_stand_where_the_job_says(tmp_path: Path, load) -> None:
    document = {"next": None, "data": {"skip": [1, {"rows": 2}], "rows": [{"a": 1}, {"a": None}]}, "n": 2}
    (tmp_path / "a.json").write_text(json.dumps(document, indent=1))
    assert load("a.json", records="data.rows").rows == [{"a": 1}, {"a": None}]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_are_counted_and_pieces_put_together(size: int) -> None:
    text = '[\n{"a": "x\\"]}",\n "b": [1, {"c": 2}]},\n\n{"a": 5}\n]'
    assert records(text, size=size) == [(2, {"a": 'x"]}', "b": [1, {"c": 2}]}), (5, {"a": 5})]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=4), JSON_VALUES, max_size=3), max_size=4),
    beside=st.dictionaries(st.text(max_size=3), JSON_VALUES, max_size=2),
    size=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
)
def test_any_document_gives_its_records(rows, beside, size, indent, ascii_only) -> None:
    document = {**beside, "rows": rows}
    text = json.dumps(document, indent=indent, ensure_ascii=ascii_only)
    assert [row for _, row in records(text, "rows", size)] == rows


@pytest.mark.parametrize(
    ("text", "path", "says", "line"),
    [
        ('[{"a": 1}', None, "expected here", 1),
        ('[{"a": 1},\n{"a": ', None, "not JSON", 2),
        ('[{"a": 1},\n\n{"a" 2}]', None, "not JSON", 3),
        ('[{"a": 1}]\n[', None, "goes on after", 2),
        ('[{"a": 1},\n5]', None, "not an object", 2),
        ('[{"a": 1},\n{"a": NaN}]', None, "NaN", 2),
        ('[{"a": 1},\n{"a": 1, "a": 2}]', None, "twice", 2),
        ('[{"a": "\\ud800"}]', None, "surrogate", 1),
        ('{"x": 1}', "y", "holds nothing at y", 1),
        ('{"x": {"z": 1}}', "x.y", "holds nothing at x.y", 1),
        ('{"x": 5}', "x", "neither an array nor an object", 1),
        ('{"x": [],\n "x": []}', "x", "twice", 2),
        ("[" * 100_000, None, "nested deeper", 1),
        ('[{"a": ' + "[" * 70 + "]" * 70 + "}]", None, "nested deeper", 1),
        ("[{}", None, "expected", 1),
        ('{\n"a": 1\n}\n{\n"a": 2\n}', None, "goes on after", 4),
        ('[{"a": ' + "1" * 5000 + "}]", None, "digits", 1),
    ],
)
def test_bad_documents_are_refused_at_their_line(tmp_path: Path, load, text, path, says, line) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ParseError, match=says) as caught:
        load("a.json", **({"records": path} if path else {}))
    assert caught.value.where is not None
    assert (caught.value.where.file, caught.value.where.line) == (str(tmp_path / "a.json"), line)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path, load) -> None:
    (tmp_path / "a.json").write_bytes(b'[{"a": "\xff"}]')
    with pytest.raises(ParseError, match="not UTF-8"):
        load("a.json")


def test_json_lines_declared_take_no_documents(tmp_path: Path, load) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    with pytest.raises(ParseError, match="an array"):
        load("a.json", format="jsonl")


def test_a_blank_path_is_refused(load) -> None:
    with pytest.raises(ConfigError, match="records"):
        load("a.json", records=" ")


def test_bad_records_of_one_line_are_set_aside_one_by_one(tmp_path: Path, connectors, ledger_type) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}, {"a": NaN}, {"a": 2}, 5, {"a": 3}]')
    connector = connectors("a.json")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions(rejects=5))
    assert [row["a"] for batch in reader for row in batch.to_pylist()] == [1, 2, 3]
    rejected = reader.summary().rejected
    assert rejected is not None
    assert [(row["line"], row["text"]) for row in rejected.to_pylist()] == [(2, '{"a": NaN}'), (4, "5")]
