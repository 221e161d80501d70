"""XML: records to rows, parts to columns, types as in CSV; no document types, nothing outside the file."""

from __future__ import annotations

import datetime as dt
import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lakecat.errors import ParseError


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.write_bytes(text.encode(encoding))


def test_attributes_and_children_are_columns(tmp_path: Path, load) -> None:
    write(
        tmp_path / "a.xml",
        """<?xml version="1.0"?>
        <orders made="2020">
          <order id="1"><at>2020-01-02</at><total>10.50</total><note/></order>
          <!-- a comment -->
          <order id="2"><at>2020-01-03</at><total>7</total><note>a &amp; b<![CDATA[ <c>]]></note></order>
        </orders>""",
    )
    got = load("a.xml")
    assert got.types == {"id": "int64", "at": "date32[day]", "total": "double", "note": "string"}
    assert got.rows == [
        {"id": 1, "at": dt.date(2020, 1, 2), "total": 10.5, "note": None},
        {"id": 2, "at": dt.date(2020, 1, 3), "total": 7.0, "note": "a & b <c>"},
    ]


def test_nested_and_repeated_parts(tmp_path: Path, load) -> None:
    write(
        tmp_path / "a.xml",
        """<r>
        <o><line sku="00501"><n>1</n></line><line sku="7"><n>2</n><n>3</n></line><tag>a</tag></o>
        <o><line sku="8"/><tag>b</tag><tag>c</tag><price cur="EUR">1.5</price></o>
        <o><price>2</price></o>
        </r>""",
    )
    got = load("a.xml")
    assert got.types == {
        "line": "list<item: struct<sku: string, n: list<item: int64>>>",
        "tag": "list<item: string>",
        "price": "struct<cur: string, text: double>",
    }
    assert got.rows == [
        {"line": [{"sku": "00501", "n": [1]}, {"sku": "7", "n": [2, 3]}], "tag": ["a"], "price": None},
        {"line": [{"sku": "8", "n": None}], "tag": ["b", "c"], "price": {"cur": "EUR", "text": 1.5}},
        {"line": None, "tag": None, "price": {"cur": None, "text": 2.0}},
    ]


@pytest.mark.parametrize(
    ("record", "rows"),
    [
        (None, [{"x": 1, "item": None}, {"x": None, "item": [{"v": 1}, {"v": 2}]}]),
        ("item", [{"v": 1}, {"v": 2}]),
        ("/root/list/item", [{"v": 1}, {"v": 2}]),
        ("/root/item", []),
    ],
)
def test_records_are_named(tmp_path: Path, load, record: str | None, rows: list[Any]) -> None:
    write(tmp_path / "a.xml", "<root><head x='1'/><list><item><v>1</v></item><item><v>2</v></item></list></root>")
    got = load("a.xml", **({} if record is None else {"record": record}))
    assert got.rows == rows


