"""A filter's text cut into words: names, literals and signs, each with its place.

Literals and names are taken out here, so that the parser sees placeholders only: what a user wrote never reaches a
parser or a statement as text. Strings, escapes and quoted names are those of GoogleSQL, as in ML Metadata's filters;
a doubled quote stands for itself, too.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, NoReturn, TypeAlias

from lakecat.errors import FilterError, Where

MAX_LENGTH: Final = 100_000
"""Characters of a filter."""
MAX_DEPTH: Final = 30
"""Parentheses and NOTs within one another."""
MAX_LITERALS: Final = 10_000
"""Numbers and strings in one filter: SQLite binds at most 32,766 values."""

NUL_STAND_IN: Final = "\ufffd"
"""What the catalog keeps in place of a NUL in text (see its codec)."""
_SHOWN: Final = 40

LiteralKind: TypeAlias = Literal["int", "double", "huge", "string"]
"""``int`` fits into 64 bits, ``huge`` is an integer that does not, ``double`` has a fraction or an exponent."""

_KEYWORDS: Final = frozenset(
    {"AND", "OR", "NOT", "IN", "LIKE", "ESCAPE", "BETWEEN", "IS", "NULL", "TRUE", "FALSE", "EXISTS"}
)
_TOKEN: Final = re.compile(
    r"""(?P<space>(?:\s+|--[^\n]*|\#[^\n]*|/\*.*?\*/)+)
    |(?P<path>(?:[^\W\d]\w*|`(?:[^`\\]|\\.)*`)(?:\.(?:\w+|`(?:[^`\\]|\\.)*`))*)
    |(?P<string>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    |(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.]))
    |(?P<sign><=|>=|<>|!=|[=<>(),+-])""",
    re.VERBOSE | re.DOTALL,
)
_PART: Final = re.compile(r"`((?:[^`\\]|\\.)*)`|(\w+)", re.DOTALL)
_ESCAPE: Final = re.compile(
    r"\\(?:(?P<plain>[abfnrtv\\?\"'`])|[xX](?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})"
    r"|U(?P<long>[0-9a-fA-F]{8})|(?P<octal>[0-3][0-7]{2})|(?P<wrong>.))",
    re.DOTALL,
)
_PLAIN: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_LETTER: Final = {"int": "i", "double": "d", "huge": "h", "string": "s"}


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted name. ``word``: it is one bare word, such as an enum's name."""

    parts: tuple[str, ...]
    offset: int
    word: bool


