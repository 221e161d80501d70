"""CSV (RFC 4180 and its declared dialects) to Arrow: our own record cutter, pyarrow's field parser, exact typing.

The cutter counts records and checks the quoting; the parser must agree on the count, block by block.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as pacsv

from lakecat.connector.columns import Column, check_names, fold, unite
from lakecat.connector.fit import MisfitError, first_misfit, fit, is_text_type, misfits
from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import RawFile, text_chunks
from lakecat_connectors._csv_lines import blank_line, csv_records, located, sound_records, without_blank_tail
from lakecat_connectors._faults import empty_file, excerpt
from lakecat_connectors._infer import Evidence
from lakecat_connectors._job import Job, JobFile, ahead, ordered
from lakecat_connectors._options import file_compression, file_delimiter
from lakecat_connectors._reader import Reader, SliceFile, cut, settled
from lakecat_connectors._records import (
    Block,
    Cutter,
    Dialect,
    line_breaks,
    record_line,
    record_starts,
    without_records,
)
from lakecat_connectors._salvage import SalvagingCutter

_KEPT_BYTES: Final = 32 << 20  # text of slices up to this size is kept between the deciding and the reading pass
_PAGE: Final = re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error|!--)", re.IGNORECASE)


Sources = Sequence[tuple[Column, int | None]]
"""Columns, and where in the file each stands."""


@dataclass(frozen=True, slots=True)
class _Text:
    """One parsed block: its texts by position in the file."""

    block: Block
    texts: Mapping[int, pa.Array]


@dataclass(slots=True)
class CsvFile(SliceFile):
    """One file of the slice and what its header says; ``names`` empty for an empty file that is skipped."""

    dialect: Dialect
    names: tuple[str, ...] = ()
    kept: list[_Text] | None = None


class CsvReader(Reader):
    """Reads one slice of CSV files."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._options = job.options
        self._files = [CsvFile(index, file, self._dialect(file)) for index, file in enumerate(job.files)]

    def open(self) -> pa.Schema:
        """Read the headers; when some type is not known, read everything once to decide it."""
        for item in self._files:
            item.names = self._read_header(item)
        headers = [(self._header_place(item), item.names) for item in self._files if item.names]
        columns = unite(headers, self._job.wanted, self._options.missing_columns)
        there = {fold(name) for item in self._files for name in item.names}
        for column in columns:
            if fold(column.name) in there and column.type is not None and not is_text_type(column.type):
                raise ParseError(
                    f"column {column.name!r} is {column.shown}, which CSV text cannot hold",
                    where=Where(self._files[0].file.shown, column=column.name),
                    hint="use jsonl or parquet for nested and binary columns",
                )
        if any(column.type is None for column in columns):
            columns = self._decide(columns)
        self._columns = columns
        return self._schema()

    def batches(self, at_file: Callable[[int], None]) -> Iterator[pa.RecordBatch]:
        """Every row, typed."""
        with ThreadPoolExecutor(self._job.threads) as pool:
            for index, item in enumerate(self._files):
                at_file(index)
                rows = 0
                for batch in self._file_batches(item, pool):
                    rows += batch.num_rows
                    yield from cut(batch, self._job.batch_rows)
                self._finished(item, rows)

    def _dialect(self, file: JobFile) -> Dialect:
        return Dialect(file_delimiter(self._options, file.shown), self._options.quote, self._options.escape)

    def _header_place(self, item: CsvFile) -> Where:
        return Where(item.file.shown, self._options.skip_lines + 1)

    # -- files to blocks -------------------------------------------------------------------------------------------

    def _blocks(self, item: CsvFile, raw: RawFile) -> Iterator[Block]:
        options = self._options
        tolerant = self._job.rejects.allowed
        chunks = text_chunks(raw, file_compression(options, item.file.shown), options.encoding, marking=tolerant)
        if not item.names:  # the header's pass
            chunks = _refusing_pages(chunks, self._header_place(item))
        return self._cutter(item, options.skip_lines + 1).blocks(without_lines(chunks, options.skip_lines))

    def _cutter(self, item: CsvFile, line: int) -> Cutter:
        """What finds the records; damaged ones are set aside where that is allowed."""
        if not self._job.rejects.allowed:
            return Cutter(item.dialect, item.file.shown, line=line)
        return SalvagingCutter(
            item.dialect,
            item.file.shown,
            line=line,
            set_aside=lambda text, error: self._take(item, text, error),
            header=self._options.header,
        )

    def _take(self, item: CsvFile, text: bytes, error: ParseError) -> None:
        self._job.rejects.take(item.index, text, error, marked=self._options.encoding != "utf-8")

    def _read_header(self, item: CsvFile) -> tuple[str, ...]:
        raw = RawFile(item.file.path, item.file.shown, item.file.size)
        try:
            block = next(self._blocks(item, raw), None)
        finally:
            raw.close()
        where = self._header_place(item)
        if block is None and not self._job.rejects.lines(item.index):
            if self._options.empty == "skip":
                return ()
            raise empty_file(item.file.shown)
        if self._options.names is not None:
            names: Sequence[str] = self._options.names
        else:
            names = _fields(b"" if block is None else _first_record(block, item.dialect), item.dialect, where)
        if not names:
            raise ParseError(
                "the header is a blank line", where=where, hint="say skip_lines: how many lines are above it"
            )
        if self._options.trim:
            names = [name.strip() for name in names]
        check_names(names, where)
        return tuple(names)

    def _bodies(self, item: CsvFile, raw: RawFile) -> Iterator[Block]:
        """The blocks below the header, blank lines at the file's end left out (one column: they are rows)."""
        blocks = self._blocks(item, raw)
        if self._options.header:
            first = next(blocks, None)
            if first is None:
                return
            head = _first_record(first, item.dialect)
            rest = first.data[len(head) :]
            if rest:
                line = first.line + line_breaks(head)
                blank = None if first.blank is None else first.blank - 1
                blocks = _chain(Block(rest, line, first.records - 1, first.multiline, blank), blocks)
        if len(item.names) == 1:
            yield from blocks
            return
        tolerant = self._job.rejects.allowed
        yield from without_blank_tail(
            blocks, item.dialect, lambda line: self._blank_line(item, line), tolerant=tolerant
        )

    def _blank_line(self, item: CsvFile, line: int) -> None:
        self._take(item, b"", blank_line(item.file.shown, line))

    def _texts(
        self,
        item: CsvFile,
        pool: ThreadPoolExecutor,
        then: Callable[[_Text], Any],
        wanted: Callable[[], Sequence[int]] | None = None,
    ) -> Iterator[Any]:
        """``then`` applied in the pool to every parsed block; sets the file's result at the end."""
        with item.opened() as raw:
            if item.names:
                depth = self._job.threads + 1
                blocks = ahead(self._bodies(item, raw), 2)

                def parse(block: Block) -> Any:
                    return then(self._parse(item, block, None if wanted is None else wanted()))

                yield from ordered(pool, parse, blocks, depth)

    # -- blocks to texts -------------------------------------------------------------------------------------------

    def _parse(self, item: CsvFile, block: Block, wanted: Sequence[int] | None) -> _Text:
        """The texts of a block, of the wanted columns only (None: of all); what cannot be parsed is set aside."""
        try:
            if block.blank is None or len(item.names) == 1:  # pyarrow takes a blank line for a record of NULLs
                return self._parsed(item, block, wanted)
        except ParseError:
            if not self._job.rejects.allowed:
                raise
        sound = sound_records(block, item.dialect, len(item.names), item.file.shown, partial(self._take, item))
        return self._parsed(item, sound, wanted)

    def _parsed(self, item: CsvFile, block: Block, wanted: Sequence[int] | None) -> _Text:
        if not block.records:
            empty = pa.array([], pa.string())
            return _Text(block, dict.fromkeys(range(len(item.names)) if wanted is None else wanted, empty))
        options, dialect = self._options, item.dialect
        names = [str(index) for index in range(len(item.names))]
        # pyarrow drops a byte order mark at the start of what it reads: this one is ours, so that none of the data is.
        data = b"\xef\xbb\xbf" + block.data if block.data.startswith(b"\xef\xbb\xbf") else block.data
        try:
            table = pacsv.read_csv(
                pa.BufferReader(data),
                read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
                parse_options=pacsv.ParseOptions(
                    delimiter=dialect.delimiter,
                    quote_char=dialect.quote or False,
                    double_quote=dialect.doubled,
                    escape_char=dialect.backslash or False,
                    newlines_in_values=block.multiline,
                    ignore_empty_lines=False,
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=None if wanted is None else [names[index] for index in wanted],
                    column_types=dict.fromkeys(names, pa.string()),
                    null_values=[] if options.trim else options.null,
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=options.quoted_null,
                    check_utf8=not data.isascii(),
                ),
            )
        except pa.ArrowInvalid as err:
            raise located(block, item.dialect, len(item.names), item.file.shown, str(err)) from err
        if table.num_rows != block.records:
            raise located(
                block,
                item.dialect,
                len(item.names),
                item.file.shown,
                f"{table.num_rows} records parsed, {block.records} counted",
            )
        texts = {int(name): _contiguous(table[name]) for name in table.column_names}
        if options.trim:
            texts = {index: self._trimmed(column) for index, column in texts.items()}
        return _Text(block, texts)

    def _trimmed(self, texts: pa.Array) -> pa.Array:
        texts = pc.utf8_trim(texts, " \t")
        tokens = pa.array(self._options.null, pa.string())
        return pc.if_else(pc.is_in(texts, value_set=tokens), pa.scalar(None, pa.string()), texts)

    # -- texts to types --------------------------------------------------------------------------------------------

    def _decide(self, columns: tuple[Column, ...]) -> tuple[Column, ...]:
        """One pass over everything; small slices keep their texts for the second."""
        options = self._options
        evidence = {
            fold(column.name): Evidence(options.decimals, tuple(options.date_formats), tuple(options.timestamp_formats))
            for column in columns
            if column.type is None
        }
        left = _KEPT_BYTES
        with ThreadPoolExecutor(self._job.threads) as pool:
            for item in self._files:
                item.kept = [] if item.file.size <= left else None
                watched = {i: evidence[fold(name)] for i, name in enumerate(item.names) if fold(name) in evidence}
                tolerant = self._job.rejects.allowed
                open_ones = None if item.kept is not None or tolerant else _undecided(watched)
                known = self._sources(item, [column for column in columns if column.type is not None])

                def fitting(text: _Text, item: CsvFile = item, known: Sources = known) -> _Text:
                    return self._fitting(item, text, known)

                for text in self._texts(item, pool, fitting if tolerant else _same, open_ones):
                    list(pool.map(partial(_observe, text, watched), watched))
                    left -= len(text.block.data)
                    if left < 0:
                        item.kept = None
                    elif item.kept is not None:
                        item.kept.append(text)
        return settled(
            columns, lambda column: found.decide() if (found := evidence.get(fold(column.name))) is not None else None
        )

    def _file_batches(self, item: CsvFile, pool: ThreadPoolExecutor) -> Iterator[pa.RecordBatch]:
        sources = self._sources(item, self._columns)
        schema = self._schema()

        def typed(text: _Text) -> pa.RecordBatch:
            if self._job.rejects.allowed:
                text = self._fitting(item, text, sources)
            arrays = [
                pa.nulls(text.block.records, column.type)
                if source is None
                else self._typed_column(item, text, source, column)
                for column, source in sources
            ]
            return pa.RecordBatch.from_arrays(arrays, schema=schema)

        if item.kept is None:
            yield from self._texts(item, pool, typed)
            return
        kept, item.kept = item.kept, None
        yield from ordered(pool, typed, kept, self._job.threads + 1)

    def _sources(self, item: CsvFile, columns: Sequence[Column]) -> Sources:
        """Columns with their places in the file; None where it has them not."""
        positions = {fold(name): index for index, name in enumerate(item.names)}
        return [(column, positions.get(fold(column.name))) for column in columns]

    def _fitting(self, item: CsvFile, text: _Text, sources: Sources) -> _Text:
        """The records whose values are all of their columns' types; the others are set aside."""
        bad: dict[int, tuple[Column, int]] = {}
        for column, source in sources:
            if source is not None:
                most = (self._job.rejects.limit or 0) + 1
                found = misfits(text.texts[source], self._rule(column), most)
                bad.update((index, (column, source)) for index in found if index not in bad)
        if not bad:
            return text
        starts = [*record_starts(text.block, item.dialect).tolist(), len(text.block.data)]
        for index in sorted(bad):
            record = text.block.data[starts[index] : starts[index + 1]]
            column, source = bad[index]
            self._take(item, record, self._misfit(item, text, source, column, index))
        keep = pa.array([index not in bad for index in range(text.block.records)])
        texts = {source: column.filter(keep) for source, column in text.texts.items()}
        return _Text(without_records(text.block, item.dialect, bad), texts)

    def _typed_column(self, item: CsvFile, text: _Text, source: int, column: Column) -> pa.Array:
        rule = self._rule(column)
        texts = text.texts[source]
        try:
            return fit(texts, rule)
        except MisfitError:
            index = first_misfit(texts, rule)
        raise self._misfit(item, text, source, column, index)

    def _misfit(self, item: CsvFile, text: _Text, source: int, column: Column, index: int) -> ParseError:
        return ParseError(
            f"{excerpt(text.texts[source][index].as_py())} is not {column.shown}",
            where=Where(item.file.shown, record_line(text.block, item.dialect, index), column.name),
            hint=_misfit_hint(column),
        )