def test_names_that_collide_can_be_told_apart(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r><o id='1'><id>2</id></o></r>")
    with pytest.raises(ParseError, match="attribute and a part named 'id'"):
        load("a.xml")
    assert load("a.xml", attribute_prefix="@").rows == [{"@id": 1, "id": 2}]


def test_namespaces_do_not_count_unless_they_clash(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r xmlns='urn:a' xmlns:b='urn:b'><o><b:x>1</b:x></o></r>")
    assert load("a.xml").rows == [{"x": 1}]
    write(tmp_path / "b.xml", "<r xmlns='urn:a' xmlns:b='urn:b'><o><b:x>1</b:x><x>2</x></o></r>")
    with pytest.raises(ParseError, match="two namespaces"):
        load("b.xml")


def test_nil_is_null(tmp_path: Path, load) -> None:
    write(
        tmp_path / "a.xml",
        "<r xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><o><v xsi:nil='true'/></o><o><v>3</v></o></r>",
    )
    assert load("a.xml").rows == [{"v": None}, {"v": 3}]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-8-sig", "cp1252"])
def test_declared_encodings(tmp_path: Path, load, encoding: str) -> None:
    name = encoding.removesuffix("-sig")
    write(tmp_path / "a.xml", f"<?xml version='1.0' encoding='{name}'?><r><o><v>é</v></o></r>", encoding)
    assert load("a.xml").rows == [{"v": "é"}]


def test_compressed_and_exact(tmp_path: Path, load) -> None:
    text = "<r><o><v>12345678901234567890.5</v></o></r>"
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(text.encode()))
    assert load("a.xml.gz").rows == [{"v": Decimal("12345678901234567890.5")}]


def test_declared_types_reach_into_the_tree(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r><o><p><n>007</n></p></o></r>")
    kind = pa.struct([("n", pa.int64())])
    assert load("a.xml", declared={"p": kind}).rows == [{"p": {"n": 7}}]
    write(tmp_path / "b.xml", "<r>\n<o><p><n>1</n></p></o>\n<o><p><n>x</n></p></o></r>")
    with pytest.raises(ParseError, match="'x' is not long") as caught:
        load("b.xml", expected=pa.schema([("p", kind)]))
    assert caught.value.where is not None
    assert (caught.value.where.line, caught.value.where.column) == (3, "p.n")


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f'<!DOCTYPE r [<!ENTITY a0 "ha">{LAUGHS}]><r><o>&a9;</o></r>', "document type"),
        ('<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><r><o>&x;</o></r>', "document type"),
        ('<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd"><r/>', "document type"),
        ("<r><o>&x;</o></r>", "undefined entity"),
        ("<r><o>1</o>", "no element found"),
        ("<r><o>1</p></r>", "mismatched tag"),
        ("<r><o>a <b>x</b> c</o></r>", "mixes text and elements"),
        ("<r>" + "<x>" * 100_000, "nested deeper"),
        ("<r><o><A>1</A><a>2</a></o></r>", "are one column"),
        ("<html><body>", "no element found"),
        ("plain", "syntax error"),
        ("<?xml version='1.0' encoding='nope'?><r/>", "encoding"),
        ("", "empty"),
        ("<r><o>\x01</o></r>", "invalid token"),
    ],
)
def test_bad_documents_are_refused(tmp_path: Path, load, text: str, says: str) -> None:
    write(tmp_path / "a.xml", text)
    with pytest.raises(ParseError, match=says) as caught:
        load("a.xml")
    assert caught.value.where is not None
    assert caught.value.where.file == str(tmp_path / "a.xml")


def test_many_records_in_many_pieces(tmp_path: Path, load) -> None:
    rows = "".join(f"<o n='{n}'><t>{'x' * (n % 50)}é</t></o>" for n in range(20_000))
    write(tmp_path / "a.xml", f"<r>{rows}</r>")
    got = load("a.xml").table
    assert got["n"].to_pylist() == list(range(20_000))
    assert got["t"].to_pylist() == ["x" * (n % 50) + "é" for n in range(20_000)]


def test_a_record_that_does_not_fit_is_set_aside_with_its_number(tmp_path: Path, load) -> None:
    text = "<r><o><n>1</n></o><o><n>x</n></o>\n<o><n>3</n></o><o><n>y</n><m>2</m></o><o><n>5</n></o></r>"
    write(tmp_path / "a.xml", text)
    got = load("a.xml", rejects=10, declared={"n": pa.int64()})
    assert got.rows == [{"n": 1}, {"n": 3}, {"n": 5}]  # m stands in a record that is set aside, and is no column
    assert [(one["line"], one["column"], one["text"], one["reason"]) for one in got.rejected] == [
        (2, "n", '{"n":"x"}', "'x' is not long (line 1)"),
        (4, "n", '{"n":"y","m":"2"}', "'y' is not long (line 2)"),
    ]
    with pytest.raises(ParseError, match="more than 1 lines"):
        load("a.xml", rejects=1, declared={"n": pa.int64()})
    with pytest.raises(ParseError, match="'x' is not long") as info:
        load("a.xml", declared={"n": pa.int64()})
    assert info.value.where is not None
    assert info.value.where.line == 1


