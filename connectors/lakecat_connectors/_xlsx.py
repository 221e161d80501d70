"""The cells of Office Open XML workbooks (ECMA-376, SpreadsheetML), read forwards in bounded memory.

Numbers are taken as the text that is written, error cells are told apart, and no document type is let in: no library
that is kept up does these three.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from zlib import error as zlib_error

from lakecat.connector.shapes import number
from lakecat.errors import ParseError, Where
from lakecat_connectors._cells import Cell, CellError, Row, is_whole, iso_moment, number_kind, serial
from lakecat_connectors._expat import Element, Handler, parse_xml

_MAX_PART: Final = 4 << 30
_MAX_STRINGS: Final = 1 << 30
_MAX_PARTS: Final = 10_000
_CHUNK: Final = 1 << 20
_MAX_ROW, _MAX_COLUMN = 1_048_576, 16_384
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})(\d{1,7})")
_ESCAPED: Final = re.compile(r"_x([0-9A-Fa-f]{4})_")
_WHOLE: Final = re.compile(r"-?\d{1,38}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class SheetInfo:
    """A sheet's name, whether people see it, and its part in the package."""

    name: str
    visible: bool
    part: str


class Workbook:
    """One package. Raises ParseError for what is none, or is not safe."""

    def __init__(self, path: str, shown: str) -> None:
        """Read the list of sheets, the shared strings and the number formats."""
        self._shown = shown
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as err:
            raise self._damaged(err) from err
        self._parts = {info.filename.lstrip("/"): info for info in self._zip.infolist()}
        if len(self._parts) > _MAX_PARTS:
            raise ParseError(f"holds more than {_MAX_PARTS} parts", where=Where(shown))
        self._base = self._workbook_part()
        self.sheets, self._since_1904 = self._read_sheets()
        self._formats = self._read_formats()
        self._strings: list[str] | None = None

    def close(self) -> None:
        """Close the file."""
        self._zip.close()

    def rows(self, sheet: SheetInfo) -> Iterator[Row]:
        """The rows with cells, in the order in which they are written."""
        if self._strings is None:
            self._strings = self._read_strings()
        reader = _SheetHandler(self._shown, self._strings, self._formats, since_1904=self._since_1904)
        for _ in self._parse(sheet.part, reader):
            done, reader.rows = reader.rows, []
            yield from done
        yield from reader.rows

    def _workbook_part(self) -> str:
        for target, kind in self._relations("").values():
            if kind.endswith("/officeDocument") and target in self._parts:
                return target
        if "xl/workbook.xml" in self._parts:
            return "xl/workbook.xml"
        raise ParseError("is no Excel workbook", where=Where(self._shown), hint="say the format that it has")

    def _relations(self, part: str) -> dict[str, tuple[str, str]]:
        """Targets and kinds of a part's relations, by their ids."""
        folder, _, name = part.rpartition("/")
        source = f"{folder}/_rels/{name}.rels" if part else "_rels/.rels"
        if source not in self._parts:
            return {}
        found: dict[str, tuple[str, str]] = {}
        for item in self._elements(source, "Relationship"):
            target = item.get("Target", "")
            whole = target.lstrip("/") if target.startswith("/") else f"{folder}/{target}".lstrip("/")
            found[item.get("Id", "")] = (_normal(whole), item.get("Type", ""))
        return found

    def _read_sheets(self) -> tuple[tuple[SheetInfo, ...], bool]:
        relations = self._relations(self._base)
        sheets = []
        for item in self._elements(self._base, "sheet"):
            link = next((value for name, value in item.items() if name.endswith(":id")), "")
            target, kind = relations.get(link, ("", ""))
            if kind.endswith("/worksheet") and target in self._parts:
                sheets.append(SheetInfo(item.get("name", ""), item.get("state", "visible") == "visible", target))
        settings = [item.get("date1904", "0") for item in self._elements(self._base, "workbookPr")]
        return tuple(sheets), any(value in ("1", "true") for value in settings)

    def _read_formats(self) -> tuple[str, ...]:
        """What the numbers of each cell style are: number, date, time, datetime or duration."""
        part = self._related("/styles")
        if part is None:
            return ()
        codes: dict[int, str] = {}
        styles: list[int] = []
        handler = _StylesHandler(codes, styles)
        for _ in self._parse(part, handler):
            pass
        return tuple(number_kind(style, codes.get(style)) for style in styles)

    def _read_strings(self) -> list[str]:
        part = self._related("/sharedStrings")
        handler = _StringsHandler(self._shown)
        for _ in self._parse(part, handler) if part is not None else ():
            pass
        return handler.strings

    def _related(self, kind: str) -> str | None:
        found = (target for target, name in self._relations(self._base).values() if name.endswith(kind))
        return next((target for target in found if target in self._parts), None)

    def _elements(self, part: str, name: str) -> list[Mapping[str, str]]:
        handler = _Collector(name)
        for _ in self._parse(part, handler):
            pass
        return handler.found

    def _parse(self, part: str, handler: Handler) -> Iterator[None]:
        yield from parse_xml(self._chunks(part), handler, Where(self._shown), encoding=None)

    def _chunks(self, part: str) -> Iterator[bytes]:
        info = self._parts[part]
        size = 0
        try:
            with self._zip.open(info) as source:
                while data := source.read(_CHUNK):
                    size += len(data)
                    if size > _MAX_PART:
                        raise ParseError(f"{part} is larger than {_MAX_PART >> 30} GiB", where=Where(self._shown))
                    yield data
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError, ValueError) as err:
            raise self._damaged(err) from err
        except zlib_error as err:
            raise self._damaged(err) from err

    def _damaged(self, err: Exception) -> ParseError:
        return ParseError(
            f"is not a sound Excel workbook ({str(err)[:80]})",
            where=Where(self._shown),
            hint="get the file again: it may be cut off, or protected by a password",
        )


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Collector(Handler):
    """The attributes of every element of one name."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.found: list[Mapping[str, str]] = []

    def start(self, element: Element) -> None:
        if element.name == self._name:
            self.found.append(dict(element.attributes))


class _StylesHandler(Handler):
    def __init__(self, codes: dict[int, str], styles: list[int]) -> None:
        self._codes = codes
        self._styles = styles
        self._inside = False

    def start(self, element: Element) -> None:
        if element.name == "numFmt":
            self._codes[_int(element.attributes.get("numFmtId"))] = element.attributes.get("formatCode", "")
        elif element.name == "cellXfs":
            self._inside = True
        elif element.name == "xf" and self._inside:
            self._styles.append(_int(element.attributes.get("numFmtId")))

    def end(self, name: str) -> None:
        if name == "cellXfs":
            self._inside = False


class _TextHandler(Handler):
    """Gathers the text of ``t`` elements, without phonetic hints (``rPh``)."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._phonetic = 0
        self._in_text = False

    def start(self, element: Element) -> None:
        self._phonetic += element.name == "rPh"
        self._in_text = element.name == "t" and not self._phonetic

    def end(self, name: str) -> None:
        self._phonetic -= name == "rPh"
        self._in_text = False

    def text(self, data: str) -> None:
        if self._in_text:
            self.pieces.append(data)

    def taken(self) -> str:
        whole, self.pieces = "".join(self.pieces), []
        return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), whole) if "_x" in whole else whole


