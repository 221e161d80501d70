"""The adapter for authors who yield dicts: rows become Arrow batches, exactly, in bounded memory.

Every row is looked at before the first batch is handed out, so a column's type holds for all of them:

- all values of one Python type: its own (``int`` long, ``float`` double, ``Decimal`` and ``int`` beyond 64 bits
  decimal(38, s), ``str``, ``bool``, ``bytes``, ``date``, ``time``, ``UUID``; ``datetime`` timestamp or, aware,
  timestamptz in UTC); a dict is a struct, a list or tuple a list; nothing but None is text
- ``int`` beside ``float``: double while every integer is exact as one, else decimal; ``Decimal`` beside either: decimal
- other mixtures, and numbers that one decimal(38, s) cannot hold: text, numbers and nested values as their JSON
- times with and without zone, and bytes beside other values, are refused: no text tells them apart
- a type that the job declares, the connector's schema or the table has goes before all this
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, Wanted, check_names, fold
from lakecat.connector.fit import Rule
from lakecat.connector.nested import cast, grown, may_grow
from lakecat.connector.once import Once
from lakecat.connector.protocol import REJECTED, ReadOptions, ReadSummary
from lakecat.connector.shapes import Budget, ShapeError
from lakecat.connector.spool import Chunk, Spool
from lakecat.connector.values import NOT_EXACT, Observed, ValueShape, basic, convert, observe, observe_digits
from lakecat.errors import LakecatError, ParseError, SourceError, Where
from lakecat.types import Position, SourceRead

CHUNK_ROWS: Final = 8_192
CHUNK_BYTES: Final = 8 << 20
BATCH_BYTES: Final = 32 << 20
MAX_REJECTED_BYTES: Final = 64 << 20
_SAMPLE: Final = 16
_SHOWN: Final = 80
_SHOWN_ROW: Final = 65_536

Row = Mapping[str, object]


def rows_reader(
    rows: Iterable[Row],
    options: ReadOptions,
    *,
    uri: str,
    schema: pa.Schema | None = None,
    position: Position | Callable[[], Position | None] | None = None,
    properties: Mapping[str, str | int | float] | None = None,
) -> RowsReader:
    """A reader of the rows, which are all taken here and kept in a temporary file.

    ``uri`` is what lineage and errors call the source, ``schema`` what the source itself says of its columns; a row may
    lack some of them, and have others. ``position`` is known after the last row at the latest. What the iterable
    raises passes when it is of lakecat's errors, and becomes SourceError else. Raises ParseError with the row's number.
    """
    return RowsReader(rows, options, uri=uri, schema=schema, position=position, properties=properties or {})


@dataclass(slots=True)
class _Column:
    """A column by the source's key. ``number`` is its place in the spool."""

    key: str
    number: int
    known: Column
    shape: ValueShape
    type: pa.DataType | None = None

    @property
    def rule(self) -> Rule | None:
        """How its values are read, if that is known."""
        return None if self.type is None else Rule(self.type, declared=self.known.declared)