@pytest.mark.parametrize(
    ("record", "reason", "text"),
    [
        ("<o>words<n>1</n></o>", "mixes text and elements", '{"n":"1","text":"words"}'),
        ('<o n="1"><n>2</n></o>', "an attribute and a part named 'n'", '{"n":["1","2"]}'),
        ('<o xmlns:b="u"><n>1</n><b:n>2</b:n></o>', "of two namespaces", '{"n":["1","2"]}'),
        ('<o xmlns:b="u" n="1" b:n="2"/>', "two attributes are named 'n'", '{"n":"1","u n":"2"}'),
        ("<o><n>1</n><N>2</N></o>", "are one column", '{"n":"1","N":"2"}'),
        ("<o><n><deep>1</deep></n></o>", "has parts or repeats", '{"n":{"deep":"1"}}'),
        ("<o><n>1</n><n>2</n></o>", "has parts or repeats", '{"n":["1","2"]}'),
    ],
)
def test_a_record_that_contradicts_itself_is_set_aside_whole(
    tmp_path: Path, load, record: str, reason: str, text: str
) -> None:
    write(tmp_path / "a.xml", f"<r><o><n>7</n></o>{record}<o><n>8</n></o></r>")
    got = load("a.xml", rejects=5, declared={"n": pa.int64()})
    assert got.rows == [{"n": 7}, {"n": 8}]
    (one,) = got.rejected
    assert (one["line"], one["text"]) == (2, text)
    assert reason in one["reason"]


def test_names_that_collide_over_records_set_the_later_record_aside(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r><o><id>1</id></o><o><z>1</z><ID>2</ID></o><o><id>3</id></o></r>")
    got = load("a.xml", rejects=5)
    assert got.rows == [{"id": 1}, {"id": 3}]
    assert [one["text"] for one in got.rejected] == ['{"z":"1","ID":"2"}']


def test_parts_that_the_table_does_not_know_come_beside_records_that_are_set_aside(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r><o><p><a>1</a><b>2</b></p></o><o><p><a>x</a></p></o></r>")
    table = pa.schema([pa.field("p", pa.struct([pa.field("a", pa.int64())]))])
    got = load("a.xml", rejects=5, expected=table)
    assert got.rows == [{"p": {"a": 1, "b": 2}}]
    assert [(one["line"], one["column"]) for one in got.rejected] == [(2, "p.a")]


def test_what_is_not_well_formed_stays_an_error(tmp_path: Path, load) -> None:
    write(tmp_path / "a.xml", "<r><o><n>7</n></o><o><n>8</o></r>")
    with pytest.raises(ParseError, match="not well-formed"):
        load("a.xml", rejects=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.one_of(st.integers(-99, 99), st.sampled_from(["x", "1.5", "<q/>"])), max_size=30))
def test_every_record_is_a_row_or_set_aside(tmp_path: Path, load, values: list[Any]) -> None:
    write(tmp_path / "a.xml", "<r><o><n>0</n></o>" + "".join(f"<o><n>{value}</n></o>" for value in values) + "</r>")
    got = load("a.xml", rejects=100, declared={"n": pa.int64()})
    assert [row["n"] for row in got.rows] == [0, *(value for value in values if isinstance(value, int))]
    assert [one["line"] for one in got.rejected] == [
        number for number, value in enumerate(values, start=2) if not isinstance(value, int)
    ]


@pytest.mark.parametrize(
    ("record", "text", "found"),
    [
        ("order", "<r><head/><item><a>1</a></item></r>", False),
        ("/r/list/order", "<r><head/></r>", False),
        ("/r/list/order", "<r/>", False),
        ("/r/list/order", "<r><list/></r>", True),
        ("/r/list/order", "<r><list><other/></list></r>", True),
        ("order", "<r/>", True),
        ("/order", "<r/>", False),
    ],
)
def test_a_file_without_the_records_that_are_named_is_no_empty_one(
    tmp_path: Path, load, record: str, text: str, *, found: bool
) -> None:
    write(tmp_path / "a.xml", text)
    if found:
        assert load("a.xml", record=record).rows == []
    else:
        with pytest.raises(ParseError, match="holds no element"):
            load("a.xml", record=record)
    assert load("a.xml", record=record, empty="skip").rows == []


@pytest.mark.parametrize("text", ["<r>words<o><a>1</a></o></r>", "<r><o><a>1</a></o>words</r>", "<r>words</r>"])
def test_text_beside_the_records_is_not_lost(tmp_path: Path, load, text: str) -> None:
    write(tmp_path / "a.xml", text)
    with pytest.raises(ParseError, match="text stands outside the records: 'words'"):
        load("a.xml")
    assert load("a.xml", record="o", empty="skip").rows == ([{"a": 1}] if "<a>" in text else [])