class _StringsHandler(_TextHandler):
    def __init__(self, shown: str) -> None:
        super().__init__()
        self._shown = shown
        self._size = 0
        self.strings: list[str] = []

    def end(self, name: str) -> None:
        super().end(name)
        if name == "si":
            self.strings.append(self.taken())
            self._size += len(self.strings[-1]) + 64
            if self._size > _MAX_STRINGS:
                raise ParseError(f"holds more than {_MAX_STRINGS >> 30} GiB of texts", where=Where(self._shown))


class _SheetHandler(_TextHandler):
    """Builds the rows of one sheet."""

    def __init__(self, shown: str, strings: Sequence[str], formats: Sequence[str], *, since_1904: bool) -> None:
        super().__init__()
        self._shown = shown
        self._strings = strings
        self._formats = formats
        self._since_1904 = since_1904
        self.rows: list[Row] = []
        self._number = 0
        self._column = 0
        self._cells: dict[int, Cell] = {}
        self._attributes: Mapping[str, str] = {}
        self._value: list[str] | None = None
        self._in_value = False
        self._formula = False

    def start(self, element: Element) -> None:
        super().start(element)
        if element.name == "row":
            number = _int(element.attributes.get("r"), self._number + 1)
            if not self._number < number <= _MAX_ROW:
                raise ParseError(f"row {number} comes after row {self._number}", where=Where(self._shown))
            self._number, self._column, self._cells = number, 0, {}
        elif element.name == "c":
            self._attributes, self._value, self._formula, self.pieces = element.attributes, None, False, []
            self._column = self._place(element.attributes.get("r"))
        elif element.name == "v":
            self._value, self._in_value = [], True
        elif element.name == "f":
            self._formula = True

    def text(self, data: str) -> None:
        super().text(data)
        if self._in_value and self._value is not None:
            self._value.append(data)

    def end(self, name: str) -> None:
        super().end(name)
        if name == "v":
            self._in_value = False
        elif name == "c":
            cell = self._cell()
            if cell is not None:
                self._cells[self._column] = cell
        elif name == "row" and self._cells:
            self.rows.append(Row(self._number, self._cells))

    def _place(self, reference: str | None) -> int:
        """The cell's column, counted from 1; the next one where the cell does not say it."""
        if reference is None:
            return self._column + 1
        match = _REFERENCE.fullmatch(reference)
        column = 0 if match is None else column_number(match[1])
        if match is None or int(match[2]) != self._number or not self._column < column <= _MAX_COLUMN:
            raise ParseError(f"a cell stands at {reference[:20]!r}", where=Where(self._shown, self._number))
        return column

    def _cell(self) -> Cell:
        kind = self._attributes.get("t", "n")
        if kind == "inlineStr":
            return self.taken()
        if self._value is None:
            return CellError("a formula that was never calculated") if self._formula else None
        text = "".join(self._value)
        if kind == "s":
            index = _int(text, -1)
            if not 0 <= index < len(self._strings):
                raise ParseError(f"names the shared text {text[:20]!r}", where=Where(self._shown, self._number))
            return self._strings[index]
        if kind == "d":
            return iso_moment(text)
        if kind == "str":
            return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text) if "_x" in text else text
        if kind == "b":
            return text.strip() in ("1", "true")
        return CellError(text) if kind == "e" else self._number_cell(text.strip())

    def _number_cell(self, text: str) -> Cell:
        if not text:
            return None
        style = _int(self._attributes.get("s"))
        kind = self._formats[style] if 0 <= style < len(self._formats) else "number"
        try:
            if not _NUMBER.fullmatch(text):
                raise ValueError(text)
            if kind != "number":
                return serial(text, kind, since_1904=self._since_1904)
            return int(text) if _WHOLE.fullmatch(text) else _plain(_fraction(text))
        except (ValueError, ArithmeticError):
            return CellError(f"the number {text[:40]!r}, which is no {kind}")


def _fraction(text: str) -> float | Decimal:
    """A number with a fraction or exponent: a double also where it is written with the 16 or 17 digits that one needs.

    Spreadsheets calculate in doubles, and write 0.29 as 0.28999999999999998.
    """
    value = number(text)
    if isinstance(value, Decimal):
        double = float(text)
        if any(Decimal(f"{double:.{digits}g}") == value for digits in (16, 17)):
            return double
    return value


def _plain(value: Any) -> Cell:
    """A whole number that was written as a fraction (1.0) or with an exponent, as one."""
    return int(value) if is_whole(value) else value


def column_number(letters: str) -> int:
    """A is 1, Z is 26, AA is 27."""
    result = 0
    for letter in letters:
        result = result * 26 + ord(letter) - 64
    return result


def _int(text: str | None, default: int = 0) -> int:
    return int(text) if text is not None and text.strip().isascii() and text.strip().isdigit() else default
