"""Answers as JSON, strictly, but row by row: what is wrong in one row is marked there and leaves the others readable.

A key that comes twice, a number that is none (NaN) or that no column holds, a lone surrogate, nesting without end: each
becomes a :class:`Flaw` in the place of the value. A row that holds one is no row; a flaw outside rows fails the answer.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import numpy as np

from lakecat.connector.columns import fold
from lakecat.connector.shapes import number
from lakecat.errors import ParseError, Where
from lakecat_connectors._faults import excerpt

MAX_DEPTH: Final = 64
_ABYSS: Final = 256
_MAX_DIGITS: Final = 60
_MAX_NUMBER: Final = 400
_SHOWN_ROW: Final = 65_536
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_STEPS: Final = np.array([(chr(c) in "[{") - (chr(c) in "]}") for c in range(256)], dtype=np.int8)
_PLAIN: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ORDERED: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)


@dataclass(frozen=True, slots=True)
class Flaw:
    """A value that cannot be. ``parts``: the object's keys and values, where a key came twice."""

    reason: str
    text: str = ""
    parts: Sequence[tuple[str, Any]] = ()


@dataclass(slots=True)
class _Marks:
    """The hooks of one decoder, counting what they mark."""

    count: int = 0
    first: str = ""

    def mark(self, reason: str, text: str = "", parts: Sequence[tuple[str, Any]] = ()) -> Flaw:
        self.count += 1
        self.first = self.first or reason
        return Flaw(reason, text, parts)

    def pairs(self, pairs: list[tuple[str, Any]]) -> Any:
        result = dict(pairs)
        if len(result) == len(pairs):
            return result
        names = Counter(name for name, _ in pairs)
        twice = next(name for name, times in names.items() if times > 1)
        return self.mark(f"the key {excerpt(twice)} appears twice in one object", parts=pairs)

    def whole(self, text: str) -> Any:
        if len(text) <= _MAX_DIGITS:
            return int(text)
        return self.mark(f"a number with {len(text)} digits; no column holds more than 38", text)

    def fraction(self, text: str) -> Any:
        try:
            value = number(text) if len(text) <= _MAX_NUMBER else None
        except ValueError as err:
            return self.mark(str(err), text)
        if value is None:
            return self.mark(f"a number of {len(text)} characters; no column holds more than 38 digits", text)
        return value

    def constant(self, name: str) -> Any:
        return self.mark(f"{name} is no JSON number", name)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed answer. ``flaws``: how many values in it cannot be; ``flaw``: the first one's reason.

    ``plain``: nothing in it is a flaw, a lone surrogate or nested too deep.
    """

    value: Any
    flaws: int
    flaw: str
    plain: bool


def parse(body: bytes, where: Where, kind: str = "") -> Document:
    """An answer's body. ``kind``: its Content-Type, for the error. Raises ParseError."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = body[: err.start].count(b"\n") + 1
        shown = body[err.start : err.end].hex(" ")
        raise ParseError(
            f"bytes {shown} at offset {err.start} of the answer are not UTF-8 text",
            where=Where(where.file, line),
            hint="JSON is UTF-8 (RFC 8259); the API must mend this",
        ) from None
    try:
        value, marks = _decoded(text)
        depth = _seeming_depth(body)
        if depth > _ABYSS:
            _refuse_abyss(value)
    except RecursionError:
        raise ParseError(f"the answer is nested deeper than {_ABYSS}", where=where) from None
    except json.JSONDecodeError as err:
        what = "is an HTML or XML page" if text.lstrip()[:1] == "<" else "is not JSON" if text.strip() else "is empty"
        told = f" ({kind})" if kind and "json" not in kind else ""
        raise ParseError(
            f"the answer {what}{told}: {err.msg} at character {err.pos + 1}",
            where=where,
            hint="check the path; an answer that was cut off or is an error page looks like this",
        ) from None
    plain = not marks.count and depth <= MAX_DEPTH and b"\\ud" not in body and b"\\uD" not in body
    return Document(value, marks.count, marks.first, plain)


def _decoded(text: str) -> tuple[Any, _Marks]:
    """The value, and what is marked in it. Raises JSONDecodeError, RecursionError."""
    for whole in (int, None):
        marks = _Marks()
        decoder = json.JSONDecoder(
            object_pairs_hook=marks.pairs,
            parse_float=marks.fraction,
            parse_int=marks.whole if whole is None else whole,
            parse_constant=marks.constant,
        )
        try:
            return decoder.decode(text), marks
        except json.JSONDecodeError:
            raise
        except ValueError:  # more digits than int() takes: once more, looking at each number
            if whole is None:
                raise
    raise AssertionError("the second way marks what is wrong")


