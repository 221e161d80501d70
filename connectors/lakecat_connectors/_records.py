"""Cuts CSV text into blocks of whole records, checking RFC 4180's quoting rules byte by byte, vectorised.

In that grammar the quote characters alone tell what is inside a quoted value: an odd one opens (or doubles), an even
one closes. So record ends, physical line numbers and every misplaced quote are found without parsing fields, and a
parser that disagrees on the number of records is found out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lakecat.errors import ParseError, Where

MAX_RECORD: Final = 64 << 20
_LF, _CR = 10, 13
_LINE_BREAKS: Final = b"\r\n"

Positions = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_NONE: Final[Positions] = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How records are written; all one byte each, quote and escape may be absent."""

    delimiter: str
    quote: str | None
    escape: str | None

    @property
    def doubled(self) -> bool:
        """Whether a quote inside quotes is written twice."""
        return self.escape is None or self.escape == self.quote

    @property
    def backslash(self) -> str | None:
        """The escape character when it is not the quote itself."""
        return None if self.doubled else self.escape


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records. ``line`` is the physical line on which the first one starts, ``blank`` the first empty one.

    ``lines`` holds the lines of all records where some between them were left out.
    """

    data: bytes
    line: int
    records: int
    multiline: bool
    blank: int | None = None
    lines: tuple[int, ...] | None = None


@dataclass(slots=True)
class Cutter:
    """Turns chunks of one file's text into blocks. Raises ParseError with the line."""

    dialect: Dialect
    shown: str
    line: int = 1
    terminator: int | None = None

    def blocks(self, chunks: Iterator[bytes]) -> Iterator[Block]:
        """Blocks of about a chunk's size; a last line without an end counts as a record."""
        carry = b""
        for chunk in chunks:
            text = carry + chunk if carry else chunk
            block, carry = self._cut(text, final=False)
            if block is not None:
                yield block
            if len(carry) > MAX_RECORD:
                raise self._too_long(carry)
        if carry:
            block = self._last(carry)
            if block is not None:
                yield block

    def _cut(self, text: bytes, *, final: bool) -> tuple[Block | None, bytes]:
        marks = Marks.of(text, self.dialect)
        if self.terminator is None:
            self.terminator = marks.terminator(final=final)
        if final:
            self._refuse_open(text, marks)
        ends = marks.feeds if self.terminator == _LF else marks.returns
        if self.terminator is None or not len(ends):
            return None, text
        stop = int(ends[-1]) + 1
        self._check(text, marks, stop)
        data = text if stop == len(text) else text[:stop]
        breaks = marks.breaks(data)
        block = Block(data, self.line, len(ends), breaks != len(ends), _first_blank(marks.text, ends))
        self.line += breaks
        return block, text[stop:]

    def _last(self, carry: bytes) -> Block | None:
        """The file's last record, which may lack its line end."""
        if carry[-1] not in _LINE_BREAKS:
            carry += b"\r" if self.terminator == _CR else b"\n"
        block, rest = self._cut(carry, final=True)
        if rest:
            raise self._error(rest, 0, "the last record does not end like the others", "end every record alike")
        return block

    def _check(self, text: bytes, marks: Marks, stop: int) -> None:
        self._refuse_nul(text, stop)
        stray = marks.stray_breaks(self.terminator, stop)
        if len(stray):
            name = "carriage return" if self.terminator == _LF else "line feed"
            raise self._error(text, int(stray[0]), f"holds a bare {name}", "end every record alike: LF or CRLF")
        bad = marks.misplaced_quote(self.dialect, stop)
        if bad is not None:
            raise self._quote_error(text, *bad)

    def _refuse_nul(self, text: bytes, stop: int) -> None:
        at = text.find(b"\0", 0, stop)
        if at >= 0:
            raise self._error(text, at, "holds a NUL byte", "text files hold none: is this file UTF-16, or binary?")

    def _quote_error(self, text: bytes, at: int, opened: int | None) -> ParseError:
        if opened is None:
            what = "a quote stands inside an unquoted value"
        else:
            start = self.line + line_breaks(text[:opened])
            what = f"a quoted value that starts on line {start} goes on after its closing quote"
        return self._error(text, at, what, "quote the whole value and double every quote inside it (RFC 4180)")

    def _refuse_open(self, text: bytes, marks: Marks) -> None:
        at = marks.open_quote()
        bad = marks.misplaced_quote(self.dialect, len(text))
        if bad is not None:
            raise self._quote_error(text, *bad)
        if at is not None:
            raise self._error(
                text, at, "a quoted value is never closed", "close the quote, or get the whole file again"
            )

    def _too_long(self, text: bytes) -> ParseError:
        self._refuse_nul(text, len(text))
        marks = Marks.of(text, self.dialect)
        bad = marks.misplaced_quote(self.dialect, len(text))
        if bad is not None:
            return self._quote_error(text, *bad)
        at = marks.open_quote()
        if at is not None:
            return self._error(
                text, at, f"a quoted value is not closed within {MAX_RECORD >> 20} MiB", "close the quote"
            )
        return self._error(text, 0, f"a record is longer than {MAX_RECORD >> 20} MiB", "check delimiter and line ends")

    def _error(self, text: bytes, at: int, what: str, hint: str) -> ParseError:
        return ParseError(what, where=Where(self.shown, self.line + line_breaks(text[:at])), hint=hint)


