"""JSON documents to Arrow: the records of one array, cut out of the document piece by piece and read like JSON lines.

The document is never held whole: memory is bounded by its largest record (64 MiB), whatever stands around them.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Final

from lakecat.errors import ParseError, Where
from lakecat_connectors._faults import excerpt
from lakecat_connectors._jsonl import lines
from lakecat_connectors._jsonl_fast import FastJsonLinesReader

_MAX_VALUE: Final = 64 << 20
_OPEN_NUMBER: Final = re.compile(r"[-+.eE0-9]*")
_BLANKS: Final = " \t\r\n"
# Only finds where values end; each record's text is read again by the strict parser of JSON lines.
_SCANNER: Final = json.JSONDecoder(strict=False)

Piece = tuple[int, bytes]


class JsonReader(FastJsonLinesReader):
    """Reads one slice of JSON documents; a file with one object on each line is read as JSON lines."""

    def _pieces(self, chunks: Iterator[bytes], shown: str) -> Iterator[Piece]:
        first = next(chunks, b"")
        whole = chain((first,), chunks)
        records = self._job.options.records
        if not first.strip() or (records is None and _is_lines(first)):
            yield from lines(whole, shown)
            return
        document = _Document(whole, shown)
        yield 1, b""  # an array without elements is no empty file
        pieces = document.records(() if records is None else tuple(records.split(".")))
        if not self._job.rejects.allowed:
            yield from pieces
            return
        # Lines that are set aside are told apart by their numbers, and many records may stand on one.
        for number, (_, text) in enumerate(pieces, start=1):
            yield number, text


def _is_lines(first: bytes) -> bool:
    """Whether the first line is an object of its own, or a broken one: not the beginning of a longer document."""
    line = first.lstrip().partition(b"\n")[0].rstrip()
    if line.startswith(b"["):
        return False
    try:
        text = line.decode()
        _SCANNER.decode(text)
    except json.JSONDecodeError as err:
        return err.pos < len(text) and not err.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        return True
    return True


class _Document:
    """A JSON text read forwards. Raises ParseError at the line where it is none."""

    def __init__(self, chunks: Iterator[bytes], shown: str) -> None:
        self._chunks = chunks
        self._shown = shown
        self._decode = codecs.getincrementaldecoder("utf-8")("strict")
        self._text = ""
        self._at = 0
        self._line = 1
        self._counted = 0
        self._ended = False

    def records(self, path: tuple[str, ...]) -> Iterator[Piece]:
        """The text of every record at the path, with the line on which it starts; then the rest must be sound."""
        yield from self._follow(path, ())
        if self._peek():
            raise self._error(
                "goes on after the end of its JSON document", "say format: jsonl when each line is an object"
            )

    def _follow(self, path: tuple[str, ...], done: tuple[str, ...]) -> Iterator[Piece]:
        if not path:
            yield from self._elements(".".join(done))
            return
        if self._peek() != "{":
            raise self._error(f"is no object at {'.'.join(done) or 'its top'}", "mend records: in the job")
        found = False
        for key in self._keys():
            if key != path[0]:
                self._value()
                continue
            if found:
                raise self._error(f"the key {excerpt(key)} appears twice in one object")
            found = True
            yield from self._follow(path[1:], (*done, key))
        if not found:
            raise self._error(f"holds nothing at {'.'.join((*done, path[0]))}", "mend records: in the job")

    def _keys(self) -> Iterator[str]:
        """Each key of an object; the caller takes its value before it asks for the next."""
        self._take("{")
        if self._peek() == "}":
            self._take("}")
            return
        while True:
            if self._peek() != '"':
                raise self._error("a key is expected here")
            start, end = self._value()
            key: str = _SCANNER.decode(self._text[start:end])
            self._take(":")
            yield key
            if self._peek() == "}":
                break
            self._take(",")
        self._take("}")

    def _elements(self, place: str) -> Iterator[Piece]:
        first = self._peek()
        if first == "[":
            yield from self._items()
            return
        start, end = self._value()
        text = self._text[start:end]
        if first == "n" and text == "null" and place:
            return
        if first != "{":
            raise self._error(f"holds neither an array nor an object{' at ' + place if place else ''}")
        yield self._here(start), text.encode()

    def _items(self) -> Iterator[Piece]:
        self._take("[")
        if self._peek() == "]":
            self._take("]")
            return
        while True:
            start, end = self._value()
            yield self._here(start), self._text[start:end].encode(errors="surrogatepass")
            if self._peek() == "]":
                break
            self._take(",")
        self._take("]")

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise self._error(f"{wanted!r} is expected here")
        self._at += 1

    def _peek(self) -> str:
        """The next character that is no blank; empty at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANKS:
                at += 1
            self._at = at
            if at < len(text):
                return text[at]
            if self._ended:
                return ""
            self._more(1)

    def _value(self) -> tuple[int, int]:
        """Where the next value starts and ends in the text; more of the file is read until it is whole."""
        first = self._peek()
        if not first:
            raise self._error("ends in the middle of its JSON document", "get the file again: it is cut off")
        while True:
            try:
                _, end = _SCANNER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as err:
                if self._ended:
                    self._at = min(err.pos, len(self._text))
                    raise self._error(f"is not JSON: {err.msg}") from None
            except RecursionError:
                raise self._error("is nested deeper than 64") from None
            except ValueError:
                raise self._error("a number has too many digits") from None
            else:
                # A number may go on in what was not read yet: 0 and 0. are the beginning of 0.5.
                if self._ended or first in '{["' or not _OPEN_NUMBER.fullmatch(self._text, end):
                    start, self._at = self._at, end
                    return start, end
            pending = len(self._text) - self._at
            if pending > _MAX_VALUE:
                raise self._error(f"a record is longer than {_MAX_VALUE >> 20} MiB, or not JSON")
            self._more(max(pending, 1))

    def _more(self, least: int) -> None:
        """Read on, and forget what is done."""
        self._here(self._at)
        pieces = [self._text[self._at :]]
        got = 0
        while got < least and not self._ended:
            chunk = next(self._chunks, None)
            self._ended = chunk is None
            try:
                piece = self._decode.decode(chunk or b"", final=self._ended)
            except UnicodeDecodeError as err:
                raise self._error(
                    f"bytes {err.object[err.start : err.end].hex(' ')} are not UTF-8 text",
                    "say the file's encoding, e.g. encoding: latin-1",
                ) from None
            pieces.append(piece)
            got += len(piece)
        self._text, self._at, self._counted = "".join(pieces), 0, 0

    def _here(self, at: int) -> int:
        """The line of a place in the text, which never goes back."""
        self._line += self._text.count("\n", self._counted, at)
        self._counted = max(self._counted, at)
        return self._line

    def _error(self, what: str, hint: str | None = None) -> ParseError:
        return ParseError(what, where=Where(self._shown, self._here(self._at)), hint=hint)
