"""Spreadsheets to Arrow: .xlsx and .xlsm by our own reader, .xls, .xlsb and .ods by calamine; cells keep types."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.fit import MisfitError, Rule, fit
from lakecat.connector.shapes import Budget, Shape, ShapeError, converter
from lakecat.errors import LakecatError, ParseError, Where
from lakecat_connectors._calamine import CalamineBook
from lakecat_connectors._cells import Cell, CellError, Row, cell_text
from lakecat_connectors._faults import empty_file, excerpt
from lakecat_connectors._job import Job, JobFile
from lakecat_connectors._limits import progress
from lakecat_connectors._options import FilesOptions, file_compression
from lakecat_connectors._reader import Reader, SliceFile, settled
from lakecat_connectors._xlsx import Workbook, column_number

_KEPT_BYTES: Final = 2 << 20
_WHOLE_SHEET: Final = (1, 1, 16_384, 1_048_576)
_CORNER: Final = re.compile(r"([A-Z]+)(\d*)")

Values = list[Cell]


@dataclass(slots=True)
class _File(SliceFile):
    """One file: its columns' names, and its rows while they are kept."""

    names: tuple[str, ...] = ()
    kept: list[tuple[int, Values]] | None = None


@dataclass(slots=True)
class _Evidence:
    """What one column's cells have been."""

    shape: Shape = field(default_factory=lambda: Shape(Budget()))
    moments: set[str] = field(default_factory=set)

    def observe(self, value: Cell) -> None:
        if isinstance(value, date | time | timedelta):
            self.moments.add(type(value).__name__)
        elif value is not None:
            self.shape.observe(value)

    def decide(self) -> pa.DataType:
        """The type that all cells have; text where they differ."""
        if not self.moments:
            return self.shape.decide()
        if self.shape.kinds or len(self.moments) > 1:
            return pa.timestamp("us") if self.moments == {"date", "datetime"} and not self.shape.kinds else pa.string()
        kinds = {"date": pa.date32(), "datetime": pa.timestamp("us"), "time": pa.time64("us")}
        return kinds.get(next(iter(self.moments)), pa.string())


class ExcelReader(Reader):
    """Reads one slice of spreadsheets: one sheet of each."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._files = [_File(index, file) for index, file in enumerate(job.files)]

    def open(self) -> pa.Schema:
        """Read everything once: the headers, and every cell's type."""
        evidence: dict[str, _Evidence] = {}
        left = _KEPT_BYTES
        for item in self._files:
            kept: list[tuple[int, Values]] | None = [] if item.file.size <= left else None
            left -= item.file.size
            for number, values in self._rows(item):
                for name, value in zip(item.names, values, strict=True):
                    self._observe(item, number, name, value, evidence)
                if kept is not None:
                    kept.append((number, values))
            item.kept = kept
        headers = [(Where(item.file.shown), item.names) for item in self._files if item.names]
        columns = unite(headers, self._job.wanted, self._job.options.missing_columns)
        self._columns = settled(columns, lambda column: evidence.get(fold(column.name), _Evidence()).decide())
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        for item in self._files:
            at_file(item.index)
            rows = 0
            kept, item.kept = item.kept, None
            for batch in self._file_batches(item, iter(kept) if kept is not None else self._rows(item)):
                rows += batch.num_rows
                yield batch
            self._finished(item, rows)

    def _observe(self, item: _File, number: int, name: str, value: Cell, evidence: dict[str, _Evidence]) -> None:
        try:
            evidence.setdefault(fold(name), _Evidence()).observe(value)
        except ShapeError as err:
            raise ParseError(err.what, where=Where(item.file.shown, number, name)) from err

    def _rows(self, item: _File) -> Iterator[tuple[int, Values]]:
        """The rows below the header; those with error cells are set aside or refused."""
        with item.opened():
            refuse_compression(self._job.options, item.file)
            if item.file.size:
                yield from self._sheet_rows(item)
            elif self._job.options.empty == "error":
                raise empty_file(item.file.shown)

    def _sheet_rows(self, item: _File) -> Iterator[tuple[int, Values]]:
        options = self._job.options
        cells = _Table(options, item.file.shown)
        for row in _sheet(item.file, options):
            progress()
            values = cells.values(row)
            item.names = cells.names
            if values is None:
                continue
            error = _first_error(values, item, row.number)
            if error is not None:
                self._job.rejects.take(item.index, _row_text(values), error)
            else:
                yield row.number, values
        if not cells.names:
            raise ParseError("the sheet holds no header", where=Where(item.file.shown), hint="say sheet:, or range:")
        item.names = cells.names

    def _file_batches(self, item: _File, rows: Iterator[tuple[int, Values]]) -> Iterator[pa.RecordBatch]:
        positions = {fold(name): index for index, name in enumerate(item.names)}
        plans = [
            (column, positions.get(fold(column.name)), cell_converter(self._rule(column))) for column in self._columns
        ]
        columns: list[list[Any]] = [[] for _ in plans]
        for number, values in rows:
            try:
                converted = [
                    None
                    if source is None
                    else _converted(values[source], convert, Where(item.file.shown, number), name)
                    for name, source, convert in plans
                ]
            except ParseError as err:
                self._job.rejects.take(item.index, _row_text(values), err)
                continue
            for part, value in zip(columns, converted, strict=True):
                part.append(value)
            if columns and len(columns[0]) >= self._job.batch_rows:
                yield self._batch(item, columns)
                columns = [[] for _ in plans]
        if columns and columns[0]:
            yield self._batch(item, columns)

    def _batch(self, item: _File, values: list[list[Any]]) -> pa.RecordBatch:
        arrays = []
        for column, part in zip(self._columns, values, strict=True):
            try:
                arrays.append(pa.array(part, column.type))
            except (pa.ArrowInvalid, OverflowError) as err:
                raise ParseError(
                    f"holds a value that is not {column.shown} ({str(err)[:80]})",
                    where=Where(item.file.shown, column=column.name),
                ) from err
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())


