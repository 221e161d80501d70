"""JSON lines to Arrow: one object on each line, read by Python's strict parser, nested values kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.nested import may_grow
from lakecat.connector.shapes import NOT_OF_THE_TYPE, Budget, Shape, ShapeError, array_of, misfit_values, number
from lakecat.errors import LakecatError, ParseError, Where
from lakecat_connectors._bytes import text_chunks
from lakecat_connectors._faults import empty_file, excerpt
from lakecat_connectors._job import Job, ahead
from lakecat_connectors._options import file_compression
from lakecat_connectors._reader import Reader, SliceFile, grouped, settled

_KEPT_BYTES: Final = 4 << 20
_MAX_LINE: Final = 64 << 20
_BATCH_BYTES: Final = 16 << 20
_MAX_DEPTH: Final = 64
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')

_GROUP_ROWS: Final = 4_096

Row = tuple[int, dict[str, Any], bytes]
"""Its line, its values, and where lines may be set aside its text."""


@dataclass(slots=True)
class LinesFile(SliceFile):
    """One file, the keys it has at top level, and its rows when it is small."""

    keys: dict[str, str] = field(default_factory=dict)
    kept: list[Row] | None = None


class JsonLinesReader(Reader):
    """Reads one slice of JSON lines files. A key that is missing is NULL."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._files = [LinesFile(index, file) for index, file in enumerate(job.files)]
        self._shape = Shape(Budget())

    def open(self) -> pa.Schema:
        """Read everything once to see every key and every kind of value."""
        self._observe_all()
        names = list(self._shape.fields)
        check_names(names, Where(self._files[0].file.shown))
        headers = [(Where(item.file.shown), list(item.keys.values())) for item in self._files]
        columns = unite(headers, self._job.wanted, "null")
        shapes = {fold(name): shape for name, shape in self._shape.fields.items()}
        self._columns = settled(
            columns, lambda column: shape.decide() if (shape := shapes.get(fold(column.name))) is not None else None
        )
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        for index, item in enumerate(self._files):
            at_file(index)
            rows = 0
            for group in grouped(self._rows(item), self._job.batch_rows):
                fitting = self._fitting(item, group, self._columns) if self._job.rejects.allowed else group
                rows += len(fitting)
                if fitting:
                    yield self._batch(item, fitting)
            self._finished(item, rows)

    def _observe_all(self) -> None:
        """See every row; again from the start when one was set aside that had been seen in part."""
        sound = False
        while not sound:
            sound = True
            self._shape = Shape(Budget())
            left = _KEPT_BYTES
            for item in self._files:
                item.keys = {}
                sound = self._observe(item, keep=item.file.size <= left) and sound
                left -= item.file.size

    def _observe(self, item: LinesFile, *, keep: bool) -> bool:
        """Whether every row could be taken into account."""
        kept: list[Row] = []
        sound = True
        for row in self._known_fitting(item):
            try:
                for name, value in row[1].items():
                    self._shape.child(name, "").observe(value, name)
                    item.keys.setdefault(fold(name), name)
            except ShapeError as err:
                error = ParseError(err.what, where=Where(item.file.shown, row[0], err.path))
                self._job.rejects.take(item.index, row[2], error, marked=self._marked)
                sound = False
                continue
            if keep:
                kept.append(row)
        item.kept = kept if keep else None
        return sound

    def _known_fitting(self, item: LinesFile) -> Iterator[Row]:
        """The rows; without those whose values are not of the types that are known already."""
        rows = self._parsed(item)
        known = [self._job.wanted.column(name) for name in self._job.wanted.names()]
        if not self._job.rejects.allowed or not known:
            yield from rows
            return
        for group in grouped(rows, _GROUP_ROWS):
            yield from self._fitting(item, group, known, fields_may_come=True)

    @property
    def _marked(self) -> bool:
        return self._job.options.encoding != "utf-8"

    def _fitting(
        self, item: LinesFile, rows: list[Row], columns: Sequence[Column], *, fields_may_come: bool = False
    ) -> list[Row]:
        """The rows whose values are all of their columns' types; the others are set aside."""
        wanted = {fold(column.name): column for column in columns}
        places: dict[str, Column] = {}
        for _, row, _ in rows:
            places |= {key: wanted[fold(key)] for key in row if key not in places and fold(key) in wanted}
        bad: dict[int, ParseError] = {}
        for key, column in places.items():
            values = [row.get(key) for _, row, _ in rows]
            most = (self._job.rejects.limit or 0) + 1
            surplus = fields_may_come and may_grow(column)
            for index in misfit_values(values, self._rule(column), most, surplus=surplus):
                bad.setdefault(index, self._misfit(item, rows[index], key, column))
        for index in sorted(bad):
            self._job.rejects.take(item.index, rows[index][2], bad[index], marked=self._marked)
        return [row for index, row in enumerate(rows) if index not in bad] if bad else rows

    def _rows(self, item: LinesFile) -> Iterator[Row]:
        kept, item.kept = item.kept, None
        yield from self._parsed(item) if kept is None else kept

    def _parsed(self, item: LinesFile) -> Iterator[Row]:
        with item.opened() as raw:
            rejects, options = self._job.rejects, self._job.options
            chunks = text_chunks(
                raw, file_compression(options, item.file.shown), options.encoding, marking=rejects.allowed
            )
            empty = True
            left_out = rejects.lines(item.index)
            for line, text in self._pieces(ahead(chunks, 2), item.file.shown):
                empty = False
                if not text.strip() or line in left_out:
                    continue
                try:
                    row = parse_line(text, Where(item.file.shown, line))
                except ParseError as err:
                    rejects.take(item.index, text, err, marked=self._marked)
                    continue
                yield line, row, text if rejects.allowed else b""
            if empty and self._job.options.empty == "error":
                raise empty_file(item.file.shown)

    def _pieces(self, chunks: Iterator[bytes], shown: str) -> Iterator[tuple[int, bytes]]:
        """The text of each record and the line on which it starts."""
        return lines(chunks, shown)

    def _batch(self, item: LinesFile, rows: list[Row]) -> pa.RecordBatch:
        if not self._columns:
            raise ParseError("none of its records has a key", where=Where(item.file.shown))
        arrays = []
        for column in self._columns:
            key = item.keys.get(fold(column.name))
            if key is None:
                arrays.append(pa.nulls(len(rows), column.type))
            else:
                arrays.append(self._array(item, rows, key, column))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())

    def _array(self, item: LinesFile, rows: list[Row], key: str, column: Column) -> pa.Array:
        rule = self._rule(column)
        values = [row.get(key) for _, row, _ in rows]
        try:
            return array_of(values, rule)
        except NOT_OF_THE_TYPE:
            index = next(iter(misfit_values(values, rule, 1)), 0)
        except LakecatError as err:
            raise ParseError(err.what, where=Where(item.file.shown, column=column.name)) from err
        raise self._misfit(item, rows[index], key, column)

    def _misfit(self, item: LinesFile, row: Row, key: str, column: Column) -> ParseError:
        return ParseError(
            f"{excerpt(row[1].get(key))} is not {column.shown}",
            where=Where(item.file.shown, row[0], column.name),
            hint=f"mend the value, or declare another type for {column.name} under columns:",
        )


