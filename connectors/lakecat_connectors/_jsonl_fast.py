"""JSON lines read fast where that is exact (see ``_json_fast``), else by the exact reader, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.fit import MisfitError, fit
from lakecat.errors import Where
from lakecat_connectors._bytes import text_chunks
from lakecat_connectors._job import Job, ahead
from lakecat_connectors._json_fast import DoubtError, Lines, blocks, check, look_over, observed, parse
from lakecat_connectors._jsonl import JsonLinesReader, LinesFile, parse_line
from lakecat_connectors._options import file_compression
from lakecat_connectors._reader import cut
from lakecat_connectors._typed import cast, without_null

_KEPT_BYTES: Final = 32 << 20

Parsed = tuple[Lines, pa.Table]


class FastJsonLinesReader(JsonLinesReader):
    """Reads one slice of JSON lines files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._natural: pa.Schema | None = None
        self._kept: list[list[Parsed] | None] = []

    def open(self) -> pa.Schema:
        """Read everything once to see every key and every kind of value."""
        if not self._job.rejects.allowed and self._job.options.records is None:
            try:
                return self._open_fast()
            except DoubtError:
                self._natural, self._kept = None, []
                for item in self._files:
                    item.result = None
        return super().open()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        if self._natural is None:
            yield from super().batches(at_file)
            return
        for item in self._files:
            at_file(item.index)
            rows = 0
            kept, self._kept[item.index] = self._kept[item.index], None
            for block, table in kept if kept is not None else self._parsed_again(item, self._natural):
                batch = self._fast_batch(item, block, table)
                rows += batch.num_rows
                yield from cut(batch, self._job.batch_rows)
            self._finished(item, rows)

    def _open_fast(self) -> pa.Schema:
        natural: pa.Schema | None = None
        left = _KEPT_BYTES
        for item in self._files:
            kept: list[Parsed] | None = []
            some = False
            for block in self._blocks(item):
                some = True
                look_over(block)
                natural, table = observed(block, natural)
                check(natural)
                left -= len(block.data)
                if left < 0:
                    kept = None
                elif kept is not None:
                    kept.append((block, table))
            if not some:
                raise DoubtError
            self._kept.append(kept)
        if natural is None or not natural.names:
            raise DoubtError
        where = Where(self._files[0].file.shown)
        check_names(natural.names, where)
        self._natural = pa.schema([pa.field(field.name, without_null(field.type)) for field in natural])
        columns = unite([(where, natural.names)], self._job.wanted, "null")
        own = {fold(field.name): field for field in self._natural}
        self._columns = tuple(_typed(column, own.get(fold(column.name))) for column in columns)
        for item in self._files:
            item.keys = {fold(name): name for name in natural.names}
        return self._schema()

    def _blocks(self, item: LinesFile) -> Iterator[Lines]:
        options = self._job.options
        with item.opened() as raw:
            chunks = text_chunks(raw, file_compression(options, item.file.shown), options.encoding)
            yield from blocks(ahead(chunks, 2))

    def _parsed_again(self, item: LinesFile, natural: pa.Schema) -> Iterator[tuple[Lines, pa.Table | None]]:
        for block in self._blocks(item):
            try:
                yield block, parse(block, natural, strict=True)
            except DoubtError:
                yield block, None

    def _fast_batch(self, item: LinesFile, block: Lines, table: pa.Table | None) -> pa.RecordBatch:
        """The block's rows; where a value does not fit, the exact reader says which."""
        if table is not None:
            try:
                arrays = [self._column(table, item, column) for column in self._columns]
                return pa.RecordBatch.from_arrays(arrays, schema=self._schema())
            except (MisfitError, pa.ArrowException):
                pass
        texts = block.data.split(b"\n")[: block.count]
        lines = enumerate(texts, start=block.line)
        rows = [(line, parse_line(text, Where(item.file.shown, line)), b"") for line, text in lines]
        return self._batch(item, rows)

    def _column(self, table: pa.Table, item: LinesFile, column: Column) -> pa.Array:
        name = item.keys.get(fold(column.name))
        if name is None or name not in table.column_names:
            return pa.nulls(table.num_rows, column.type)
        values = table.column(name).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays(values.chunks)
        if values.type == column.type:
            return values
        if pa.types.is_temporal(column.type) and pa.types.is_string(values.type):
            return fit(values, self._rule(column))
        return cast(values, column.type)


def _typed(column: Column, own: pa.Field | None) -> Column:
    """The column with its type. Raises DoubtError when the exact reader has to judge whether values are of it."""
    if own is None or column.type is None:
        return replace(column, type=pa.string() if own is None else own.type) if column.type is None else column
    text_to_moment = pa.types.is_temporal(column.type) and pa.types.is_string(own.type)
    nested = pa.types.is_nested(own.type) and pa.types.is_nested(column.type)
    if own.type != column.type and not text_to_moment and not (nested and _only_more_fields(own.type, column.type)):
        raise DoubtError
    return column


def _only_more_fields(own: pa.DataType, target: pa.DataType) -> bool:
    """Whether the target is the same type but for fields that structs of it have beside theirs."""
    if pa.types.is_struct(own) and pa.types.is_struct(target):
        parts = {part.name: part.type for part in target}
        return all(part.name in parts and _only_more_fields(part.type, parts[part.name]) for part in own)
    if pa.types.is_list(own) and pa.types.is_list(target):
        return _only_more_fields(own.value_type, target.value_type)
    return bool(own == target)