def _seeming_depth(body: bytes) -> int:
    """How deep the brackets go, those in texts counted too."""
    view = np.frombuffer(body, dtype=np.uint8)
    brackets = view[(view & 0xD9) == 0x59]  # [ ] { }, and few others
    return int(np.cumsum(_STEPS[brackets], dtype=np.int32).max(initial=0))


def _refuse_abyss(value: Any) -> None:
    """Raises RecursionError for what Python's own stack would not hold everywhere; looks at one level at a time."""
    level = [value]
    for _ in range(_ABYSS):
        level = [
            part
            for whole in level
            for part in (whole.values() if isinstance(whole, dict) else whole if isinstance(whole, list) else ())
            if isinstance(part, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def flaw_in(value: Any) -> tuple[str, Flaw] | None:
    """The path and the first flaw in a value, if there is one."""
    if isinstance(value, Flaw):
        return "", value
    parts: Any = ()
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = (("[]", part) for part in value)
    for name, part in parts:
        if isinstance(part, dict | list | Flaw) and (found := flaw_in(part)) is not None:
            return _beside(name, found[0]), found[1]
    return None


def count_flaws(value: Any) -> int:
    """How many flaws a value holds."""
    if isinstance(value, Flaw):
        return 1 + sum(count_flaws(part) for _, part in value.parts)
    if isinstance(value, dict):
        return sum(count_flaws(part) for part in value.values() if isinstance(part, dict | list | Flaw))
    if isinstance(value, list):
        return sum(count_flaws(part) for part in value if isinstance(part, dict | list | Flaw))
    return 0


def _beside(name: str, rest: str) -> str:
    if not rest or rest.startswith("["):
        return f"{name}{rest}"
    return f"{name}.{rest}"


def row_text(row: dict[str, Any], *, ordered: bool = False, plain: bool = False) -> str:
    """A row as one line of JSON, every number exactly; ``ordered``: with its keys in the order of the alphabet.

    ``plain``: as the document says that it is from. Raises ValueError for what no table can hold.
    """
    try:
        text = (_ORDERED if ordered else _PLAIN).encode(row)
    except TypeError:
        text = _exact(row, ordered=ordered)
    if plain:
        return text
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _refuse_deep(row, 1)
    if _SURROGATE.search(text):
        raise ValueError("holds a lone surrogate, which is no character")
    return text


def _exact(value: Any, *, ordered: bool) -> str:
    """As JSON, decimals as they were. Never expands an exponent: ``1E-999999999`` stays as short as it is."""
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, dict):
        pairs = sorted(value.items()) if ordered else value.items()
        parts = (f"{json.dumps(name, ensure_ascii=False)}:{_exact(part, ordered=ordered)}" for name, part in pairs)
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_exact(part, ordered=ordered) for part in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _refuse_deep(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    parts = value.values() if isinstance(value, dict) else value
    for part in parts:
        if isinstance(part, dict | list):
            _refuse_deep(part, depth + 1)


def shown_row(value: Any) -> str:
    """A flawed row for the quarantine, as near to its own text as can be; at most 64 Ki characters."""
    return _loose(value, 0)[:_SHOWN_ROW].encode("utf-8", "backslashreplace").decode()


def _loose(value: Any, depth: int) -> str:
    if depth > MAX_DEPTH + 1:
        return "…"
    if isinstance(value, Flaw) and not value.parts:
        return value.text
    if isinstance(value, dict | Flaw):
        pairs = value.parts if isinstance(value, Flaw) else value.items()
        parts = (f"{json.dumps(name, ensure_ascii=False)}:{_loose(part, depth + 1)}" for name, part in pairs)
        return "{" + ",".join(parts) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_loose(part, depth + 1) for part in value) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


_ROWS: Final = json.JSONDecoder(parse_float=number)


def row_of(text: str) -> dict[str, Any]:
    """A row that ``row_text`` wrote."""
    row: dict[str, Any] = _ROWS.decode(text)
    return row


def field_of(row: Mapping[str, Any], column: str) -> Any:
    """A column's value, whatever the case of the key; None where there is none."""
    if column in row:
        return row[column]
    folded = fold(column)
    return next((value for name, value in row.items() if fold(name) == folded), None)
