"""Spreadsheets: cells keep their types, numbers are those that are written, errors are refused or set aside."""

from __future__ import annotations

import datetime as dt
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lakecat.connector import ReadOptions, StreamRequest
from lakecat.errors import ConfigError, ParseError
from lakecat_connectors._cells import number_kind, serial

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LINKS = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
# Styles 0 to 5: a number, a date, a time, both, a duration, the program's own format for a date.
STYLES = (
    f'<styleSheet {MAIN}><numFmts count="1"><numFmt numFmtId="164" formatCode="[$-409]d\\ mmm;@"/></numFmts>'
    "<cellXfs>" + "".join(f'<xf numFmtId="{code}"/>' for code in (0, 14, 21, 22, 46, 164)) + "</cellXfs></styleSheet>"
)


def workbook(path: Path, *sheets: str, strings: str = "", head: str = "", settings: str = "") -> None:
    """A workbook written by hand: each sheet the text of its rows."""
    listed = "".join(
        f'<sheet name="S{number}" sheetId="{number}" r:id="rId{number}"/>' for number in range(1, len(sheets) + 1)
    )
    links = "".join(
        f'<Relationship Id="rId{number}" Type="{KINDS}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    links += f'<Relationship Id="s" Type="{KINDS}/styles" Target="/xl/styles.xml"/>'
    links += f'<Relationship Id="t" Type="{KINDS}/sharedStrings" Target="sharedStrings.xml"/>'
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        root = f'<Relationship Id="a" Type="{KINDS}/officeDocument" Target="xl/workbook.xml"/>'
        package.writestr("_rels/.rels", f"<Relationships {RELS}>{root}</Relationships>")
        package.writestr("xl/workbook.xml", f"<workbook {MAIN} {LINKS}>{settings}<sheets>{listed}</sheets></workbook>")
        package.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {RELS}>{links}</Relationships>")
        package.writestr("xl/styles.xml", STYLES)
        package.writestr("xl/sharedStrings.xml", f"<sst {MAIN}>{strings}</sst>")
        for number, rows in enumerate(sheets, start=1):
            text = f"{head}<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
            package.writestr(f"xl/worksheets/sheet{number}.xml", text)


def row(number: int, *cells: str) -> str:
    return f'<row r="{number}">{"".join(cells)}</row>'


def text(place: str, value: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'


def num(place: str, value: object, style: int = 0) -> str:
    return f'<c r="{place}" s="{style}"><v>{value}</v></c>'


def column(*values: str, **options: Any) -> str:
    return row(1, text("A1", "v")) + "".join(row(number, value) for number, value in enumerate(values, start=2))


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        ([num("A2", 1), num("A3", "-2.0"), num("A4", "1E3")], "int64", [1, -2, 1000]),
        ([num("A2", "0.1"), num("A3", 2)], "double", [0.1, 2.0]),
        ([num("A2", "0.30000000000000004")], "double", [0.30000000000000004]),
        # As Excel and openpyxl write 0.29 and 9.03.
        ([num("A2", "0.28999999999999998"), num("A3", "9.029999999999999")], "double", [0.29, 9.03]),
        ([num("A2", "12345678901234567890")], "decimal128(38, 0)", [Decimal(12345678901234567890)]),
        ([num("A2", "0.1234567890123456789")], "decimal128(38, 19)", [Decimal("0.1234567890123456789")]),
        ([text("A2", "00501"), text("A3", "a&lt;b")], "string", ["00501", "a<b"]),
        (['<c r="A2" t="s"><v>1</v></c>'], "string", ["two runs\n"]),
        (['<c r="A2" t="b"><v>1</v></c>', '<c r="A3" t="b"><v>0</v></c>'], "bool", [True, False]),
        ([num("A2", 43832, 1), num("A3", 1, 5)], "date32[day]", [dt.date(2020, 1, 2), dt.date(1900, 1, 1)]),
        ([num("A2", "0.5", 2)], "time64[us]", [dt.time(12)]),
        (
            [num("A2", "43832.127843495372", 3), num("A3", 43832, 1)],
            "timestamp[us]",
            [dt.datetime(2020, 1, 2, 3, 4, 5, 678000), dt.datetime(2020, 1, 2)],  # noqa: DTZ001
        ),
        ([num("A2", "1.0833333333333333", 4)], "string", ["26:00:00"]),
        ([num("A2", 1), text("A3", "x"), num("A4", "0.50")], "string", ["1", "x", "0.5"]),
        ([num("A2", 43832, 1), text("A3", "x")], "string", ["2020-01-02", "x"]),
        (['<c r="A2" t="d"><v>2020-01-02</v></c>'], "date32[day]", [dt.date(2020, 1, 2)]),
        (['<c r="A2" t="str"><f>A1</f><v>v</v></c>'], "string", ["v"]),
    ],
)
def test_cells_keep_their_types(tmp_path: Path, load, cells: list[str], kind: str, values: list[Any]) -> None:
    strings = "<si><t>one</t></si><si><r><t>two</t></r><r><t> runs_x000A_</t></r><rPh><t>no</t></rPh></si>"
    workbook(tmp_path / "a.xlsx", column(*cells), strings=strings)
    got = load("a.xlsx")
    assert got.types == {"v": kind}
    assert [line["v"] for line in got.rows] == values


