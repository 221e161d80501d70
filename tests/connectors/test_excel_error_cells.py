"""Error cells of the spreadsheets that calamine reads are no empty cells: refused at their row, or set aside."""

from __future__ import annotations

import base64
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from lakecat.errors import ParseError
from lakecat_connectors._cell_errors import error_cells

pytest.importorskip("python_calamine", reason="the excel extra is not installed")

# Written by xlwt 1.3: a sheet ``First``, and a sheet ``Data`` with the header n, d and the rows below.
XLS = (
    "eNrtWE1oE0EU/mZ/mh+SNBvTYiuUULRq7EW8eKmrou3JUr0oIujWBCwtiay56EGrNUdB8KR4KfTiperFH1TQmwexogdBEBI9ehIUemizvnm7"
    "q2nMoQENRvZb5s3b997MvJ33ZmZ33ywZlfn7/VU0YA9U1JwIuupkgkrEv0mC9I4jWb8OU3ECdBQiYQpkl44n8VchGUMZ7yoU3NNeEAU+UTmB"
    "sxgvFvKZNmI/+2AJ6cOI0Cj3FNymkkAf+5VieprpBqZ32fYp070sucZ0hGwr4jiWzPHsbi+PjymDrEsQFXjIbT6wZCd68FLm8aXrwrXVsc+e"
    "smb+TcWAFsMCKHJj+ULetmYqSFMIF/DdyQDf/LX6PBPI2ysXIPnyWnmoifyGogGzcE4JmYhlxPFalRodo1P2uVIZMWzWpUDDAatkrWAjpF5l"
    "ExRLZ/I2JUSBSi4qd2dezck1qznOOR4jmkM38wZnepL265U7X98empwwT7Jklndwd5/fIh2Dg8uyBTVO/NS4NMstdjC9wr1uYr6faZq8o3po"
    "osdjRufY5iprh2icXYx35tY6fhvx5S+HHw2UP5vbiV8cq15IL7435zFI506O2strDsNiWNy6KfHY9Gvh7Qgfmfb9tjuElaTnu+MdZt1YRZRZ"
    "wz3xlBQeSFPaPX6hHbPKAWbbTp1Vpemsyid27/zZkfaiwf6iEmWZwfOqK2H2x0BISGulwfqZ55HB/Rro5d6lpdoQXdmTyjZZ7klrMq7G+pQ3"
    "rsbjCjcT0CwTAgQIECBAgAABOh/Ce/NU+RvDfReV72Eh77/OKpVa8Jvkv8URFOkq0WfpQRSotnG+pfzphS78vsQ62/j/CyWO0ug2pjHJfky3"
    "nL/0NSDqn2fdDZN/bgm1On6tFT//8vg/AOkH8KI="
)


def xls(path: Path) -> None:
    path.write_bytes(zlib.decompress(base64.b64decode("".join(XLS))))


def record(kind: int, body: bytes = b"") -> bytes:
    """A record of .xlsb ([MS-XLSB] 2.1.4): kind and size in bytes of seven bits."""
    head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size = len(body)
    return head + (bytes([size]) if size < 0x80 else bytes([size & 0x7F | 0x80, size >> 7])) + body


def wide(text: str) -> bytes:
    return struct.pack("<I", len(text)) + text.encode("utf-16-le")


def cells(row: int, *parts: tuple[int, bytes] | None) -> bytes:
    body = record(0, struct.pack("<I", row) + bytes(21))
    for column, part in enumerate(parts):
        if part is not None:
            body += record(part[0], struct.pack("<II", column, 0) + part[1])
    return body


def text(value: str) -> tuple[int, bytes]:
    return 6, wide(value)


def number(value: float) -> tuple[int, bytes]:
    return 5, struct.pack("<d", value)


def xlsb(path: Path) -> None:
    names = ("First", "Data")
    sheets = [record(156, struct.pack("<II", 0, at) + wide(f"r{at}") + wide(name)) for at, name in enumerate(names, 1)]
    rows = [
        cells(0, text("n"), text("d")),
        cells(1, number(1), (3, b"\x07")),
        cells(2, number(2), number(5)),
        cells(3, (11, b"\x2a" + bytes(10))),
        cells(4, number(4), (4, b"\x01")),
    ]
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet"
    relations = "".join(f'<Relationship Id="r{at}" Type="{kind}" Target="worksheets/s{at}.bin"/>' for at in (1, 2))
    space = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("[Content_Types].xml", "<Types/>")
        package.writestr("xl/workbook.bin", record(131) + record(143) + b"".join(sheets) + record(144) + record(132))
        package.writestr("xl/_rels/workbook.bin.rels", f'<Relationships xmlns="{space}">{relations}</Relationships>')
        package.writestr("xl/worksheets/s1.bin", sheet([cells(0, text("other"))]))
        package.writestr("xl/worksheets/s2.bin", sheet(rows))


