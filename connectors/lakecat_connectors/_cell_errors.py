"""Where error cells (``#DIV/0!``) stand in .xls, .xlsb and .ods: calamine shows them as empty.

Formats: [MS-XLS] (BoolErr, Formula) in [MS-CFB], [MS-XLSB] (BrtCellError, BrtFmlaError), OpenDocument 1.3 with
LibreOffice's calcext:value-type.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from lakecat.errors import Where
from lakecat_connectors._expat import Element, Handler, parse_xml

Cells = dict[tuple[int, int], str]
"""Rows and columns, from 1, and what the cells show."""

_ERRORS: Final[Mapping[int, str]] = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
    0x2B: "#GETTING_DATA",
}
_CFB: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_LAST: Final = 0xFFFFFFFA
"""Sector numbers from here on end a chain."""

_CHUNK: Final = 1 << 16
_MOST_REPEATS: Final = 16_384
FAILURES: Final = (struct.error, LookupError, ValueError, OSError, zipfile.BadZipFile, NotImplementedError)


def error_cells(path: str, index: int, shown: str) -> Cells:
    """The error cells of the sheet at that place in the workbook, from 0. Raises ``FAILURES`` and ParseError."""
    with Path(path).open("rb") as source:
        head = source.read(len(_CFB))
    if head == _CFB:
        return _of_xls(Path(path).read_bytes(), index)
    if not head.startswith(b"PK"):
        return {}  # BIFF2 to BIFF4 have one sheet, and calamine reads none of them
    with zipfile.ZipFile(path) as package:
        if "content.xml" in package.namelist():
            return _of_ods(package, index, shown)
        return _of_xlsb(package, index, shown)


def _shown(code: int) -> str:
    return _ERRORS.get(code, f"error {code}")


def _of_xls(data: bytes, index: int) -> Cells:
    book = _stream(data, ("Workbook", "Book"))
    starts = [struct.unpack_from("<I", body)[0] for kind, body in _biff(book, 0) if kind == 0x85]
    cells: Cells = {}
    for kind, body in _biff(book, starts[index]):
        if kind == 0x0205 and body[7]:
            row, column = struct.unpack_from("<HH", body)
            cells[row + 1, column + 1] = _shown(body[6])
        elif kind == 0x0006 and body[12:14] == b"\xff\xff" and body[6] == 2:
            row, column = struct.unpack_from("<HH", body)
            cells[row + 1, column + 1] = _shown(body[8])
    return cells


def _biff(book: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    """The records of one substream, without those of charts inside it."""
    depth = 0
    while at + 4 <= len(book):
        kind, size = struct.unpack_from("<HH", book, at)
        body = book[at + 4 : at + 4 + size]
        at += 4 + size
        if kind in (0x0809, 0x0409, 0x0209, 0x0009):
            depth += 1
        elif kind == 0x000A:
            depth -= 1
            if depth <= 0:
                return
        elif depth == 1:
            yield kind, body


def _stream(data: bytes, names: tuple[str, ...]) -> bytes:
    """A stream of a compound file, by the first of the names that is there. Raises KeyError when none is."""
    sector = 1 << struct.unpack_from("<H", data, 30)[0]
    fat = _fat(data, sector)
    (directory, cutoff, mini_start) = (struct.unpack_from("<I", data, at)[0] for at in (48, 56, 60))
    entries: dict[str, tuple[int, int]] = {}
    root = (0, 0)
    folder = _chain(data, fat, directory, sector)
    for at in range(0, len(folder) - 127, 128):
        length, kind = struct.unpack_from("<H", folder, at + 64)[0], folder[at + 66]
        name = folder[at : at + max(length - 2, 0)].decode("utf-16-le")
        start, size = struct.unpack_from("<II", folder, at + 116)
        if kind == 5:
            root = (start, size)
        elif kind == 2:
            entries[name.lower()] = (start, size)
    start, size = next(entries[name.lower()] for name in names if name.lower() in entries)
    if size >= cutoff:
        return _chain(data, fat, start, sector)[:size]
    small = _chain(data, fat, root[0], sector)
    mini = 1 << struct.unpack_from("<H", data, 32)[0]
    table = _chain(data, fat, mini_start, sector)
    mini_fat = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    return b"".join(small[one * mini : (one + 1) * mini] for one in _links(mini_fat, start))[:size]


def _fat(data: bytes, sector: int) -> tuple[int, ...]:
    tables = list(struct.unpack_from("<109I", data, 76))
    following = struct.unpack_from("<I", data, 68)[0]
    per_sector = sector // 4
    for _ in range(len(data) // sector):
        if following >= _LAST:
            break
        numbers = struct.unpack_from(f"<{per_sector}I", data, (following + 1) * sector)
        tables += numbers[:-1]
        following = numbers[-1]
    found: list[int] = []
    for table in tables:
        if table < _LAST:
            found += struct.unpack_from(f"<{per_sector}I", data, (table + 1) * sector)
    return tuple(found)


def _chain(data: bytes, fat: tuple[int, ...], start: int, sector: int) -> bytes:
    return b"".join(data[(one + 1) * sector : (one + 2) * sector] for one in _links(fat, start))


def _links(table: tuple[int, ...], start: int) -> Iterator[int]:
    """The sectors of a chain. Raises ValueError for one that goes round."""
    left = len(table)
    while start < _LAST:
        if left == 0:
            raise ValueError("a chain of sectors goes round")
        yield start
        start = table[start]
        left -= 1


def _of_xlsb(package: zipfile.ZipFile, index: int, shown: str) -> Cells:
    sheets = [body for kind, body in _records(package.read("xl/workbook.bin")) if kind == 156]
    length = struct.unpack_from("<I", sheets[index], 8)[0]
    relation = sheets[index][12 : 12 + 2 * length].decode("utf-16-le")
    reader = _Relations()
    _parse(package, "xl/_rels/workbook.bin.rels", reader, shown)
    target = reader.targets[relation]
    part = target.lstrip("/") if target.startswith("/") else f"xl/{target}"
    cells: Cells = {}
    row = 0
    for kind, body in _records(package.read(part)):
        if kind == 0:
            row = struct.unpack_from("<I", body)[0] + 1
        elif kind in (3, 11):
            cells[row, struct.unpack_from("<I", body)[0] + 1] = _shown(body[8])
    return cells


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, at = _varint(data, at, 2)
        size, at = _varint(data, at, 4)
        yield kind, data[at : at + size]
        at += size


def _varint(data: bytes, at: int, most: int) -> tuple[int, int]:
    value = 0
    for shift in range(most):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            break
    return value, at


class _Relations(Handler):
    """Which part each relation leads to."""

    def __init__(self) -> None:
        self.targets: dict[str, str] = {}

    def start(self, element: Element) -> None:
        if element.name == "Relationship":
            self.targets[element.attributes["Id"]] = element.attributes["Target"]


def _of_ods(package: zipfile.ZipFile, index: int, shown: str) -> Cells:
    reader = _Tables(index)
    _parse(package, "content.xml", reader, shown)
    return reader.cells


class _Tables(Handler):
    """The cells of one table whose type is an error; a cell and a row may stand for several."""

    def __init__(self, index: int) -> None:
        self.cells: Cells = {}
        self._index = index
        self._table = -1
        self._depth = 0
        self._row = self._rows = self._column = self._columns = 0
        self._text: list[str] | None = None

    def start(self, element: Element) -> None:
        attributes = {name.rpartition(" ")[2]: value for name, value in element.attributes.items()}
        if element.name == "table":
            self._depth += 1
            if self._depth == 1:
                self._table += 1
                self._row = self._rows = 0
        elif self._depth != 1 or self._table != self._index:
            return
        elif element.name == "table-row":
            self._row += self._rows
            self._rows = int(attributes.get("number-rows-repeated", 1))
            self._column = self._columns = 0
        elif element.name in ("table-cell", "covered-table-cell"):
            self._column += self._columns
            self._columns = int(attributes.get("number-columns-repeated", 1))
            kinds = [value for name, value in element.attributes.items() if name.endswith(" value-type")]
            self._text = [] if "error" in kinds else None

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, name: str) -> None:
        if name == "table":
            self._depth -= 1
        elif name in ("table-cell", "covered-table-cell") and self._text is not None:
            shown, self._text = "".join(self._text).strip() or "an error", None
            for row in range(min(self._rows, _MOST_REPEATS)):
                for column in range(min(self._columns, _MOST_REPEATS)):
                    self.cells[self._row + row + 1, self._column + column + 1] = shown


def _parse(package: zipfile.ZipFile, part: str, handler: Handler, shown: str) -> None:
    with package.open(part) as source:
        chunks = iter(lambda: source.read(_CHUNK), b"")
        for _ in parse_xml(chunks, handler, Where(f"{shown}/{part}"), encoding=None, namespaces=True):
            pass
