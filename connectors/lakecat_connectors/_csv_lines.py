"""Single records of CSV: looked at one by one, which only damaged files need."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

from lakecat.errors import ParseError, Where
from lakecat_connectors._faults import excerpt
from lakecat_connectors._records import (
    Block,
    Dialect,
    line_breaks,
    record_line,
    record_lines,
    record_starts,
    without_records,
)

_FIELD_LIMIT = 1 << 30


def csv_records(text: str, dialect: Dialect) -> Iterator[list[str]]:
    """The fields of each record, by Python's own parser."""
    csv.field_size_limit(_FIELD_LIMIT)
    return csv.reader(
        io.StringIO(text, newline=""),
        delimiter=dialect.delimiter,
        quotechar=dialect.quote,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        doublequote=dialect.doubled,
        escapechar=dialect.backslash,
        strict=True,
    )


def blank_line(shown: str, line: int) -> ParseError:
    """A line without anything on it, where records have several fields."""
    return ParseError("is a blank line", where=Where(shown, line), hint="remove it: it is no record of several columns")


def without_blank_tail(
    blocks: Iterator[Block], dialect: Dialect, refuse: Callable[[int], None], *, tolerant: bool
) -> Iterator[Block]:
    """Leaves out blank lines at the end of the file.

    ``refuse`` is told of the line of each other one, or raises; with ``tolerant`` those inside of a block stay there.
    """
    pending: list[int] = []
    for block in blocks:
        body = block.data if block.blank is None else block.data.rstrip(b"\r\n")
        if body:
            for line in pending:
                refuse(line)
            pending = []
        if block.blank is None:
            yield block
            continue
        tail = block.data[len(body) :]
        own = 0 if not body else 2 if tail.startswith(b"\r\n") else 1
        blank = line_breaks(tail[own:])
        records = block.records - blank
        if block.blank < records and not tolerant:
            refuse(record_line(block, dialect, block.blank))
        first = block.line + line_breaks(body) + (1 if body else 0)
        pending.extend(range(first, first + blank))
        if body:
            inner = block.blank if block.blank < records else None
            yield replace(block, data=body + tail[:own], records=records, blank=inner)


def sound_records(
    block: Block, dialect: Dialect, width: int, shown: str, refuse: Callable[[bytes, ParseError], None]
) -> Block:
    """The block's records that are text and have ``width`` fields; ``refuse`` is told of the others."""
    starts = [*record_starts(block, dialect).tolist(), len(block.data)]
    lines = record_lines(block, dialect)
    bad: set[int] = set()
    for index, line in enumerate(lines):
        record = block.data[starts[index] : starts[index + 1]]
        error = _unsound(record, dialect, width, shown, line)
        if error is not None:
            bad.add(index)
            refuse(record, error)
    return without_records(block, dialect, bad)


def _unsound(record: bytes, dialect: Dialect, width: int, shown: str, line: int) -> ParseError | None:
    try:
        fields = next(csv_records(record.decode(), dialect), [])
    except UnicodeDecodeError as err:
        return _no_text(record, err, Where(shown, line))
    except csv.Error as err:
        return ParseError(f"the record cannot be read surely: {excerpt(str(err))}", where=Where(shown, line))
    if len(fields) == width or (not fields and width == 1):
        return None
    return blank_line(shown, line) if not fields else _wrong_width(len(fields), width, Where(shown, line))


def _no_text(data: bytes, err: UnicodeDecodeError, where: Where) -> ParseError:
    what = f"bytes {data[err.start : err.end].hex(' ')} are not UTF-8 text"
    return ParseError(what, where=where, hint="say the file's encoding, e.g. encoding: latin-1")


def _wrong_width(fields: int, width: int, where: Where) -> ParseError:
    what = f"the record has {fields} fields, the header {width}"
    return ParseError(what, where=where, hint="quote values that hold the delimiter")


def located(block: Block, dialect: Dialect, width: int, shown: str, reason: str) -> ParseError:
    """Which record the parser stumbled over; found again slowly, since only broken files come here."""
    try:
        text = block.data.decode()
    except UnicodeDecodeError as err:
        return _no_text(block.data, err, Where(shown, block.line + line_breaks(block.data[: err.start])))
    try:
        for index, fields in enumerate(csv_records(text, dialect)):
            if len(fields) == width or (not fields and width == 1):
                continue
            if index >= block.records:
                break
            line = record_line(block, dialect, index)
            return _wrong_width(len(fields), width, Where(shown, line)) if fields else blank_line(shown, line)
    except csv.Error as err:
        reason = str(err)
    return ParseError(
        f"the records from here on cannot be read surely: {excerpt(reason)}", where=Where(shown, block.line)
    )