class RowsReader:
    """One slice of rows: see :func:`rows_reader`."""

    def __init__(
        self,
        rows: Iterable[Row],
        options: ReadOptions,
        *,
        uri: str,
        schema: pa.Schema | None,
        position: Position | Callable[[], Position | None] | None,
        properties: Mapping[str, str | int | float],
    ) -> None:
        self._options = options
        self._uri = uri
        self._position = position
        self._properties = properties
        self._rejects = _Rejects(uri, options.rejects)
        self._table = _Table(uri, _wanted(options, schema), self._rejects)
        self._once = Once()
        try:
            self._table.take(guarded(lambda: rows, uri))
            self._schema = self._table.decide()
        except BaseException:  # an interrupt, too: nobody else has the temporary file to close it
            self._table.spool.close()
            raise

    @property
    def schema(self) -> pa.Schema:
        """The columns, in the order in which rows named them; then those that only the table has."""
        return self._schema

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of at most ``options.batch_rows`` rows, once."""
        return self._once.through(self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        for batch in self._table.batches(self._schema):
            waiting.append(batch)
            if sum(map(len, waiting)) >= self._options.batch_rows or _bytes(waiting) >= BATCH_BYTES:
                *whole, rest = _cut(waiting, self._options.batch_rows)
                yield from whole
                full = len(rest) >= self._options.batch_rows or rest.nbytes >= BATCH_BYTES
                waiting = [] if full else [rest]
                if full:
                    yield rest
        if waiting:
            yield from _cut(waiting, self._options.batch_rows)

    def summary(self) -> ReadSummary:
        """Rows, source and rejected rows. Raises UsageError before the last batch was taken."""
        self._once.check_finished()
        rows = self._table.spool.rows
        position = self._position() if callable(self._position) else self._position
        return ReadSummary(
            rows=rows,
            sources=(SourceRead(self._uri, rows, properties=self._properties),),
            position=position,
            rejected=self._rejects.table(),
        )

    def close(self) -> None:
        """Remove the temporary file; safe to call twice."""
        self._table.spool.close()


def _bytes(batches: Sequence[pa.RecordBatch]) -> int:
    return sum(batch.nbytes for batch in batches)


def _cut(batches: Sequence[pa.RecordBatch], rows: int) -> list[pa.RecordBatch]:
    """The same rows in batches of ``rows``; the last one may be smaller."""
    if len(batches) == 1 and len(batches[0]) <= rows:
        return list(batches)
    whole: list[pa.RecordBatch] = pa.Table.from_batches(batches).combine_chunks().to_batches(max_chunksize=rows)
    return whole


def _wanted(options: ReadOptions, schema: pa.Schema | None) -> Wanted:
    """The table's columns under its names, with the source's own types where it says them."""
    expected = options.expected
    if schema is None:
        return Wanted(expected, options.declared)
    own = {fold(column.name): column for column in schema}
    table = () if expected is None else tuple(expected)
    known = [own[fold(column.name)].with_name(column.name) if fold(column.name) in own else column for column in table]
    names = {fold(column.name) for column in table}
    return Wanted(pa.schema([*known, *(column for key, column in own.items() if key not in names)]), options.declared)


def guarded(rows: Callable[[], Iterable[Row]], uri: str) -> Generator[Row, None, None]:
    """The rows that an author's code gives. Raises its own errors of lakecat's tree, and SourceError for all others."""
    try:
        yield from rows()
    except LakecatError:
        raise
    except Exception as err:  # an author's code may raise anything, and its text may hold secrets
        raise SourceError(
            f"the connector failed with {type(err).__name__}",
            where=Where(uri),
            hint="a connector raises lakecat's own errors; see docs/writing-connectors.md",
        ) from err


@dataclass(slots=True)
class _Rejects:
    """Rows that are set aside."""

    uri: str
    limit: int | None
    rows: list[tuple[int, str | None, str, str]] = field(default_factory=list)
    bytes: int = 0

    def take(self, line: int, column: str | None, row: object, reason: str, hint: str | None = None) -> None:
        """Set one row aside. Raises ParseError where that is not allowed, or no longer."""
        error = ParseError(reason, where=Where(self.uri, line, column), hint=hint)
        if not self.limit:
            raise error
        if len(self.rows) >= self.limit:
            error.what = f"more than {self.limit} rows cannot be read, one of them: {reason}"
            raise error
        text = _row_text(row)
        self.bytes += len(text)
        if self.bytes > MAX_REJECTED_BYTES:
            error.what = f"rows of more than {MAX_REJECTED_BYTES >> 20} MiB cannot be read, one of them: {reason}"
            raise error
        self.rows.append((line, column, text, reason))

    def table(self) -> pa.Table | None:
        """The rows with the columns of REJECTED."""
        if not self.rows:
            return None
        lines, columns, texts, reasons = zip(*sorted(self.rows, key=lambda row: row[0]), strict=True)
        values = ([self.uri] * len(lines), lines, columns, texts, reasons)
        arrays = [pa.array(list(part), kind.type) for part, kind in zip(values, REJECTED, strict=True)]
        return pa.Table.from_arrays(arrays, schema=REJECTED)


def _row_text(row: object) -> str:
    try:
        text = json.dumps(row, ensure_ascii=False, default=str)
    except (TypeError, ValueError, RecursionError):
        try:
            text = repr(row)
        except RecursionError:
            text = "(nested too deeply to be shown)"
    return text[:_SHOWN_ROW].encode("utf-8", "backslashreplace").decode()


@dataclass(slots=True)
class _Table:
    """The rows taken so far, and what is known of their columns."""

    uri: str
    wanted: Wanted
    rejects: _Rejects
    spool: Spool = field(default_factory=Spool)
    columns: dict[str, _Column] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    taken: int = 0

    def take(self, rows: Iterator[Row]) -> None:
        """Take all rows. Raises ParseError."""
        for chunk in _chunks(rows):
            first = self.taken + 1
            self.taken += len(chunk)
            self._take(self._objects(first, chunk))

    def decide(self) -> pa.Schema:
        """The columns with their types, known when all rows are taken. Raises ParseError."""
        digits = [column for column in self.columns.values() if column.type is None and column.shape.needs_digits]
        if digits:
            for chunk in self.spool.chunks():
                for column in digits:
                    array = chunk.arrays.get(column.number)
                    if array is not None and pa.types.is_floating(array.type):
                        observe_digits(array, column.shape)
        found = {fold(column.key): pa.field(column.known.name, self._type(column)) for column in self.columns.values()}
        for name in self.wanted.names():
            found.setdefault(fold(name), pa.field(self.wanted.column(name).name, self.wanted.column(name).type))
        if not found and self.taken:
            raise ParseError("the rows have no columns", where=Where(self.uri, 1))
        return pa.schema(list(found.values()))

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The rows, typed, a batch for each chunk."""
        by_name = {column.known.name: column for column in self.columns.values()}
        for chunk in self.spool.chunks():
            arrays = [self._final(chunk, by_name.get(column.name), column.type) for column in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _objects(self, first: int, rows: list[Row]) -> list[tuple[int, dict[str, Any]]]:
        """The rows with their numbers; what is no mapping with names is set aside."""
        result = []
        for line, row in enumerate(rows, first):
            if type(row) is dict:
                result.append((line, row))
            elif isinstance(row, Mapping):
                result.append((line, dict(row)))
            else:
                self.rejects.take(line, None, row, f"is no mapping of names to values but {type(row).__name__}")
        return result

    def _take(self, rows: list[tuple[int, dict[str, Any]]]) -> None:
        rows = self._named(rows)
        while rows:
            found = self._observed([row for _, row in rows])
            if isinstance(found, Chunk):
                self.spool.add(found)
                return
            for index, (column, reason) in sorted(found.items()):
                line, row = rows[index]
                hint = f"mend the value, or declare another type for {column} under columns:"
                self.rejects.take(line, column, row, reason, hint)
            rows = [row for index, row in enumerate(rows) if index not in found]

    def _named(self, rows: list[tuple[int, dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
        """Make columns of names that are new. Raises ParseError for names that no table holds."""
        names = dict.fromkeys(chain.from_iterable(row for _, row in rows))
        if not all(isinstance(name, str) for name in names):
            good = []
            for line, row in rows:
                odd = next((name for name in row if not isinstance(name, str)), None)
                if odd is None:
                    good.append((line, row))
                else:
                    self.rejects.take(line, None, row, f"has a name that is no text but {type(odd).__name__}")
            return self._named(good)
        if new := [name for name in names if name not in self.columns]:
            check_names([*self.columns, *new], Where(self.uri))
            for name in new:
                known = self.wanted.column(name)
                number = len(self.columns)
                self.columns[name] = _Column(name, number, known, ValueShape(self.budget), known.type)
        return rows

    def _observed(self, rows: list[dict[str, Any]]) -> Chunk | dict[int, tuple[str, str]]:
        """The rows as a chunk; or, by their index, what is wrong in some of them."""
        arrays: dict[int, pa.Array] = {}
        values: dict[int, Sequence[Any]] = {}
        shapes: list[tuple[_Column, ValueShape]] = []
        wrong: dict[int, tuple[str, str]] = {}
        for column in self.columns.values():
            cells = [row.get(column.key) for row in rows]
            shape = ValueShape(Budget())
            try:
                seen = self._seen(cells, column, shape)
            except (ShapeError, *NOT_EXACT) as err:
                wrong = self._wrong(cells, column, err) | wrong
                continue
            shapes.append((column, shape))
            if seen.array is not None:
                arrays[column.number] = seen.array
            elif seen.values is not None:
                values[column.number] = seen.values
        if wrong:
            return wrong
        for column, shape in shapes:
            self._merge(column, shape)
        return Chunk(len(rows), arrays, values)

    def _seen(self, cells: Sequence[Any], column: _Column, shape: ValueShape) -> Observed:
        """The values with the type that is known; observed where there is none, or structs in it have new fields."""
        if column.rule is None:
            return observe(cells, shape)
        try:
            return Observed(convert(cells, column.rule), None)
        except NOT_EXACT:
            if not may_grow(column.known):
                raise
            convert(cells, column.rule, surplus=True)
            return observe(cells, shape)
        except LakecatError as err:
            raise ParseError(err.what, where=Where(self.uri, column=column.known.name)) from err

    def _merge(self, column: _Column, shape: ValueShape) -> None:
        try:
            column.shape.merge(shape)
        except ShapeError as err:
            raise ParseError(err.what, where=Where(self.uri, self.taken, err.path or column.known.name)) from err

    def _wrong(self, cells: Sequence[Any], column: _Column, err: Exception) -> dict[int, tuple[str, str]]:
        """Which values are wrong, and why; the first one only where nothing may be set aside."""
        wrong: dict[int, tuple[str, str]] = {}
        shape = ValueShape(Budget())
        name, shown = column.known.name, column.known.shown
        for index, value in enumerate(cells):
            try:
                self._seen([value], column, shape)
            except ShapeError as bad:
                wrong[index] = (f"{name}.{bad.path}" if bad.path else name, bad.what)
            except NOT_EXACT:
                wrong[index] = (name, f"{_excerpt(value)} is not {shown}")
            if wrong and not self.rejects.limit:
                return wrong
        if not wrong:
            raise ParseError("the values fit no column together", where=Where(self.uri, self.taken, name)) from err
        return wrong

    def _type(self, column: _Column) -> pa.DataType:
        if column.type is not None and not column.shape.kinds:
            return column.type
        try:
            return column.shape.decide() if column.type is None else grown(column.type, column.shape.decide())
        except ShapeError as err:
            raise ParseError(
                f"the column holds values that do not go together: {err.what}",
                where=Where(self.uri, column=f"{column.known.name}.{err.path}" if err.path else column.known.name),
                hint="let the connector give them alike, or leave the column out",
            ) from err

    def _final(self, chunk: Chunk, column: _Column | None, kind: pa.DataType) -> pa.Array:
        """A chunk's column with its type."""
        if column is None or (column.number not in chunk.arrays and column.number not in chunk.values):
            return pa.nulls(chunk.rows, kind)
        array = chunk.arrays.get(column.number)
        if array is None:
            return self._sure(chunk.values[column.number], column, kind)
        if array.type == kind:
            return array
        if array.null_count == len(array):
            return pa.nulls(len(array), kind)
        if pa.types.is_nested(kind):
            return cast(array, kind)
        if not pa.types.is_floating(array.type) and (pa.types.is_decimal(kind) or pa.types.is_floating(kind)):
            try:
                return array.cast(kind)
            except pa.ArrowInvalid:
                pass  # a decimal must be wide for an integer's type before its values are looked at
        return self._sure(array.to_pylist(), column, kind)

    def _sure(self, values: Sequence[Any], column: _Column, kind: pa.DataType) -> pa.Array:
        try:
            return convert(values, Rule(kind))
        except NOT_EXACT as err:
            raise ParseError(
                f"the values are not {column.known.name}'s type {kind}", where=Where(self.uri, column=column.known.name)
            ) from err


def _excerpt(value: object) -> str:
    try:
        text = repr(basic(value))
    except ShapeError as err:
        return f"what {err.what}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in lists that memory can hold, their size guessed from some of them."""
    chunk: list[Row] = []
    weight = 0
    for row in rows:
        if len(chunk) % _SAMPLE == 0:
            weight += _weight(row) * (_SAMPLE if chunk else 1)
        chunk.append(row)
        if len(chunk) >= CHUNK_ROWS or weight >= CHUNK_BYTES:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def _weight(row: object) -> int:
    values = row.values() if isinstance(row, Mapping) else (row,)
    weight = 0
    for value in values:
        if isinstance(value, str | bytes | bytearray):
            weight += len(value)
        elif isinstance(value, Mapping | list | tuple):
            try:
                weight += len(repr(value))
            except RecursionError:
                weight += CHUNK_BYTES
    return weight
