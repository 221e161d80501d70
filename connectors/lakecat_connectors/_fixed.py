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
from lakecat_connectors._records import Block, Dialect

# The fields of a cut line stand apart by the character that ASCII has for it; text that holds it is refused.
_SEPARATOR: Final = "\x1f"
_MAX_LINE: Final = 64 << 20
# Stands for a line that is set aside already: the cutter leaves it out, for text holds none of these.
_SET_ASIDE: Final = "\0"


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
        chunks = text_chunks(
            raw, file_compression(options, item.file.shown), options.encoding, marking=self._job.rejects.allowed
        )
        line = options.skip_lines + 1
        below = self._cut(item, without_lines(chunks, options.skip_lines), line)
        return self._cutter(item, line).blocks(below)

    def _take(self, item: CsvFile, text: bytes, error: ParseError) -> None:
        super()._take(item, text.replace(_SEPARATOR.encode(), b" "), error)

    def _leave(self, item: CsvFile, text: bytes, error: ParseError) -> None:
        """Set a line aside, but for the header."""
        if self._options.header and error.where is not None and error.where.line == self._options.skip_lines + 1:
            raise error
        self._take(item, text, error)

    def _cut(self, item: CsvFile, chunks: Iterator[bytes], line: int) -> Iterator[bytes]:
        """The same lines with separators; whole lines only, so that positions are counted from their starts."""
        carry = b""
        for chunk in chunks:
            whole, feed, rest = (carry + chunk).rpartition(b"\n")
            carry = rest
            if len(carry) > _MAX_LINE:
                where = Where(item.file.shown, line)
                raise ParseError(f"a line is longer than {_MAX_LINE >> 20} MiB", where=where)
            if feed:
                yield self._separated(item, whole, line) + b"\n"
                line += whole.count(b"\n") + 1
        if carry:
            yield self._separated(item, carry, line)

    def _separated(self, item: CsvFile, data: bytes, line: int) -> bytes:
        texts = self._decoded(item, data, line)
        lines = pa.array(self._checked(item, texts, line), pa.large_string())
        fields = [
            pc.utf8_trim(pc.utf8_slice_codeunits(lines, start, stop), " \t" if self._options.trim else " ")
            for start, stop in self._spans
        ]
        joined = pc.binary_join_element_wise(*fields, pa.scalar(_SEPARATOR, pa.large_string()))
        blank = pc.equal(pc.utf8_length(pc.utf8_trim(lines, " ")), 0)
        joined = pc.if_else(blank, pa.scalar("", pa.large_string()), joined)
        return "\n".join(joined.to_pylist()).encode()

    def _decoded(self, item: CsvFile, data: bytes, line: int) -> list[str]:
        """The lines; those that are no text are set aside, or refused."""
        try:
            return [text.removesuffix("\r") for text in data.decode().split("\n")]
        except UnicodeDecodeError:
            texts = []
            for number, raw in enumerate(data.split(b"\n"), start=line):
                try:
                    texts.append(raw.decode().removesuffix("\r"))
                except UnicodeDecodeError as err:
                    encoding = self._options.encoding
                    which = f"bytes {raw[err.start : err.end].hex(' ')}" if encoding == "utf-8" else "some bytes"
                    what = f"{which} are not {encoding.upper()} text"
                    hint = "say the file's encoding, e.g. encoding: latin-1"
                    self._leave(item, raw, ParseError(what, where=Where(item.file.shown, number), hint=hint))
                    texts.append(_SET_ASIDE)
            return texts

    def _checked(self, item: CsvFile, texts: list[str], line: int) -> list[str]:
        """The lines; those that cannot be cut are set aside, or refused."""
        last = max(stop for _, stop in self._spans)
        lines = pa.array(texts, pa.large_string())
        beyond = pc.greater(pc.utf8_length(pc.utf8_rtrim(lines, " ")), last)
        strange = pc.match_substring(lines, _SEPARATOR)
        bad = pc.indices_nonzero(pc.or_(beyond, strange)).to_pylist()
        for index in bad:
            what = (
                f"goes on after its last column, which ends at character {last}"
                if beyond[index].as_py()
                else "holds a control character (U+001F)"
            )
            hint = "mend the line, or the widths: or positions: of the job"
            error = ParseError(what, where=Where(item.file.shown, line + index), hint=hint)
            self._leave(item, texts[index].encode(), error)
            texts[index] = _SET_ASIDE
        return texts


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