def refuse_compression(options: FilesOptions, file: JobFile) -> None:
    """Formats that are read from both ends are compressed inside. Raises ParseError for one that is outside."""
    if file_compression(options, file.shown) != "none":
        raise ParseError(
            "is compressed, and this format is compressed inside",
            where=Where(file.shown),
            hint="unpack the file once, or deliver it in a zip archive",
        )


def cell_converter(rule: Rule) -> Callable[[Cell], Any]:
    """The function from a cell to what ``pa.array(..., rule.type)`` takes exactly. It raises MisfitError."""
    kind = rule.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return lambda value: value if value is None or isinstance(value, str) else cell_text(value)
    if pa.types.is_temporal(kind):
        return lambda value: None if value is None else _moment(value, rule)
    convert = converter(rule)

    def from_cell(value: Cell) -> Any:
        if isinstance(value, date | time | timedelta):
            raise MisfitError
        if isinstance(value, str) and rule.declared:
            return fit(pa.array([value]), rule)[0].as_py()
        if pa.types.is_integer(kind) and isinstance(value, Decimal) and value == value.to_integral_value():
            return int(value)
        return convert(value)

    return from_cell


def _moment(value: Cell, rule: Rule) -> Any:
    kind = rule.type
    if isinstance(value, str):
        return fit(pa.array([value]), rule)[0]
    naive = pa.types.is_timestamp(kind) and kind.tz is None
    if isinstance(value, datetime):
        if pa.types.is_date(kind) and value.time() == time():
            return value.date()
        fits = naive
    elif isinstance(value, date):
        if naive:
            return datetime.combine(value, time())
        fits = pa.types.is_date(kind)
    else:
        fits = isinstance(value, time) and pa.types.is_time(kind)
    if not fits:
        raise MisfitError
    return value


def _converted(value: Cell, convert: Callable[[Cell], Any], where: Where, column: Column) -> Any:
    try:
        result = convert(value)
    except (MisfitError, pa.ArrowInvalid, OverflowError) as err:
        raise ParseError(
            f"{excerpt(None if value is None else cell_text(value))} is not {column.shown}",
            where=Where(where.file, where.line, column.name),
            hint=f"mend the cell, name it in null: [...], or declare another type for {column.name} under columns:",
        ) from err
    except LakecatError as err:
        raise ParseError(err.what, where=Where(where.file, column=column.name)) from err
    return result.as_py() if isinstance(result, pa.Scalar) else result


def _first_error(values: Values, item: _File, number: int) -> ParseError | None:
    for name, value in zip(item.names, values, strict=True):
        if isinstance(value, CellError):
            return ParseError(
                f"the cell holds {value.shown}",
                where=Where(item.file.shown, number, name),
                hint="mend the sheet, or name the error in null: [...]",
            )
    return None


def _row_text(values: Values) -> bytes:
    return "\t".join("" if value is None else cell_text(value) for value in values).encode("utf-8", "replace")


