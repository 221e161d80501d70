"""Answers become Arrow exactly, or are refused clearly; bad rows go to quarantine where that is asked for."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.connector import ReadOptions
from lakecat.errors import ParseError, SourceChangedError, SourceError
from lakecat.types import WriteMode


def raw(api, reply, text: str | bytes) -> None:
    api.on("/items", reply(text.encode() if isinstance(text, str) else text))


def test_numbers_keep_every_digit(lab, api, reply):
    raw(api, reply, '[{"i": 9007199254740993, "d": 0.1, "n": 12345678901234567890.123456789, "e": 1E+2, "b": true}]')
    loaded = lab.load()
    assert loaded.rows == [
        {
            "i": 9007199254740993,
            "d": 0.1,
            "n": Decimal("12345678901234567890.123456789"),
            "e": 100.0,
            "b": True,
        }
    ]
    assert loaded.types["n"] == "decimal128(38, 9)"
    assert loaded.types["i"] == "int64"


def test_nested_values_stay_nested(lab, api):
    api.on("/items", [{"id": 1, "a": {"b": [{"c": 1}, {"c": None, "d": "x"}]}}, {"id": 2}])
    loaded = lab.load()
    assert loaded.rows == [
        {"id": 1, "a": {"b": [{"c": 1, "d": None}, {"c": None, "d": "x"}]}},
        {"id": 2, "a": None},
    ]


def test_kinds_that_differ_become_text(lab, api):
    api.on("/items", [{"v": 1}, {"v": "x"}, {"v": {"a": [1]}}, {"v": None}])
    assert [row["v"] for row in lab.load().rows] == ["1", "x", '{"a":[1]}', None]


def test_the_tables_types_hold(lab, api):
    api.on("/items", [{"at": "2026-01-01T00:00:00Z", "n": 1}])
    expected = pa.schema([("at", pa.timestamp("us", "UTC")), ("n", pa.float64()), ("gone", pa.int32())])
    loaded = lab.load(read=ReadOptions(expected=expected))
    assert loaded.table.schema.equals(expected)
    assert str(loaded.rows[0]["at"]) == "2026-01-01 00:00:00+00:00"
    assert loaded.rows[0]["gone"] is None


def test_a_struct_of_the_table_gets_a_new_field(lab, api):
    api.on("/items", [{"p": {"n": 1}}, {"p": {"n": 2, "new": [{"x": 0.5}]}}])
    loaded = lab.load(read=ReadOptions(expected=pa.schema([("p", pa.struct([("n", pa.float64())]))])))
    assert loaded.rows == [{"p": {"n": 1.0, "new": None}}, {"p": {"n": 2.0, "new": [{"x": 0.5}]}}]


BAD_ROWS = [
    ('{"id": 2, "v": NaN}', "NaN is no JSON number", "v"),
    ('{"id": 2, "v": {"a": -Infinity}}', "-Infinity is no JSON number", "v.a"),
    ('{"id": 2, "v": 1, "v": 2}', "the key 'v' appears twice in one object", None),
    ('{"id": 2, "o": {"k": 1, "k": 1}}', "the key 'k' appears twice in one object", "o"),
    ('{"id": 2, "v": 1e999}', "is a number beyond the range of a double", "v"),
    ('{"id": 2, "v": ' + "9" * 39 + "}", "a number with 39 digits; no column holds more than 38", "v"),
    ('{"id": 2, "v": ' + "9" * 5000 + "}", "a number with 5000 digits; no column holds more than 38", "v"),
    ('{"id": 2, "v": 1E-999999999}', "no column holds more than 38", "v"),
    ('{"id": 2, "v": "\\ud800"}', "holds a lone surrogate, which is no character", None),
    ('{"id": 2, "v": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 64", None),
    ('{"id": 2, "": 1}', "the key '' is no column name", None),
    ('{"id": 2, "ID": 1}', "the keys 'id' and 'ID' are one column", "ID"),
    ("[1, 2]", "a row is a list, not an object", None),
    ("null", "a row is null, not an object", None),
    ('"text"', "a row is a text, not an object", None),
]


@pytest.mark.parametrize(("bad", "reason", "column"), BAD_ROWS)
def test_a_bad_row_is_an_error_with_its_place(lab, api, reply, bad, reason, column):
    raw(api, reply, f'{{"data": [{{"id": 1}}, {bad}, {{"id": 3}}]}}')
    with pytest.raises(ParseError) as caught:
        lab.load()
    assert reason in caught.value.what
    assert caught.value.where.file == f"{api.url}/items"
    assert caught.value.where.line == 2
    if column is not None:
        assert caught.value.where.column == column


@pytest.mark.parametrize(("bad", "reason", "column"), BAD_ROWS)
def test_a_bad_row_goes_to_quarantine_and_leaves_the_others(lab, api, reply, bad, reason, column):
    raw(api, reply, f'{{"data": [{{"id": 1}}, {bad}, {{"id": 3}}]}}')
    loaded = lab.load(read=ReadOptions(rejects=1))
    assert [row["id"] for row in loaded.rows] == [1, 3]
    (rejected,) = loaded.rejected
    assert reason in rejected["reason"]
    assert (rejected["line"], rejected["source"]) == (2, f"{api.url}/items")
    if column is not None:
        assert rejected["column"] == column
    if "surrogate" not in reason and "deeper" not in reason:
        assert "".join(rejected["text"].split()) == "".join(bad.split())


def test_a_bad_row_has_no_say_in_columns_and_types(lab, api, reply):
    raw(api, reply, f'[{{"id": 1, "v": 5}}, {{"id": 2, "v": "text", "n": {"9" * 39}}}, {{"id": 3, "v": 6}}]')
    loaded = lab.load(read=ReadOptions(rejects=1))
    assert loaded.rows == [{"id": 1, "v": 5}, {"id": 3, "v": 6}]
    assert [row["line"] for row in loaded.rejected] == [2]


def test_values_that_do_not_fit_the_table_go_to_quarantine(lab, api):
    api.on("/items", [{"id": 1, "n": 1}, {"id": 2, "n": "x"}, {"id": 3, "n": 2**40}, {"id": "4", "n": None}])
    expected = pa.schema([("id", pa.int64()), ("n", pa.int32())])
    loaded = lab.load(read=ReadOptions(expected=expected, rejects=10))
    assert [row["id"] for row in loaded.rows] == [1]
    assert [(row["line"], row["column"], row["reason"]) for row in loaded.rejected] == [
        (2, "n", "'x' is not int"),
        (3, "n", f"'{2**40}' is not int"),
        (4, "id", "'4' is not long"),
    ]
    with pytest.raises(ParseError, match="'x' is not int"):
        lab.load(read=ReadOptions(expected=expected))
    with pytest.raises(ParseError, match="'4' is not long"):
        lab.load(read=ReadOptions(expected=expected, rejects=2))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"data": [{"id": 1}], "x": NaN}', "NaN is no JSON number"),
        (b'{"data": [{"id": 1}], "data": []}', "the key 'data' appears twice"),
        (b'[{"id": 1}', "is not JSON: Expecting ',' delimiter"),
        (b"", "the answer is empty"),
        (b"<!DOCTYPE html><html>oh no</html>", "is an HTML or XML page"),
        (b'[{"id": "\xff"}]', "bytes ff at offset 9 of the answer are not UTF-8 text"),
        (b'[{"id": "\xe9t\xe9"}]', "are not UTF-8 text"),
        (b"[" * 200_000, "nested deeper than 256"),
        (b'{"a":' * 100_000, "nested deeper than 256"),
        (b"[" * 300 + b"]" * 300, "nested deeper than 256"),
        (b"[]]", "Extra data"),
        ('[{"id": 1}]'.encode("utf-16"), "not UTF-8 text"),
    ],
)
def test_an_answer_that_is_no_sound_json_is_an_error(lab, api, reply, body, message):
    raw(api, reply, body)
    with pytest.raises((ParseError, SourceError)) as caught:
        lab.load(data_path="data" if b"data" in body else None)
    assert message in caught.value.what


def test_a_byte_order_mark_is_no_part_of_the_answer(lab, api, reply):
    raw(api, reply, b'\xef\xbb\xbf[{"id": 1}]')
    assert lab.load().rows == [{"id": 1}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "quota"}, "data": [{"id": 1}]}, "the answer is an error"),
        ({"errors": [{"message": "x"}], "data": []}, "the answer is an error"),
        ({"error": "no such table"}, "no such table"),
        ({"message": "please log in"}, "please log in"),
        ({"status": "fail"}, "where the rows are in the answer is not clear"),
        ("maintenance", "where the rows are in the answer is not clear"),
        ({"a": [{"x": 1}], "b": [{"x": 1}]}, "where the rows are in the answer is not clear"),
    ],
)
def test_an_error_inside_a_200_is_an_error(lab, api, body, message):
    api.on("/items", body)
    with pytest.raises(SourceError, match=message):
        lab.load()


def test_a_missing_data_path_is_an_error_and_not_zero_rows(lab, api):
    api.on("/items", {"ok": False, "detail": "wrong month"})
    with pytest.raises(SourceError, match="no rows at"):
        lab.load(data_path="result.rows")


def test_a_data_path_that_goes_missing_on_a_later_page_is_an_error(lab, api):
    api.on("/items", lambda r: {"data": [{"id": 1}]} if r.query["page"] == "1" else {"oops": True})
    with pytest.raises(SourceError, match="no rows at"):
        lab.load(paginator={"type": "page"})


def test_the_errors_place_may_be_declared(lab, api):
    api.on("/items", {"data": [{"id": 1}], "status": {"failed": "yes"}})
    with pytest.raises(SourceError, match="the answer is an error: 'yes'"):
        lab.load(error_path="status.failed")
    api.on("/items", {"data": [{"id": 1}], "error": "only a remark"})
    assert lab.load(error_path=False).rows == [{"id": 1}]


def test_data_paths_are_jmespath(lab, api):
    api.on("/items", {"a": {"b": [{"x": {"id": 1}}, {"x": {"id": 2}}]}})
    assert lab.load(data_path="a.b[].x").rows == [{"id": 1}, {"id": 2}]
    api.on("/items", {"id": 7, "tags": [1, 2]})
    assert lab.load(data_path="@").rows == [{"id": 7, "tags": [1, 2]}]
    api.on("/items", {"ids": [1, 2]})
    assert lab.load(data_path="ids[].{id: @}").rows == [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize("status", [200, 204])
def test_an_empty_source_keeps_the_table_by_default(lab, api, reply, status):
    api.on("/items", reply([] if status == 200 else b"", status))
    assert lab.load().keys == []
    with pytest.raises(SourceError, match="items is empty"):
        lab.load(empty="error")
    emptied = lab.load(empty="load", read=ReadOptions(expected=pa.schema([("id", pa.int64())])))
    assert (emptied.table.num_rows, emptied.table.schema.names, len(emptied.keys)) == (0, ["id"], 1)


def test_whole_sources_come_again_only_when_they_changed(lab, api, state):
    api.on("/items", [{"id": 1}])
    assert lab.load(state=state).rows == [{"id": 1}]
    assert lab.load(state=state).keys == []
    api.on("/items", [{"id": 1}, {"id": 2}])
    assert lab.load(state=state).rows == [{"id": 1}, {"id": 2}]


def test_rows_that_moved_to_the_next_page_come_once(lab, api):
    """A row was inserted before the first page while it was read: its last row is the first of the second page."""
    api.on("/items", lambda r: {"0": [{"id": 1}, {"id": 2}], "2": [{"id": 2}, {"id": 3}]}.get(r.query["offset"], []))
    loaded = lab.load(primary_key="id", paginator={"type": "offset", "limit": 2})
    assert [row["id"] for row in loaded.rows] == [1, 2, 3]


def test_a_key_with_two_different_rows_is_an_error(lab, api):
    api.on("/items", [{"id": 1, "v": "a"}, {"id": 1, "v": "b"}])
    with pytest.raises(SourceChangedError, match="two different rows have id 1"):
        lab.load(primary_key="id")
    assert len(lab.load(primary_key="id", mode=WriteMode.MERGE).rows) == 2  # the last one counts, when they are merged


def test_values_of_ten_megabytes_are_read(lab, api):
    api.on("/items", [{"id": 1, "text": "x" * 10_000_000}, {"id": 2, "text": "é" * 10}])
    loaded = lab.load()
    assert [len(row["text"]) for row in loaded.rows] == [10_000_000, 10]


def test_batches_are_bounded(lab, api):
    api.on("/items", [{"id": number} for number in range(10_001)])
    connector = lab.open()
    (slice_,) = connector.plan(request(WriteMode.REPLACE), state_of())
    assert [batch.num_rows for batch in connector.read(slice_, ReadOptions(batch_rows=4000))] == [4000, 4000, 2001]


def test_a_slice_can_be_read_again_and_says_what_it_was(lab, api):
    api.on("/items", [{"id": 1}])
    connector = lab.open()
    (slice_,) = connector.plan(request(WriteMode.REPLACE), state_of())
    for _ in range(2):
        reader = connector.read(slice_, ReadOptions())
        assert sum(batch.num_rows for batch in reader) == 1
        (source,) = reader.summary().sources
        assert source.uri == f"{api.url}/items"
        assert (source.rows, source.bytes, source.properties["pages"]) == (1, len(b'[{"id": 1}]'), 1)


def request(mode: WriteMode) -> Any:
    from lakecat.connector import StreamRequest

    return StreamRequest(mode=mode)


def state_of() -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(position=None)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**37), 10**37)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c d", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(VALUES, min_size=1, max_size=4))
def test_every_value_comes_back(lab, api, values):
    """One column of any values, beside each other: as themselves, or all as the JSON they were."""
    api.on("/items", [{"id": number, "v": value} for number, value in enumerate(values)])
    loaded = lab.load()
    assert [row["id"] for row in loaded.rows] == list(range(len(values)))
    found = [row.get("v") for row in loaded.rows]
    as_text = loaded.types.get("v") == "string"
    for value, got in zip(values, found, strict=True):
        assert same(value, got, as_text=as_text), (value, got, loaded.types)


def same(value: Any, got: Any, *, as_text: bool) -> bool:
    """Whether a JSON value came back; keys that are missing, and empty objects, are NULL in a struct."""
    if as_text and not isinstance(value, str) and value is not None:
        return equal(json.loads(got, parse_float=Decimal), json.loads(json.dumps(value), parse_float=Decimal))
    if isinstance(value, dict) and isinstance(got, dict):
        return all(same(value.get(key), part, as_text=isinstance(part, str)) for key, part in got.items())
    if isinstance(value, list) and isinstance(got, list):
        pairs = zip(value, got, strict=True)
        return all(same(part, other, as_text=isinstance(other, str)) for part, other in pairs)
    return equal(value, got)


def equal(value: Any, got: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(got, dict) and value.keys() == got.keys() and all(equal(value[k], got[k]) for k in value)
    if isinstance(value, list):
        return isinstance(got, list) and len(value) == len(got) and all(map(equal, value, got))
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value is got or value == got
    return not isinstance(got, bool | str) and got is not None and Decimal(str(value)) == Decimal(str(got))
