"""The cells of .xls, .xlsb and .ods files by calamine, which holds a sheet whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lakecat.errors import ParseError, Where
from lakecat_connectors._cell_errors import FAILURES, error_cells
from lakecat_connectors._cells import Cell, CellError, Row, is_whole
from lakecat_connectors._needs import needed


@dataclass(frozen=True, slots=True)
class SheetInfo:
    """A sheet's name, and whether people see it."""

    name: str
    visible: bool
    index: int


class CalamineBook:
    """One workbook. Raises ParseError for what is none; ConfigError when calamine is not installed."""

    def __init__(self, path: str, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._calamine = needed("python_calamine", "excel", "this kind of spreadsheet")
        try:
            self._book = self._calamine.CalamineWorkbook.from_path(path)
        except self._calamine.PasswordError as err:
            raise ParseError(
                "is protected by a password", where=Where(shown), hint="deliver the file without one"
            ) from err
        except (self._calamine.CalamineError, OSError, ValueError) as err:
            raise self._damaged(err) from err
        kind, seen = self._calamine.SheetTypeEnum.WorkSheet, self._calamine.SheetVisibleEnum.Visible
        sheets = [(at, item) for at, item in enumerate(self._book.sheets_metadata) if item.typ == kind]
        self.sheets = tuple(SheetInfo(item.name, item.visible == seen, at) for at, item in sheets)

    def close(self) -> None:
        """Close the file."""
        self._book.close()

    def rows(self, sheet: SheetInfo) -> Iterator[Row]:
        """The rows with cells."""
        try:
            # Not without the empty area: places are counted from the sheet's first row and column.
            rows = self._book.get_sheet_by_name(sheet.name).to_python(skip_empty_area=False)
        except (self._calamine.CalamineError, OSError, ValueError) as err:
            raise self._damaged(err) from err
        errors = self._errors(sheet)
        for number, values in enumerate(rows, start=1):
            cells = {at: _cell(value) for at, value in enumerate(values, start=1) if value != ""}
            cells |= errors.pop(number, {})
            if cells:
                yield Row(number, cells)
        for number, left in sorted(errors.items()):
            yield Row(number, left)

    def _errors(self, sheet: SheetInfo) -> dict[int, dict[int, Cell]]:
        """The error cells by row, which calamine takes for empty."""
        found: dict[int, dict[int, Cell]] = {}
        try:
            for (row, column), text in error_cells(self._path, sheet.index, self._shown).items():
                found.setdefault(row, {})[column] = CellError(text)
        except FAILURES as err:
            raise self._damaged(err) from err
        return found

    def _damaged(self, err: Exception) -> ParseError:
        return ParseError(
            f"is not a sound spreadsheet ({str(err)[:80] or type(err).__name__})",
            where=Where(self._shown),
            hint="get the file again: it may be cut off, or of another format",
        )


def _cell(value: Any) -> Cell:
    cell: Cell = int(value) if is_whole(value) else value
    return cell
