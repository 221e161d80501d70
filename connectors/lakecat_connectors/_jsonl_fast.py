"""JSON lines read fast where that is exact (see ``_json_fast``), else by the exact reader, with the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.fit import MisfitError, fit
from lakecat.connector.nested import cast, typed, without_null
from lakecat.errors import Where
from lakecat_connectors._bytes import text_chunks
from lakecat_connectors._job import Job, ahead
from lakecat_connectors._json_fast import (
    DoubtError,
    Lines,
    blocks,
    check,
    large_places,
    look_over,
    observed,
    parse,
)
from lakecat_connectors._json_kept import KeptTables, Place
from lakecat_connectors._json_plain import BLOCK_BYTES, PlainLines
from lakecat_connectors._jsonl import JsonLinesReader, LinesFile, parse_line
from lakecat_connectors._options import file_compression
from lakecat_connectors._reader import cut


@dataclass(slots=True)
class _Done:
    """A file's blocks that are kept: where, and the line after each. ``end``: the line after the file's last one."""

    blocks: list[tuple[Place, int]] = field(default_factory=list)
    end: int = 1

    @property
    def complete(self) -> bool:
        """Whether all of the file's blocks are kept."""
        return bool(self.blocks) and self.blocks[-1][1] == self.end


class FastJsonLinesReader(JsonLinesReader):
    """Reads one slice of JSON lines files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._natural: pa.Schema | None = None
        self._large: set[str] = set()
        self._kept = KeptTables()
        self._plain = PlainLines(sum(file.size for file in job.files))
        self._done: list[_Done] = []

    def open(self) -> pa.Schema:
        """Read everything once to see every key and every kind of value."""
        marked = self._job.rejects.allowed and self._marked
        if self._job.options.records is None and not marked:
            try:
                return self._open_fast()
            except DoubtError:
                self._natural = None
                self._plain.close()
                self._kept.close()
                for item in self._files:
                    item.result = None
        return super().open()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        if self._natural is None:
            yield from super().batches(at_file)
            return
        try:
            for item in self._files:
                at_file(item.index)
                rows = 0
                for batch in self._of_file(item, self._done[item.index], self._natural):
                    rows += batch.num_rows
                    yield from cut(batch, self._job.batch_rows)
                self._finished(item, rows)
        finally:
            self._plain.close()
            self._kept.close()

    def _open_fast(self) -> pa.Schema:
        natural: pa.Schema | None = None
        room = True
        self._done = []
        for item in self._files:
            done = _Done()
            for block in self._blocks(item):
                natural, table = self._seen(block, natural)
                done.end = block.end
                place = self._kept.keep(table) if room else None
                room = place is not None
                if place is not None:
                    done.blocks.append((place, block.end))
            if done.end == 1:
                raise DoubtError
            self._done.append(done)
        if natural is None or not natural.names:
            raise DoubtError
        where = Where(self._files[0].file.shown)
        check_names(natural.names, where)
        self._natural = pa.schema([pa.field(field.name, without_null(field.type)) for field in natural])
        columns = unite([(where, natural.names)], self._job.wanted, "null")
        own = {fold(field.name): field for field in natural}
        self._columns = tuple(_typed(column, own.get(fold(column.name))) for column in columns)
        for item in self._files:
            item.keys = {fold(name): name for name in natural.names}
        if self._job.rejects.allowed and not self._all_fit():
            raise DoubtError
        return self._schema()

    def _all_fit(self) -> bool:
        """Whether all values are known to be of their columns' types: a row that is set aside has no say in them."""
        for item, done in zip(self._files, self._done, strict=True):
            if not done.complete or any(self._fast_batch(item, self._kept.table(at)) is None for at, _ in done.blocks):
                return False
        return True

    def _seen(self, block: Lines, natural: pa.Schema | None) -> tuple[pa.Schema, pa.Table]:
        """The schema of all blocks so far, and this block's rows. Raises DoubtError."""
        if natural is not None and (plain := self._plain.table(block, natural)) is not None:
            self._large |= large_places(plain)
            return natural, plain
        look_over(block)
        both, table = observed(block, natural, self._large)
        check(both)
        return natural if natural is not None and natural.equals(both) else both, table

    def _blocks(self, item: LinesFile) -> Iterator[Lines]:
        options = self._job.options
        with item.opened() as raw:
            chunks = text_chunks(raw, file_compression(options, item.file.shown), options.encoding)
            yield from blocks(ahead(chunks, 2), BLOCK_BYTES if self._plain.worth_it else 0)

    def _of_file(self, item: LinesFile, done: _Done, natural: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The blocks that are kept, then those that are not, or of which a value does not fit: they are read again."""
        line = 1
        for place, end in done.blocks:
            batch = self._fast_batch(item, self._kept.table(place))
            if batch is None:
                break
            yield batch
            line = end
        if line < done.end:
            yield from self._again(item, natural, line)

    def _again(self, item: LinesFile, natural: pa.Schema, first: int) -> Iterator[pa.RecordBatch]:
        for block in self._blocks(item):
            if block.line < first:
                continue
            try:
                plain = self._plain.table(block, natural)
                batch = self._fast_batch(item, parse(block, natural, strict=True) if plain is None else plain)
            except DoubtError:
                batch = None
            yield self._exact_batch(item, block) if batch is None else batch

    def _fast_batch(self, item: LinesFile, table: pa.Table) -> pa.RecordBatch | None:
        """The block's rows; None where a value does not fit."""
        try:
            arrays = [self._column(table, item, column) for column in self._columns]
            return pa.RecordBatch.from_arrays(arrays, schema=self._schema())
        except (MisfitError, pa.ArrowException):
            return None

    def _exact_batch(self, item: LinesFile, block: Lines) -> pa.RecordBatch:
        """The block's rows by the exact reader, which says of a value that does not fit where it is."""
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
    column = typed(column, None if own is None else without_null(own.type))
    if own is None or own.type == column.type or (pa.types.is_temporal(column.type) and pa.types.is_string(own.type)):
        return column
    if not _surely(own.type, column.type):
        raise DoubtError
    return column


def _surely(own: pa.DataType, target: pa.DataType) -> bool:
    """Whether the target holds the values exactly: the same type, but for doubles and for fields that come beside."""
    if pa.types.is_null(own):
        return True
    if pa.types.is_struct(own) and pa.types.is_struct(target):
        parts = {part.name: part.type for part in target}
        return all(part.name in parts and _surely(part.type, parts[part.name]) for part in own)
    if pa.types.is_list(own) and pa.types.is_list(target):
        return _surely(own.value_type, target.value_type)
    return bool(own == target or (pa.types.is_int64(own) and pa.types.is_float64(target)))
