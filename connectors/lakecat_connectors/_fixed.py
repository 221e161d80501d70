"""Fixed-width text to Arrow: lines are cut at their positions, then read as records by the rules of CSV."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from lakecat.errors import ParseError, Where
from lakecat_connectors._bytes import RawFile, text_chunks
from lakecat_connectors._csv import CsvFile, CsvReader, without_lines
from lakecat_connectors._job import Job, JobFile
from lakecat_connectors._options import FilesOptions, file_compression
from lakecat_connectors._records import Block, Cutter, Dialect

# The fields of a cut line stand apart by the character that ASCII has for it; text that holds it is refused.
_SEPARATOR: Final = "\x1f"
_MAX_LINE: Final = 64 << 20


class FixedWidthReader(CsvReader):
    """Reads one slice of fixed-width files. A line may end before its last columns: they are empty."""

    def __init__(self, job: Job) -> None:
        super().__init__(replace(job, options=_as_csv(job.options)))
        self._spans = _spans(job.options)

    def _dialect(self, file: JobFile) -> Dialect:
        del file
        return Dialect(_SEPARATOR, None, None)

    def _blocks(self, item: CsvFile, raw: RawFile) -> Iterator[Block]:
        options = self._options
        chunks = text_chunks(raw, file_compression(options, item.file.shown), options.encoding)
        below = without_lines(chunks, options.skip_lines)
        line = options.skip_lines + 1
        return Cutter(item.dialect, item.file.shown, line=line).blocks(self._cut(below, Where(item.file.shown, line)))

    def _take(self, item: CsvFile, text: bytes, error: ParseError) -> None:
        super()._take(item, text.replace(_SEPARATOR.encode(), b" "), error)

    def _cut(self, chunks: Iterator[bytes], where: Where) -> Iterator[bytes]:
        """The same lines with separators; whole lines only, so that positions are counted from their starts."""
        carry = b""
        line = where.line or 1
        for chunk in chunks:
            whole, feed, rest = (carry + chunk).rpartition(b"\n")
            carry = rest
            if len(carry) > _MAX_LINE:
                raise ParseError(f"a line is longer than {_MAX_LINE >> 20} MiB", where=Where(where.file, line))
            if feed:
                yield self._separated(whole, Where(where.file, line)) + b"\n"
                line += whole.count(b"\n") + 1
        if carry:
            yield self._separated(carry, Where(where.file, line))

    def _separated(self, data: bytes, where: Where) -> bytes:
        try:
            text = data.decode()
        except UnicodeDecodeError as err:
            line = (where.line or 1) + data.count(b"\n", 0, err.start)
            what = f"bytes {data[err.start : err.end].hex(' ')} are not UTF-8 text"
            hint = "say the file's encoding, e.g. encoding: latin-1"
            raise ParseError(what, where=Where(where.file, line), hint=hint) from None
        lines = pa.array([line.removesuffix("\r") for line in text.split("\n")], pa.large_string())
        self._refuse(lines, where)
        fields = [
            pc.utf8_trim(pc.utf8_slice_codeunits(lines, start, stop), " \t" if self._options.trim else " ")
            for start, stop in self._spans
        ]
        joined = pc.binary_join_element_wise(*fields, pa.scalar(_SEPARATOR, pa.large_string()))
        blank = pc.equal(pc.utf8_length(pc.utf8_trim(lines, " ")), 0)
        joined = pc.if_else(blank, pa.scalar("", pa.large_string()), joined)
        return "\n".join(joined.to_pylist()).encode()

    def _refuse(self, lines: pa.Array, where: Where) -> None:
        last = max(stop for _, stop in self._spans)
        beyond = pc.greater(pc.utf8_length(pc.utf8_rtrim(lines, " ")), last)
        strange = pc.match_substring(lines, _SEPARATOR)
        for found, what in (
            (beyond, f"goes on after its last column, which ends at character {last}"),
            (strange, "holds a control character (U+001F)"),
        ):
            at = pc.index(found, True).as_py()
            if at >= 0:
                raise ParseError(
                    what,
                    where=Where(where.file, (where.line or 1) + at),
                    hint="mend the line, or the widths: or positions: of the job",
                )


def _spans(options: FilesOptions) -> list[tuple[int, int]]:
    """Where each column starts and stops, in characters from 0."""
    if options.positions is not None:
        return [(first - 1, last) for first, last in options.positions.values()]
    spans = []
    start = 0
    for width in options.widths or ():
        spans.append((start, start + width))
        start += width
    return spans


def _as_csv(options: FilesOptions) -> FilesOptions:
    """What the reader of CSV is to do: positions name the columns, and then a header is there only if that is said."""
    update: dict[str, Any] = {"quote": None, "escape": None}
    if options.positions is not None:
        update["names"] = list(options.positions)
        update["header"] = options.header and "header" in options.model_fields_set
    return options.model_copy(update=update)