def line_breaks(text: bytes) -> int:
    """Physical line ends: LF, CRLF and bare CR."""
    feeds = text.count(b"\n")
    returns = text.count(b"\r")
    return feeds if not returns else feeds + returns - text.count(b"\r\n")


@dataclass(frozen=True, slots=True)
class Marks:
    """Positions of the quotes and line breaks of a text that starts with a record."""

    text: Bytes
    quotes: Positions
    feeds: Positions
    returns: Positions
    all_feeds: Positions | None

    @classmethod
    def of(cls, data: bytes, dialect: Dialect) -> Marks:
        """Find them; escaped ones are left out, line breaks inside quotes too."""
        text = np.frombuffer(data, dtype=np.uint8)
        quoted = dialect.quote is not None and dialect.quote.encode() in data
        returning = b"\r" in data
        found = text == _LF
        if quoted:
            found |= text == ord(dialect.quote or "")
        if returning:
            found |= text == _CR
        places = np.flatnonzero(found)
        if dialect.backslash is not None and dialect.backslash.encode() in data:
            places = _without(places, _escaped(np.flatnonzero(text == ord(dialect.backslash))))
        if not quoted and not returning and dialect.backslash is None:
            return cls(text, _NONE, places, _NONE, places)
        kinds = text[places]
        is_quote = kinds == ord(dialect.quote) if dialect.quote is not None else np.zeros(len(kinds), dtype=bool)
        outside = np.cumsum(is_quote, dtype=np.int64) & 1 == 0
        all_feeds = None if returning or dialect.backslash is not None else places[~is_quote]
        feeds = places[(kinds == _LF) & outside]
        returns = places[(kinds == _CR) & outside] if returning else _NONE
        return cls(text, places[is_quote], feeds, returns, all_feeds)

    def breaks(self, data: bytes) -> int:
        """``line_breaks`` of the text's beginning ``data``, from what is known already where possible."""
        if self.all_feeds is None:
            return line_breaks(data)
        return int(np.searchsorted(self.all_feeds, len(data)))

    def terminator(self, *, final: bool) -> int | None:
        """LF or CR, by the first record's end; None while it is not clear."""
        first_feed = int(self.feeds[0]) if len(self.feeds) else None
        first_return = int(self.returns[0]) if len(self.returns) else None
        if first_return is None or (first_feed is not None and first_feed <= first_return + 1):
            return None if first_feed is None else _LF
        if first_return + 1 == len(self.text) and not final:
            return None
        return _CR

    def stray_breaks(self, terminator: int | None, stop: int) -> Positions:
        """Line breaks outside quotes that are not of the file's kind."""
        others = self.returns if terminator == _LF else self.feeds
        others = others[others < stop]
        if terminator != _LF or not len(others):
            return others
        bare: Positions = others[self.text[others + 1] != _LF]
        return bare

    def open_quote(self) -> int | None:
        """Position of the quote that opens a value that does not end."""
        return int(self.quotes[-1]) if len(self.quotes) % 2 else None

    def misplaced_quote(self, dialect: Dialect, stop: int) -> tuple[int, int | None] | None:
        """First quote against the grammar, and the quote that opened the value it ends (None: it should open one)."""
        quotes = self.quotes[self.quotes < stop]
        if not len(quotes):
            return None
        opening, closing = quotes[0::2], quotes[1::2]
        edges = {ord(dialect.delimiter), _LF, _CR} | ({ord(dialect.quote or '"')} if dialect.doubled else set())
        allowed = np.zeros(256, dtype=bool)
        allowed[list(edges)] = True
        bad_open = opening[(opening > 0) & ~allowed[self.text[opening - 1]]]
        closing_inside = closing[closing + 1 < len(self.text)]
        bad_close = closing_inside[~allowed[self.text[closing_inside + 1]]]
        first_open = int(bad_open[0]) if len(bad_open) else None
        first_close = int(bad_close[0]) if len(bad_close) else None
        if first_close is not None and (first_open is None or first_close < first_open):
            return first_close, int(opening[np.searchsorted(closing, first_close)])
        return None if first_open is None else (first_open, None)