def test_dates_since_1904(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 0, 1)), settings='<workbookPr date1904="1"/>')
    assert load("a.xlsx").rows == [{"v": dt.date(1904, 1, 1)}]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("yyyy-mm-dd", "date"),
        ("mmm", "date"),
        ("h:mm AM/PM", "time"),
        ("mm:ss.0", "time"),
        ("[h]:mm", "duration"),
        ("dd/mm/yy\\ hh:mm", "datetime"),
        ("#,##0.00", "number"),
        ("0.00E+00", "number"),
        ('0" days"', "number"),
        ("[Red]0;[Blue]-0", "number"),
        ("General", "number"),
        ("[$-F800]dddd", "date"),
        ("_-* #,##0_d", "number"),
    ],
)
def test_number_formats(code: str, kind: str) -> None:
    assert number_kind(164, code) == kind


def test_the_day_that_never_was_is_none() -> None:
    assert serial("59", "date", since_1904=False) == dt.date(1900, 2, 28)
    assert serial("61", "date", since_1904=False) == dt.date(1900, 3, 1)
    with pytest.raises(ValueError, match="60"):
        serial("60", "date", since_1904=False)


def test_the_table_is_found_in_the_sheet(tmp_path: Path, load) -> None:
    rows = (
        row(2, text("A2", "Report"))
        + row(4, text("C4", "id"), text("D4", " name "))
        + row(7, num("C7", 1), text("D7", "x"))
        + row(9, num("C9", 2))
        + row(12, text("C12", "Sum"), num("F12", 3))
    )
    workbook(tmp_path / "a.xlsx", rows)
    expected = [{"id": 1, "name": "x"}, {"id": 2, "name": None}]
    assert load("a.xlsx", range="C4:D9").rows == expected
    with pytest.raises(ParseError, match="column F, which has no header"):
        load("a.xlsx", skip_lines=3)


def test_columns_without_header_get_names(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", row(1, num("A1", 1), num("B1", 2)))
    assert load("a.xlsx", header=False, names=["x", "y"]).rows == [{"x": 1, "y": 2}]


def test_sheets_are_chosen(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1)), "", column(num("A2", 3)))
    assert load("a.xlsx", sheet="S3").rows == [{"v": 3}]
    assert load("a.xlsx", sheet=1).rows == [{"v": 1}]
    with pytest.raises(ParseError, match="2 sheets to choose from"):
        load("a.xlsx")
    with pytest.raises(ParseError, match="no sheet"):
        load("a.xlsx", sheet="other")
    workbook(tmp_path / "b.xlsx", "", column(num("A2", 1)))
    assert load("b.xlsx").rows == [{"v": 1}]


ERROR = '<c r="A3" t="e"><v>#DIV/0!</v></c>'


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (ERROR, "#DIV/0!"),
        ('<c r="A3"><f>1+1</f></c>', "never calculated"),
        (num("A3", "x1"), "'x1'"),
        (num("A3", -1, 1), "'-1', which is no date"),
        ('<c r="A3" t="s"><v>99</v></c>', "shared text"),
        (num("A9", 1), "stands at"),
    ],
)
def test_bad_cells_are_refused_at_their_row(tmp_path: Path, load, cell: str, says: str) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1), cell))
    with pytest.raises(ParseError, match=says) as caught:
        load("a.xlsx")
    assert caught.value.where is not None
    assert caught.value.where.line == 3


def test_error_cells_can_mean_null(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1), ERROR) + row(4, num("A4", 2)))
    assert load("a.xlsx", null=["", "#DIV/0!"]).rows == [{"v": 1}, {"v": 2}]


