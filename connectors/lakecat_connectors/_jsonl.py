"""JSON lines to Arrow: one object on each line, read by Python's strict parser, nested values kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.fit import MisfitError, Rule, first_misfit, fit
from lakecat.connector.shapes import Budget, Shape, ShapeError, converter, number
from lakecat.errors import LakecatError, ParseError, SourceChangedError, Where
from lakecat_connectors._bytes import RawFile, text_chunks
from lakecat_connectors._faults import excerpt
from lakecat_connectors._job import FileResult, Job, JobFile, ahead
from lakecat_connectors._options import file_compression

_KEPT_BYTES: Final = 4 << 20
_MAX_LINE: Final = 64 << 20
_BATCH_BYTES: Final = 16 << 20
_MAX_DEPTH: Final = 64
_BRACKETS: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')

Row = tuple[int, dict[str, Any]]


@dataclass(slots=True)
class _File:
    """One file, the keys it has at top level, and its rows when it is small."""

    file: JobFile
    keys: dict[str, str]
    kept: list[Row] | None = None
    result: FileResult | None = None


class JsonLinesReader:
    """Reads one slice of JSON lines files. A key that is missing is NULL."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._files = [_File(file, {}) for file in job.files]
        self._columns: tuple[Column, ...] = ()
        self._results: list[FileResult] = []
        self._shape = Shape(Budget())

    @property
    def results(self) -> tuple[FileResult, ...]:
        """What each file became."""
        return tuple(self._results)

    def open(self) -> pa.Schema:
        """Read everything once to see every key and every kind of value."""
        left = _KEPT_BYTES
        for item in self._files:
            self._observe(item, keep=item.file.size <= left)
            left -= item.file.size
        names = list(self._shape.fields)
        check_names(names, Where(self._files[0].file.shown))
        headers = [(Where(item.file.shown), list(item.keys.values())) for item in self._files]
        columns = unite(headers, self._job.wanted, "null")
        shapes = {fold(name): shape for name, shape in self._shape.fields.items()}
        self._columns = tuple(
            column if column.type is not None else replace(column, type=shapes[fold(column.name)].decide())
            for column in columns
        )
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        for index, item in enumerate(self._files):
            at_file(index)
            rows = 0
            for group in _groups(self._rows(item), self._job.batch_rows):
                rows += len(group)
                yield self._batch(item, group)
            if item.result is None:
                raise AssertionError("a file is finished before its result is taken")
            self._results.append(replace(item.result, rows=rows))

    def _schema(self) -> pa.Schema:
        return pa.schema([pa.field(column.name, column.type) for column in self._columns])

    def _observe(self, item: _File, *, keep: bool) -> None:
        kept: list[Row] = []
        for line, row in self._parsed(item):
            try:
                for name, value in row.items():
                    self._shape.child(name, "").observe(value, name)
                    item.keys.setdefault(fold(name), name)
            except ShapeError as err:
                raise ParseError(err.what, where=Where(item.file.shown, line, err.path)) from err
            if keep:
                kept.append((line, row))
        item.kept = kept if keep else None

    def _rows(self, item: _File) -> Iterator[Row]:
        kept, item.kept = item.kept, None
        yield from self._parsed(item) if kept is None else kept

    def _parsed(self, item: _File) -> Iterator[Row]:
        raw = RawFile(item.file.path, item.file.shown, item.file.size)
        try:
            chunks = text_chunks(raw, file_compression(self._job.options, item.file.shown), self._job.options.encoding)
            empty = True
            for line, text in _lines(ahead(chunks, 2), item.file.shown):
                empty = False
                if text.strip():
                    yield line, parse_line(text, Where(item.file.shown, line))
            if empty and self._job.options.empty == "error":
                raise ParseError(
                    "the file is empty", where=Where(item.file.shown), hint="say empty: skip to allow empty files"
                )
            result = FileResult(0, raw.finish())
        finally:
            raw.close()
        if item.result is not None and item.result.sha256 != result.sha256:
            raise SourceChangedError("the file changed while it was read", where=Where(item.file.shown))
        item.result = result

    def _batch(self, item: _File, rows: list[Row]) -> pa.RecordBatch:
        arrays = []
        for column in self._columns:
            key = item.keys.get(fold(column.name))
            if key is None:
                arrays.append(pa.nulls(len(rows), column.type))
            else:
                arrays.append(self._array(item, rows, key, column))
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema())

    def _array(self, item: _File, rows: list[Row], key: str, column: Column) -> pa.Array:
        options = self._job.options
        rule = Rule(
            column.type,
            declared=column.declared,
            date_formats=options.date_formats,
            timestamp_formats=options.timestamp_formats,
        )
        values = [row.get(key) for _, row in rows]
        try:
            return _convert(values, rule)
        except (MisfitError, pa.ArrowInvalid, OverflowError):
            index = _first_bad(values, rule)
        except LakecatError as err:
            raise ParseError(err.what, where=Where(item.file.shown, column=column.name)) from err
        raise ParseError(
            f"{excerpt(values[index])} is not {column.shown}",
            where=Where(item.file.shown, rows[index][0], column.name),
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
        hint = "every line must be one JSON object"
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


def _lines(chunks: Iterator[bytes], shown: str) -> Iterator[tuple[int, bytes]]:
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


def _groups(rows: Iterator[Row], most: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in rows:
        group.append(row)
        if len(group) >= most:
            yield group
            group = []
    if group:
        yield group


def _convert(values: list[Any], rule: Rule) -> pa.Array:
    if pa.types.is_temporal(rule.type):
        if any(value is not None and not isinstance(value, str) for value in values):
            raise MisfitError
        return fit(pa.array(values, pa.string()), rule)
    convert = converter(rule)
    return pa.array([convert(value) for value in values], rule.type)


def _first_bad(values: list[Any], rule: Rule) -> int:
    if pa.types.is_temporal(rule.type) and all(value is None or isinstance(value, str) for value in values):
        return first_misfit(pa.array(values, pa.string()), rule)
    for index, value in enumerate(values):
        try:
            _convert([value], rule)
        except (MisfitError, pa.ArrowInvalid, OverflowError):
            return index
    return 0
