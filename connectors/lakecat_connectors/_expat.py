"""XML read forwards by expat: no document type, so no entities; nothing fetched; depth and text bounded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from xml.parsers import expat

from lakecat.errors import ParseError, Where

MAX_DEPTH: Final = 64
_PIECE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Element:
    """A start tag: the name without its prefix, the namespace where it was asked for, and the attributes."""

    name: str
    space: str
    attributes: Mapping[str, str]


class Handler:
    """What a reader of XML is told; ``line`` is where the parser stands."""

    line: int = 1

    def start(self, element: Element) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, data: str) -> None:
        """Text, perhaps a piece of it only."""


def parse_xml(
    chunks: Iterator[bytes], handler: Handler, where: Where, *, encoding: str | None, namespaces: bool = False
) -> Iterator[None]:
    """Drive the handler; yields after every piece. Raises ParseError with the line.

    ``encoding`` None: the one that the document declares, else UTF-8 (XML 1.0, appendix F).
    """
    parser = expat.ParserCreate(encoding, " " if namespaces else None)
    parser.buffer_text = True
    _connect(parser, handler, where, namespaces=namespaces)
    try:
        for chunk in chunks:
            for at in range(0, len(chunk), _PIECE):
                parser.Parse(chunk[at : at + _PIECE], False)
                yield
        parser.Parse(b"", True)
    except expat.ExpatError as err:
        hint = "get the file again: it may be cut off" if err.code == 3 else None
        raise ParseError(
            f"is not well-formed XML: {expat.ErrorString(err.code)}", where=Where(where.file, err.lineno), hint=hint
        ) from None
    except (ValueError, LookupError) as err:  # an encoding that Python has not, or one of several bytes
        raise ParseError(f"cannot be decoded ({str(err)[:80]})", where=where, hint="say the encoding:") from err
    yield


def _connect(parser: Any, handler: Handler, where: Where, *, namespaces: bool) -> None:
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        handler.line = parser.CurrentLineNumber
        if depth > MAX_DEPTH:
            raise ParseError(f"is nested deeper than {MAX_DEPTH}", where=Where(where.file, handler.line))
        space, _, name = tag.rpartition(" " if namespaces else ":")
        handler.start(Element(name, space, attributes))

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        handler.end(tag.rpartition(" " if namespaces else ":")[2])

    def refuse(*_: object) -> None:
        raise ParseError(
            "declares a document type (DTD)",
            where=Where(where.file, parser.CurrentLineNumber),
            hint="entities are not expanded: have the file written without <!DOCTYPE ...>",
        )

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = handler.text
    parser.StartDoctypeDeclHandler = refuse