def test_rows_with_error_cells_are_set_aside(tmp_path: Path, connectors, ledger_type) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1), ERROR, text("A4", "x"), num("A5", 2)))
    connector = connectors("a.xlsx")
    (slice_,) = connector.plan(StreamRequest(), ledger_type())
    reader = connector.read(slice_, ReadOptions(rejects=5, declared={"v": pa.int64()}))
    assert [line["v"] for batch in reader for line in batch.to_pylist()] == [1, 2]
    rejected = reader.summary().rejected
    assert rejected is not None
    assert [(line["line"], line["column"], line["text"]) for line in rejected.to_pylist()] == [
        (3, "v", "#DIV/0!"),
        (4, "v", "x"),
    ]


def test_declared_types_are_taken_from_text(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(text("A2", "42"), num("A3", 7)))
    assert load("a.xlsx", declared={"v": pa.int64()}).rows == [{"v": 42}, {"v": 7}]
    with pytest.raises(ParseError, match="'42' is not long"):
        load("a.xlsx", expected=pa.schema([("v", pa.int64())]))


def test_a_document_type_is_refused(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1)), head='<!DOCTYPE x [<!ENTITY a "b">]>')
    with pytest.raises(ParseError, match="DTD"):
        load("a.xlsx")


@pytest.mark.parametrize("content", [b"PK", b"PK\5\6" + bytes(18), b"\xd0\xcf\x11\xe0" + bytes(600), b"a,b\n1,2\n"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, load, content: bytes) -> None:
    pytest.importorskip("python_calamine", reason="the excel extra is not installed")
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(ParseError) as caught:
        load("a.xlsx")
    assert caught.value.where is not None


def test_a_cut_off_workbook_is_refused(tmp_path: Path, load) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", 1)))
    (tmp_path / "a.xlsx").write_bytes((tmp_path / "a.xlsx").read_bytes()[:-30])
    with pytest.raises(ParseError, match="not a sound"):
        load("a.xlsx")


def test_a_bad_range_is_a_config_error(load) -> None:
    with pytest.raises(ConfigError, match="range"):
        load("a.xlsx", range="B3-F4")


def test_what_openpyxl_writes(tmp_path: Path, load) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="openpyxl is not installed")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["n", "d", "t", "s", "b"])
    sheet.append([1.25, dt.date(2020, 2, 29), dt.datetime(1999, 12, 31, 23, 59, 59, 999000), "é", True])  # noqa: DTZ001
    sheet.append([None, None, None, " x ", None])
    book.save(tmp_path / "a.xlsx")
    assert load("a.xlsx").rows == [
        {
            "n": 1.25,
            "d": dt.date(2020, 2, 29),
            "t": dt.datetime(1999, 12, 31, 23, 59, 59, 999000),  # noqa: DTZ001
            "s": "é",
            "b": True,
        },
        {"n": None, "d": None, "t": None, "s": " x ", "b": None},
    ]


def spreadsheet(path: Path, rows: str) -> None:
    """An OpenDocument file written by hand."""
    spaces = " ".join(
        f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in ("office", "table", "text")
    )
    table = f'<table:table table:name="T">{rows}</table:table>'
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        package.writestr("META-INF/manifest.xml", "<manifest/>")
        package.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>{table}"
            "</office:spreadsheet></office:body></office:document-content>",
        )


def test_opendocument(tmp_path: Path, load) -> None:
    pytest.importorskip("python_calamine", reason="the excel extra is not installed")
    text_cell = "<table:table-cell office:value-type='string'><text:p>{}</text:p></table:table-cell>"
    header = "".join(text_cell.format(name) for name in "nds")
    spreadsheet(
        tmp_path / "a.ods",
        "<table:table-row><table:table-cell/></table:table-row>"
        f"<table:table-row><table:table-cell/>{header}</table:table-row>"
        "<table:table-row><table:table-cell/><table:table-cell office:value-type='float' office:value='2'/>"
        "<table:table-cell office:value-type='date' office:date-value='2020-01-02'/>"
        f"{text_cell.format('x')}</table:table-row>",
    )
    got = load("a.ods")
    assert got.types == {"n": "int64", "d": "date32[day]", "s": "string"}
    assert got.rows == [{"n": 2, "d": dt.date(2020, 1, 2), "s": "x"}]


@pytest.mark.parametrize("number", ["NaN", "INF", "1_000", "\u0663", "0x10", "1e400", "--1", "1e", "."])
def test_what_a_sheet_writes_for_a_number_is_one(tmp_path: Path, load, number: str) -> None:
    workbook(tmp_path / "a.xlsx", column(num("A2", number)))
    with pytest.raises(ParseError, match="which is no number"):
        load("a.xlsx")