def _sheet(file: JobFile, options: FilesOptions) -> Iterator[Row]:
    """The rows of the sheet that is asked for. Raises ParseError."""
    book = CalamineBook(file.path, file.shown) if _is_other(file) else Workbook(file.path, file.shown)
    try:
        yield from book.rows(_chosen(book, options, file.shown))
    finally:
        book.close()


def _is_other(file: JobFile) -> bool:
    """Whether the file is no Office Open XML text: the older and other kinds go to calamine."""
    with Path(file.path).open("rb") as source:
        if not source.read(4).startswith(b"PK"):
            return True
    try:
        with zipfile.ZipFile(file.path) as package:
            names = set(package.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False
    return "xl/workbook.bin" in names or "content.xml" in names


def _chosen(book: Workbook | CalamineBook, options: FilesOptions, shown: str) -> Any:
    sheets: Sequence[Any] = book.sheets
    names = [sheet.name for sheet in sheets]
    listed = ", ".join(excerpt(name) for name in names[:10])
    if isinstance(options.sheet, int):
        if not 1 <= options.sheet <= len(sheets):
            raise ParseError(f"has {len(sheets)} sheets", where=Where(shown), hint=f"the sheets are {listed}")
        return sheets[options.sheet - 1]
    if options.sheet is not None:
        if options.sheet not in names:
            hint = f"the sheets are {listed}"
            raise ParseError(f"has no sheet {excerpt(options.sheet)}", where=Where(shown), hint=hint)
        return sheets[names.index(options.sheet)]
    visible = [sheet for sheet in sheets if sheet.visible]
    filled = visible if len(visible) < 2 else [sheet for sheet in visible if next(book.rows(sheet), None) is not None]
    if len(filled or visible) != 1:
        what = f"has {len(filled or visible)} sheets to choose from"
        raise ParseError(what, where=Where(shown), hint=f"say sheet: with one of {listed}")
    return (filled or visible)[0]


class _Table:
    """Turns rows of a sheet into rows of a table: range, lines skipped, header, texts that mean NULL."""

    def __init__(self, options: FilesOptions, shown: str) -> None:
        self._options = options
        self._shown = shown
        self._left, self._top, self._right, self._bottom = _corners(options.range)
        self._top += options.skip_lines
        self.names: tuple[str, ...] = ()
        if options.names is not None and not options.header:
            check_names(options.names, Where(shown))
            self.names = tuple(options.names)

    def values(self, row: Row) -> Values | None:
        """The row's values by column; None for the header and for what is no row."""
        if not self._top <= row.number <= self._bottom:
            return None
        inside = {at: self._value(value) for at, value in row.cells.items() if self._left <= at <= self._right}
        cells = {at: value for at, value in inside.items() if value is not None}
        if not cells:
            return None
        if not self.names:
            self._header(row.number, cells)
            return None
        last = self._left + len(self.names) - 1
        stray = next((at for at in cells if at > last or at < self._left), None)
        if stray is not None:
            raise ParseError(
                f"a value stands in column {column_letters(stray)}, which has no header",
                where=Where(self._shown, row.number, column_letters(stray)),
                hint="say range: to leave it out, e.g. range: A:F",
            )
        return [cells.get(at) for at in range(self._left, last + 1)]

    def _value(self, value: Cell) -> Cell:
        if isinstance(value, str) and self._options.trim:
            value = value.strip()
        text = value.shown if isinstance(value, CellError) else value
        return None if isinstance(text, str) and text in self._options.null else value

    def _header(self, number: int, cells: Mapping[int, Cell]) -> None:
        self._left, self._right = min(cells), self._right
        names = [cell_text(cells[at]) if at in cells else "" for at in range(self._left, max(cells) + 1)]
        check_names([name.strip() for name in names], Where(self._shown, number))
        self.names = tuple(name.strip() for name in names)


def _corners(text: str | None) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a range such as B3:F100 or B:F, counted from 1."""
    if text is None:
        return _WHOLE_SHEET
    first, last = (_CORNER.fullmatch(corner) for corner in text.split(":"))
    if first is None or last is None:
        raise AssertionError("the option was checked")
    left, right = sorted((column_number(first[1]), column_number(last[1])))
    return left, int(first[2] or 1), right, int(last[2] or _WHOLE_SHEET[3])


def column_letters(number: int) -> str:
    """1 is A, 26 is Z, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(65 + rest) + letters
    return letters