def _same(text: _Text) -> _Text:
    return text


def _undecided(watched: Mapping[int, Evidence]) -> Callable[[], Sequence[int]]:
    """The columns whose values can still change their type; never none, so that records are still counted."""

    def columns() -> Sequence[int]:
        return [index for index, evidence in watched.items() if evidence.possible] or [0]

    return columns


def _observe(text: _Text, watched: Mapping[int, Evidence], index: int) -> None:
    if index in text.texts:
        watched[index].observe(text.texts[index])


def _misfit_hint(column: Column) -> str:
    if column.declared:
        return f"mend the value, name it in null: [...], or declare another type for {column.name} under columns:"
    return (
        f"column {column.name} of the table is {column.shown}: mend the value, name it in null: [...], "
        f"or declare the column's type under columns:"
    )


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest


def _contiguous(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _first_record(block: Block, dialect: Dialect) -> bytes:
    starts = record_starts(block, dialect)
    return block.data if len(starts) == 1 else block.data[: int(starts[1])]


def without_lines(chunks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The text below its first ``count`` physical lines (LF or CRLF)."""
    for chunk in chunks:
        rest = chunk
        while count and rest:
            _, feed, tail = rest.partition(b"\n")
            count -= len(feed)
            rest = tail if feed else b""
        if rest:
            yield rest


def _refusing_pages(chunks: Iterator[bytes], where: Where) -> Iterator[bytes]:
    first = next(chunks, b"")
    if _PAGE.match(first):
        raise ParseError(
            f"is an HTML or XML page, not CSV: {excerpt(first[:200].decode(errors='replace'))}",
            where=Where(where.file, 1),
            hint="the server that delivered it probably answered with an error page; get the file again",
        )
    if first.lstrip()[:1] in (b"{", b"["):
        raise ParseError("is JSON, not CSV", where=Where(where.file, 1), hint="say format: jsonl for JSON lines")
    if where.line == 1 and re.match(rb"sep=.[\r\n]", first):
        raise ParseError("is Excel's separator line", where=where, hint="say skip_lines: 1, and the delimiter")
    if first:
        yield first
    yield from chunks


def _fields(record: bytes, dialect: Dialect, where: Where) -> list[str]:
    csv.field_size_limit(1 << 30)
    try:
        return next(csv_records(record.decode(), dialect), [])
    except (csv.Error, UnicodeDecodeError) as err:
        raise ParseError(
            f"the header cannot be read: {err}", where=where, hint="say encoding: if the file is not UTF-8"
        ) from err