@dataclass(frozen=True, slots=True)
class Value:
    """A literal of the text; a number as it was written, with its sign."""

    kind: LiteralKind
    text: str
    offset: int

    @property
    def value(self) -> int | float | str:
        """What is bound in its place: of text what the catalog keeps of such a one."""
        if self.kind == "string":
            return self.text.replace("\0", NUL_STAND_IN)
        return int(self.text) if self.kind == "int" else float(self.text)

    @property
    def exact(self) -> Decimal | str:
        """The text, or the number as it is written; one that is nearer to 0 than a Decimal can be is 0."""
        if self.kind == "string":
            return self.text
        try:
            return Decimal(self.text)
        except InvalidOperation:
            return Decimal(0)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A filter in words. ``skeleton`` holds ``_p0`` for the first name and ``@i0`` for the first literal, an integer.

    Texts with the same ``shape`` differ in the values of their literals alone.
    """

    text: str
    skeleton: str
    shape: str
    paths: tuple[Path, ...]
    values: tuple[Value, ...]
    places: tuple[tuple[int, int], ...]
    """Where each word begins, in the skeleton and in the text."""

    def origin(self, column: int) -> int:
        """The offset in the text of what stands at an offset of the skeleton."""
        return next((mine for theirs, mine in reversed(self.places) if theirs <= column), 0)


def fail(text: str, offset: int, what: str, hint: str | None = None) -> NoReturn:
    """Raise FilterError for what stands at an offset of the text."""
    line = text.count("\n", 0, offset) + 1
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    raise FilterError(
        f"filter: {what}", field="filter_query", value=shown, where=Where("filter_query", line, column), hint=hint
    )


def tokenize(text: str) -> Tokens:
    """Cut a filter into words. Raises FilterError."""
    if len(text) > MAX_LENGTH:
        fail(text, 0, f"it has {len(text):,} characters; at most {MAX_LENGTH:,} are read")
    return _Lexer(text).run()


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words: list[str] = []
        self._shape: list[str] = []
        self._places: list[tuple[int, int]] = []
        self._paths: list[Path] = []
        self._values: list[Value] = []
        self._length = 0
        self._open: list[tuple[int, int]] = []
        """Parentheses that are not closed yet: how deep each leads, and where it stands."""
        self._depth = 0
        self._nots = 0
        self._plus_minus = ""
        self._plus_minus_at = 0

    def run(self) -> Tokens:
        text, offset = self._text, 0
        while offset < len(text):
            match = _TOKEN.match(text, offset)
            if match is None:
                self._refuse(offset)
            self._take(match.lastgroup or "", match.group(), offset)
            offset = match.end()
        if self._plus_minus:
            self._no_arithmetic(len(text) - 1)
        if self._open:
            fail(text, self._open[-1][1], "this parenthesis is never closed")
        if not self._words:
            fail(text, 0, "it is empty", "leave it out to get everything")
        return Tokens(
            text, " ".join(self._words), " ".join(self._shape), tuple(self._paths), tuple(self._values),
            tuple(self._places),
        )  # fmt: skip

    def _take(self, kind: str, word: str, offset: int) -> None:
        if kind == "space":
            return
        if self._plus_minus and kind != "number":
            self._no_arithmetic(offset)
        if kind == "path":
            self._path(word, offset)
        elif kind == "string":
            self._literal("string", _unquote(self._text, offset + 1, word[1:-1], word[0]), offset)
        elif kind == "number":
            self._number(self._plus_minus + word, self._plus_minus_at if self._plus_minus else offset)
            self._plus_minus = ""
        elif word not in "+-":
            self._sign(word, offset)
        elif self._begins_value():
            self._plus_minus, self._plus_minus_at = word, offset
        else:
            self._no_arithmetic(offset)

    def _add(self, word: str, shape: str, offset: int) -> None:
        self._places.append((self._length, offset))
        self._words.append(word)
        self._shape.append(shape)
        self._length += len(word) + 1

    def _path(self, word: str, offset: int) -> None:
        upper = word.upper()
        if upper in _KEYWORDS:
            self._nots = self._nots + 1 if upper == "NOT" else 0
            self._check_depth(offset)
            self._add(upper, upper, offset)
            return
        self._nots = 0
        parts = tuple(plain or _unquote(self._text, offset, quoted or "", "`") for quoted, plain in _PART.findall(word))
        if any("\0" in part or not _is_unicode(part) for part in parts):
            fail(self._text, offset, "no name holds a NUL or half a surrogate pair")
        self._add(f"_p{len(self._paths)}", word, offset)
        self._paths.append(Path(parts, offset, word=len(parts) == 1 and "`" not in word))

    def _number(self, word: str, offset: int) -> None:
        kind: LiteralKind = "double"
        if word.lstrip("+-").isdigit():
            digits = word.lstrip("+-0")
            # int() of very long texts is refused by Python, and slow.
            small = len(digits) <= 19 and -(2**63) <= int(word) < 2**63
            kind = "int" if small else "huge"
        if math.isinf(float(word)):
            shown = word if len(word) <= _SHOWN else f"{word[:_SHOWN]}…"
            fail(self._text, offset, f"{shown} is beyond what a double holds", "the largest is 1.7976931348623157e308")
        self._literal(kind, word, offset)

    def _literal(self, kind: LiteralKind, value: str, offset: int) -> None:
        if len(self._values) == MAX_LITERALS:
            fail(self._text, offset, f"it holds more than {MAX_LITERALS:,} numbers and strings")
        if not _is_unicode(value):
            fail(self._text, offset, "a string holds half a surrogate pair, which is no text")
        self._nots = 0
        letter = _LETTER[kind]
        self._add(f"@{letter}{len(self._values)}", f"@{letter}", offset)
        self._values.append(Value(kind, value, offset))

    def _sign(self, word: str, offset: int) -> None:
        if word == "(":
            self._refuse_function()
            self._open.append((self._nots + 1, offset))
            self._depth += self._nots + 1
        elif word == ")":
            if not self._open:
                fail(self._text, offset, "this parenthesis closes nothing")
            self._depth -= self._open.pop()[0]
        self._nots = 0
        self._check_depth(offset)
        self._add(word, word, offset)

    def _refuse_function(self) -> None:
        """Refuse a name before a parenthesis. Raises FilterError."""
        if self._words and self._words[-1].startswith("_p"):
            path = self._paths[-1]
            what = f"there is no function {'.'.join(path.parts)}"
            fail(self._text, path.offset, what, "compare the value as it is; for a list: name IN ('a', 'b')")

    def _check_depth(self, offset: int) -> None:
        if self._depth + self._nots > MAX_DEPTH:
            fail(self._text, offset, f"parentheses and NOTs lie more than {MAX_DEPTH} deep in one another")

    def _begins_value(self) -> bool:
        """Whether a sign here belongs to a number, because no value stands before it."""
        last = self._words[-1] if self._words else "("
        return not (last[0] in "@_)" or last in ("NULL", "TRUE", "FALSE"))

    def _no_arithmetic(self, offset: int) -> NoReturn:
        fail(self._text, offset, "filters do not calculate", "calculate the number first, and write it down")

    def _refuse(self, offset: int) -> NoReturn:
        found = self._text[offset]
        if found in "'\"`":
            fail(self._text, offset, f"what begins with {found} here never ends", f"close it with {found}")
        if found.isdigit() or found == ".":
            fail(self._text, offset, "this is no number and no name", "quote names with backquotes: properties.`0:a`")
        fail(self._text, offset, f"{found!r} means nothing here")


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= one <= "\udfff" for one in text)


def _unquote(text: str, offset: int, body: str, quote: str) -> str:
    """The content of a string or quoted name that begins at an offset."""

    def one(match: re.Match[str]) -> str:
        if match["wrong"] is not None:
            fail(text, offset + match.start(), f"{match.group()!r} is no escape", r"write \\ for a backslash")
        if match["plain"] is not None:
            return _PLAIN.get(match["plain"], match["plain"])
        digits = match["x"] or match["u"] or match["long"]
        number = int(digits, 16) if digits else int(match["octal"], 8)
        if number > 0x10FFFF:
            fail(text, offset + match.start(), f"{match.group()!r} is no character")
        return chr(number)

    if quote in body:  # doubled, or escaped; escapes hold no quote that is doubled
        pieces = re.split(r"(\\.)", body, flags=re.DOTALL)
        body = "".join(p if p.startswith("\\") and len(p) == 2 else p.replace(quote * 2, quote) for p in pieces)
    return _ESCAPE.sub(one, body) if "\\" in body else body