def record_starts(block: Block, dialect: Dialect) -> Positions:
    """Where each record of a block starts."""
    marks = Marks.of(block.data, dialect)
    ends = marks.feeds if len(marks.feeds) == block.records else marks.returns
    return np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1] + 1))


def record_line(block: Block, dialect: Dialect, index: int) -> int:
    """The physical line on which a block's record starts."""
    if block.lines is not None:
        return block.lines[index]
    return block.line + line_breaks(block.data[: int(record_starts(block, dialect)[index])])


def without_records(block: Block, dialect: Dialect, bad: Collection[int]) -> Block:
    """The block's other records, each still on its line."""
    starts = [*(int(start) for start in record_starts(block, dialect)), len(block.data)]
    lines = record_lines(block, dialect)
    good = [index for index in range(block.records) if index not in bad]
    return Block(
        b"".join(block.data[starts[index] : starts[index + 1]] for index in good),
        block.line,
        len(good),
        block.multiline,
        lines=tuple(lines[index] for index in good),
    )


def record_lines(block: Block, dialect: Dialect) -> tuple[int, ...]:
    """The physical line on which each record starts."""
    if block.lines is not None:
        return block.lines
    starts = record_starts(block, dialect)
    lines, line, last = [], block.line, 0
    for start in starts.tolist():
        line += line_breaks(block.data[last:start])
        lines.append(line)
        last = start
    return tuple(lines)


def _first_blank(text: Bytes, ends: Positions) -> int | None:
    """Index of the first record that holds nothing but its line end."""
    gaps = np.diff(ends, prepend=-1)
    blank = np.flatnonzero((gaps == 1) | ((gaps == 2) & (text[ends - 1] == _CR)))
    return int(blank[0]) if len(blank) else None


def _without(positions: Positions, escaped: Positions) -> Positions:
    return positions[~np.isin(positions, escaped, assume_unique=True)]


def _escaped(escapes: Positions) -> Positions:
    """Positions taken literally: after each escape that is not itself escaped."""
    if not len(escapes):
        return escapes
    starts = np.concatenate(([True], np.diff(escapes) != 1))
    run_start: Any = np.maximum.accumulate(np.where(starts, np.arange(len(escapes)), 0))
    active = (np.arange(len(escapes)) - run_start) % 2 == 0
    escaped: Positions = escapes[active] + 1
    return escaped