def sheet(rows: Iterable[bytes]) -> bytes:
    area = record(148, struct.pack("<4I", 0, 4, 0, 1))
    return record(129) + area + record(145) + b"".join(rows) + record(146) + record(130)


def ods(path: Path, extra: str = "") -> None:
    names = ("office", "table", "text")
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in names)
    spaces += ' xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"'
    rows = [
        f"{said('n')}{said('d')}",
        f"{valued(1)}{wrong('#DIV/0!')}",
        f"{valued(2)}{valued(5)}",
        wrong("#N/A"),
        f"{valued(4)}<table:table-cell office:value-type='boolean' office:boolean-value='true'/>",
    ]
    data = "".join(f"<table:table-row>{row}</table:table-row>" for row in rows)
    first = f"<table:table table:name='First'><table:table-row>{wrong('#REF!')}</table:table-row></table:table>"
    tables = f"{first}<table:table table:name='Data'>{data}{extra}</table:table>"
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        package.writestr("META-INF/manifest.xml", "<manifest/>")
        package.writestr(
            "content.xml",
            f"<office:document-content {spaces}><office:body><office:spreadsheet>{tables}"
            "</office:spreadsheet></office:body></office:document-content>",
        )


def said(value: str) -> str:
    return f"<table:table-cell office:value-type='string'><text:p>{value}</text:p></table:table-cell>"


def valued(value: int) -> str:
    return f"<table:table-cell office:value-type='float' office:value='{value}'/>"


def wrong(value: str, repeated: str = "") -> str:
    """As LibreOffice writes it: an empty string whose own type is error."""
    kinds = "office:value-type='string' office:string-value='' calcext:value-type='error'"
    return f"<table:table-cell table:formula='of:=1/0' {repeated} {kinds}><text:p>{value}</text:p></table:table-cell>"


Make = Callable[[Path], None]
KINDS = pytest.mark.parametrize(("name", "make"), [("a.xls", xls), ("a.xlsb", xlsb), ("a.ods", ods)])


@KINDS
def test_an_error_cell_is_refused_at_its_row(tmp_path: Path, load, name: str, make: Make) -> None:
    make(tmp_path / name)
    with pytest.raises(ParseError, match=r"the cell holds #DIV/0!") as info:
        load(name, sheet="Data")
    assert info.value.where is not None
    assert (info.value.where.line, info.value.where.column) == (2, "d")


@KINDS
def test_rows_with_error_cells_are_set_aside(tmp_path: Path, load, name: str, make: Make) -> None:
    make(tmp_path / name)
    got = load(name, sheet="Data", rejects=9)
    assert got.rows == [{"n": 2, "d": "5"}, {"n": 4, "d": "true"}]
    assert [(one["line"], one["column"], one["text"]) for one in got.rejected] == [
        (2, "d", "1\t#DIV/0!"),
        (4, "n", "#N/A\t"),
    ]


@KINDS
def test_errors_that_are_named_are_null(tmp_path: Path, load, name: str, make: Make) -> None:
    make(tmp_path / name)
    got = load(name, sheet="Data", null=["#DIV/0!", "#N/A"])
    assert [row["d"] for row in got.rows] == [None, "5", "true"]


def test_repeated_cells_and_rows_of_opendocument_are_counted(tmp_path: Path) -> None:
    twice = wrong("#NAME?", "table:number-columns-repeated='2'")
    extra = (
        "<table:table-row table:number-rows-repeated='3'><table:table-cell/></table:table-row>"
        "<table:table-row table:number-rows-repeated='2'><table:table-cell table:number-columns-repeated='4'/>"
        f"{twice}</table:table-row>"
    )
    ods(tmp_path / "a.ods", extra)
    found = error_cells(str(tmp_path / "a.ods"), 1, "a.ods")
    places = [place for place, shown in found.items() if shown == "#NAME?"]
    assert sorted(places) == [(9, 5), (9, 6), (10, 5), (10, 6)]
    assert error_cells(str(tmp_path / "a.ods"), 0, "a.ods") == {(1, 1): "#REF!"}


def test_a_damaged_compound_file_does_not_hang(tmp_path: Path, load) -> None:
    xls(tmp_path / "a.xls")
    whole = bytearray((tmp_path / "a.xls").read_bytes())
    for at in range(28, len(whole), 61):
        damaged = bytes(whole[:at]) + b"\xff" + bytes(whole[at + 1 :])
        (tmp_path / "b.xls").write_bytes(damaged)
        try:
            load("b.xls", sheet="Data", rejects=9)
        except ParseError as err:
            assert err.what  # noqa: PT017 - whether it raises depends on the place