def parse_line(text: bytes, where: Where) -> dict[str, Any]:
    """The object on one line. Raises ParseError."""
    try:
        decoded = text.decode()
        if text.count(b"[") + text.count(b"{") > _MAX_DEPTH:
            _refuse_deep(decoded)
        value = _DECODER.decode(decoded)
        if b"\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeDecodeError as err:
        raise ParseError(
            f"bytes {text[err.start : err.end].hex(' ')} are not UTF-8 text",
            where=where,
            hint="say the file's encoding, e.g. encoding: latin-1",
        ) from None
    except UnicodeEncodeError:
        raise ParseError("holds a lone surrogate, which is no character", where=where, hint="mend the value") from None
    except (ValueError, RecursionError) as err:
        hint = "every record must be one JSON object"
        if decoded.lstrip().startswith("<"):
            hint = "this looks like an HTML or XML page: get the file again"
        raise ParseError(f"is not JSON: {_reason(err)}", where=where, hint=hint) from None
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", type(None): "null"}.get(type(value), "a number or boolean")
        raise ParseError(f"is {kind}, not an object", where=where, hint="write one JSON object on each line")
    return value


def _reason(err: Exception) -> str:
    if isinstance(err, json.JSONDecodeError):
        return f"{err.msg} at character {err.colno}"
    if isinstance(err, RecursionError):
        return f"nested deeper than {_MAX_DEPTH}"
    text = str(err)
    return "a number has too many digits" if "integer string conversion" in text else text


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {excerpt(twice)} appears twice in one object")
    return result


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_float=number, parse_constant=_constant)


def _refuse_deep(text: str) -> None:
    depth = 0
    for match in _BRACKETS.finditer(text):
        first = match.group()[0]
        depth += (first in "[{") - (first in "]}")
        if depth > _MAX_DEPTH:
            raise ValueError(f"nested deeper than {_MAX_DEPTH}")


def lines(chunks: Iterator[bytes], shown: str) -> Iterator[tuple[int, bytes]]:
    """Physical lines with their numbers; each chunk is split once."""
    carry: list[bytes] = []
    carried = 0
    line = 1
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        if whole:
            yield line, b"".join([*carry, whole[0]])
            for text in whole[1:]:
                line += 1
                yield line, text
            line += 1
            carry, carried = [], 0
        carry.append(rest)
        carried += len(rest)
        if carried > _MAX_LINE:
            raise ParseError(
                f"a line is longer than {_MAX_LINE >> 20} MiB",
                where=Where(shown, line),
                hint="write one JSON object on each line, not one array",
            )
    if carried:
        yield line, b"".join(carry)
