"""Cuts CSV text around its damaged records: these are set aside, the others go on as blocks.

A record whose quotes break the grammar is set aside up to its first line end, and reading goes on with the next line:
where such a value was to end cannot be known. A record that holds a NUL or a bare line break goes as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from lakecat.errors import ParseError
from lakecat_connectors._limits import progress
from lakecat_connectors._records import MAX_RECORD, Block, Cutter, Marks, Positions, line_breaks

_LF, _CR = 10, 13
_WINDOW: Final = 1 << 16


def _raise(_text: bytes, error: ParseError) -> None:
    raise error


@dataclass(frozen=True, slots=True)
class _Problem:
    """The first thing against the grammar: where, what, and whether the quotes after it mean nothing."""

    at: int
    error: ParseError
    quoting: bool


@dataclass(slots=True)
class SalvagingCutter(Cutter):
    """A cutter that hands damaged records to ``set_aside``. ``header``: the first record must be sound."""

    set_aside: Callable[[bytes, ParseError], None] = field(default=_raise)
    header: bool = True

    def blocks(self, chunks: Iterator[bytes]) -> Iterator[Block]:
        """Blocks of sound records. Raises ParseError for a line that is too long, and what ``set_aside`` raises."""
        carry = b""
        for chunk in chunks:
            carry = yield from self._pieces(carry + chunk if carry else chunk, final=False)
            if len(carry) > MAX_RECORD:
                carry = yield from self._overlong(carry)
        if not carry:
            return
        if carry[-1] not in b"\r\n":
            carry += b"\r" if self.terminator == _CR else b"\n"
        rest = yield from self._pieces(carry, final=True)
        if rest:
            error = self._error(rest, 0, "the last record does not end like the others", "end every record alike")
            self._leave(rest, error)

    def _pieces(self, text: bytes, *, final: bool) -> Generator[Block, None, bytes]:
        """The text's blocks; returns what is no whole record yet. After a damaged record in smaller pieces."""
        at, window = 0, len(text)
        while at < len(text):
            piece = text[at : at + window]
            last = at + len(piece) == len(text)
            block, used, damaged = self._step(piece, final=final and last)
            if block is not None:
                self.header = False
                yield block
            at += used
            if damaged is not None:
                self._leave(*damaged)
                window = _WINDOW
                continue
            if last:
                break
            window = window if used else window * 2
        return text[at:]

    def _step(self, piece: bytes, *, final: bool) -> tuple[Block | None, int, tuple[bytes, ParseError] | None]:
        """A block of the sound records up to a damaged one, how many bytes are done, and the damaged one."""
        marks = Marks.of(piece, self.dialect)
        if self.terminator is None:
            self.terminator = marks.terminator(final=final)
        problem = self._problem(piece, marks, final=final)
        if self.terminator is None and problem is not None:
            self.terminator = _first_break(piece, final=final)
        if self.terminator is None:
            return None, 0, None
        ends = marks.feeds if self.terminator == _LF else marks.returns
        if problem is not None:
            ends = ends[ends < problem.at]
        stop = int(ends[-1]) + 1 if len(ends) else 0
        block = self._block(piece[:stop], marks, ends) if stop else None
        if problem is None:
            return block, stop, None
        if stop == 0 and self.header and self._ends(piece, marks, 0, problem, final=final) is not None:
            raise problem.error
        end = self._ends(piece, marks, stop, problem, final=final)
        if end is None:
            return block, stop, None
        error = problem.error if problem.at < end or problem.quoting else self._never_closed(piece, stop)
        return block, end, (piece[stop:end], error)

    def _block(self, data: bytes, marks: Marks, ends: Positions) -> Block:
        gaps = np.diff(ends, prepend=-1)
        blank = np.flatnonzero((gaps == 1) | ((gaps == 2) & (marks.text[ends - 1] == _CR)))
        breaks = line_breaks(data)
        block = Block(data, self.line, len(ends), breaks != len(ends), int(blank[0]) if len(blank) else None)
        self.line += breaks
        return block

    def _ends(self, piece: bytes, marks: Marks, start: int, problem: _Problem, *, final: bool) -> int | None:
        """Where the damaged record that starts there ends; None where that is not to be seen yet."""
        mark = b"\r" if self.terminator == _CR else b"\n"
        if not problem.quoting:
            ends = marks.feeds if self.terminator == _LF else marks.returns
            after = ends[ends >= problem.at]
            bad = marks.misplaced_quote(self.dialect, len(piece))
            if len(after) and (bad is None or after[0] < bad[0]):
                return int(after[0]) + 1
            if bad is None and not final:
                return None
        at = piece.find(mark, start)
        return at + 1 if at >= 0 else len(piece) if final else None

    def _problem(self, piece: bytes, marks: Marks, *, final: bool) -> _Problem | None:
        found: list[_Problem] = []
        if (nul := piece.find(b"\0")) >= 0:
            error = self._error(piece, nul, "holds a NUL byte", "text files hold none: is this file UTF-16, or binary?")
            found.append(_Problem(nul, error, quoting=False))
        if self.terminator is not None and len(stray := marks.stray_breaks(self.terminator, len(piece) - 1)):
            name = "carriage return" if self.terminator == _LF else "line feed"
            error = self._error(piece, int(stray[0]), f"holds a bare {name}", "end every record alike: LF or CRLF")
            found.append(_Problem(int(stray[0]), error, quoting=False))
        if (bad := marks.misplaced_quote(self.dialect, len(piece))) is not None:
            found.append(_Problem(bad[0], self._quote_error(piece, *bad), quoting=True))
        if final and (open_quote := marks.open_quote()) is not None:
            found.append(_Problem(open_quote, self._never_closed(piece, open_quote), quoting=True))
        return min(found, key=lambda problem: problem.at, default=None)

    def _never_closed(self, text: bytes, at: int) -> ParseError:
        return self._error(text, at, "a quoted value is never closed", "close the quote, or get the whole file again")

    def _overlong(self, text: bytes) -> Generator[Block, None, bytes]:
        """A record beyond the limit: if a quote holds it open, its first line goes. Raises ParseError otherwise."""
        at = Marks.of(text, self.dialect).open_quote()
        end = text.find(b"\r" if self.terminator == _CR else b"\n") + 1
        if at is None or not end:
            raise self._too_long(text)
        self._leave(text[:end], self._too_long(text))
        return (yield from self._pieces(text[end:], final=False))

    def _leave(self, text: bytes, error: ParseError) -> None:
        """Set a record aside, at the line where it starts."""
        progress()
        if error.where is not None:
            error.where = type(error.where)(error.where.file, self.line, error.where.column)
        self.line += line_breaks(text)
        self.set_aside(text, error)


def _first_break(text: bytes, *, final: bool) -> int | None:
    """LF or CR, by the first line end of a text whose quotes mean nothing; None while it is not clear."""
    feed, carriage = text.find(b"\n"), text.find(b"\r")
    if carriage >= 0 and (feed < 0 or feed > carriage + 1):
        return _CR if carriage + 1 < len(text) or final else None
    return _LF if feed >= 0 else None
