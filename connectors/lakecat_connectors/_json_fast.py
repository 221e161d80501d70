"""JSON lines by pyarrow's parser, for as long as nothing in them could be read otherwise than exactly.

Each block of lines is looked over first: numbers that a double may not hold, large exponents, deep nesting, bytes
that are no text, lines that are no single object. Whatever is in doubt is left to the exact reader. What pyarrow
refuses itself (keys that come twice, lone surrogates, broken syntax) needs no look.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json as pajson

from lakecat.connector.columns import fold
from lakecat.connector.shapes import MAX_FIELDS
from lakecat_connectors._typed import leaf_count

MAX_DEPTH: Final = 64
_LONG_LINE: Final = 512
_STEPS: Final = np.array([(chr(c) in "[{") - (chr(c) in "]}") for c in range(256)], dtype=np.int8)
_MAX_LINE: Final = 32 << 20
# Fractions that a double may not hold; what pyarrow takes for a number and JSON does not; a whole -0, which pyarrow
# reads as -0.0 among fractions. One pass of an automaton: texts that look the same only cost time.
_LONG_FRACTION: Final = "|".join(
    (*(f"[0-9]{{{n}}}[.eE][0-9.eE+\\-]{{{15 - n},}}" for n in range(1, 16)), "[0-9]{16,}[.eE]")
)
_DOUBTFUL: Final = rf"[:,\[]\s*(?:-?(?:{_LONG_FRACTION}|[0-9.]+[eE][-+]?[0-9]{{3,}})|[-+]?[NnIi][aAnN]|-0\s*[,}}\]])"
_LONG_WHOLE: Final = r"[:,\[]\s*-?[0-9]{16,}\s*[,}\]]"
_EXACT: Final = 2**53
_CONTROL: Final = re.compile(r"[\x00-\x1f]")


class DoubtError(Exception):
    """The lines are not to be read this way."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of a file, the first of them with its number."""

    data: bytes
    line: int
    feeds: npt.NDArray[np.int64]
    """Where the line feeds are."""

    @property
    def count(self) -> int:
        """How many lines there are."""
        return len(self.feeds)

    @property
    def end(self) -> int:
        """The line after the last one."""
        return self.line + self.count


def blocks(chunks: Iterator[bytes], size: int = 0) -> Iterator[Lines]:
    """The text in blocks of whole lines, all but the first and the last of at least so many bytes.

    Raises DoubtError for a very long line.
    """
    parts: list[bytes | memoryview] = []
    held = pending = least = 0
    line = 1
    for chunk in chunks:
        end = chunk.rfind(b"\n") + 1
        pending = len(chunk) - end + (0 if end else pending)
        if pending > _MAX_LINE:
            raise DoubtError
        if not end or held + end < least:
            parts.append(chunk)
            held += len(chunk)
            continue
        block = _lines(b"".join((*parts, memoryview(chunk)[:end])), line)
        yield block
        parts, held, least, line = [chunk[end:]], pending, size, block.end
    if held:
        data = b"".join(parts)
        yield _lines(data if data.endswith(b"\n") else data + b"\n", line)


def _lines(data: bytes, line: int) -> Lines:
    return Lines(data, line, np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == 10))


def look_over(block: Lines) -> None:
    """Raises DoubtError for a block that pyarrow might read otherwise than exactly, or that is in error."""
    data = block.data
    view = np.frombuffer(data, dtype=np.uint8)
    ends = block.feeds
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1] + 1))
    last = ends - 1 - (view[np.maximum(ends - 1, 0)] == 13)
    if (last < starts).any() or (view[starts] != 123).any() or (view[last] != 125).any():
        raise DoubtError
    _refuse_deep(view, starts, ends)
    if not is_text(data) or matches(data, _DOUBTFUL):
        raise DoubtError


def is_text(data: bytes) -> bool:
    """Whether the bytes are UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def matches(data: bytes, pattern: str) -> bool:
    """Whether the expression, in RE2's syntax and over bytes, matches anywhere."""
    ends = np.array([0, len(data)], dtype=np.int64)
    whole = pa.Array.from_buffers(pa.large_binary(), 1, [None, pa.py_buffer(ends.data), pa.py_buffer(data)])
    return bool(pc.match_substring_regex(whole, pattern)[0].as_py())


def _refuse_deep(view: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> None:
    """Raises DoubtError for a line that is nested too deep, brackets in texts counted too."""
    if not (ends - starts > _LONG_LINE).any():
        return
    opening = np.flatnonzero((view == 91) | (view == 123))
    many = np.diff(np.searchsorted(opening, starts), append=len(opening)) > MAX_DEPTH
    for start, end in zip(starts[many], ends[many], strict=True):
        if np.cumsum(_STEPS[view[start:end]], dtype=np.int32).max() > MAX_DEPTH:
            raise DoubtError


def parse(block: Lines, known: pa.Schema | None, *, strict: bool = False) -> pa.Table:
    """The rows. ``known``: types that are not to be guessed; ``strict``: and there are no other fields.

    Raises DoubtError.
    """
    options = pajson.ParseOptions(
        explicit_schema=known,
        unexpected_field_behavior="error" if strict else "infer",
    )
    read = pajson.ReadOptions(use_threads=False, block_size=len(block.data) + 1)
    try:
        table = pajson.read_json(pa.BufferReader(block.data), read_options=read, parse_options=options)
    except (pa.ArrowException, OverflowError) as err:
        raise DoubtError from err
    if table.num_rows != block.count:
        raise DoubtError
    return table


def observed(block: Lines, natural: pa.Schema | None, large: set[str] | None = None) -> tuple[pa.Schema, pa.Table]:
    """The schema of all blocks so far, and this block's rows. Raises DoubtError.

    ``large`` holds the places of integers that a double may not hold, and gets those of this block; all other integers
    may become doubles in later blocks. None: no integers may.
    """
    known = None if natural is None else _explicit(natural)
    try:
        table = parse(block, known)
    except DoubtError:
        if known is None:
            raise
        table = parse(block, None)  # a number that was whole until now
    found = pa.struct([pa.field(field.name, as_text(field.type)) for field in table.schema])
    if _has_moments(table.schema):  # texts that look like times stay texts
        table = parse(block, _explicit(pa.schema(list(found))))
        if _has_moments(table.schema):
            raise DoubtError
    # The order is that of the first appearance: pyarrow puts fields that it was told of first.
    check(pa.schema(list(found)))
    if natural is not None:
        _refuse_spellings(pa.struct(list(natural)), found)
    if any(_reaches(values, pa.float64()) for _, values in _scalars(table)) and matches(block.data, _LONG_WHOLE):
        raise DoubtError  # an integer among fractions that lost digits
    if large is not None:
        large |= large_places(table)
    both = found if natural is None else _united(pa.struct(list(natural)), found, large)
    if both is None:
        raise DoubtError
    return pa.schema(list(both)), table


def large_places(table: pa.Table) -> set[str]:
    """Where integers are that a double may not hold."""
    return {place for place, values in _scalars(table) if _reaches(values, pa.int64())}


def _reaches(values: pa.Array, kind: pa.DataType) -> bool:
    if values.type != kind or values.null_count == len(values):
        return False
    bounds = pc.min_max(values)
    return bool(max(-bounds["min"].as_py(), bounds["max"].as_py()) >= _EXACT)


def _scalars(table: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    """All values that are neither structs nor lists, with their place."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            yield from _inner(f".{name}", chunk)


def _inner(place: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    if pa.types.is_struct(values.type):
        for part, inner in zip(values.type, values.flatten(), strict=True):
            yield from _inner(f"{place}.{part.name}", inner)
    elif pa.types.is_list(values.type):
        yield from _inner(f"{place}[]", values.flatten())
    else:
        yield place, values


def _united(one: pa.DataType, other: pa.DataType, large: Collection[str] | None, place: str = "") -> pa.DataType | None:
    """The type that holds both; None where there is none."""
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if pa.types.is_list(one) and pa.types.is_list(other):
        item = _united(one.value_type, other.value_type, large, f"{place}[]")
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        parts = {part.name: part.type for part in one}
        for part in other:
            both = _united(parts.get(part.name, pa.null()), part.type, large, f"{place}.{part.name}")
            if both is None:
                return None
            parts[part.name] = both
        return pa.struct(list(parts.items()))
    alike = large is not None and place not in large and {one, other} == {pa.int64(), pa.float64()}
    return pa.float64() if alike else None


def _refuse_spellings(one: pa.DataType, other: pa.DataType) -> None:
    """Raises DoubtError for a field that two blocks spell in different ways: they are one column."""
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        own = {fold(part.name): part for part in one}
        for part in other:
            same = own.get(fold(part.name), part)
            if same.name != part.name:
                raise DoubtError
            _refuse_spellings(same.type, part.type)
    elif pa.types.is_list(one) and pa.types.is_list(other):
        _refuse_spellings(one.value_type, other.value_type)


def check(schema: pa.Schema) -> None:
    """Raises DoubtError for names and types that the exact reader has to judge."""
    if sum(leaf_count(field.type) for field in schema) > MAX_FIELDS // 2:
        raise DoubtError
    _check(pa.struct(list(schema)), 0)


def _check(kind: pa.DataType, depth: int) -> None:
    if depth > MAX_DEPTH // 2:
        raise DoubtError
    if pa.types.is_list(kind):
        _check(kind.value_type, depth + 1)
    elif pa.types.is_struct(kind):
        names = [part.name for part in kind]
        if not names or len(set(map(fold, names))) != len(names):
            raise DoubtError
        if any(not name.strip() or _CONTROL.search(name) for name in names):
            raise DoubtError
        for part in kind:
            _check(part.type, depth + 1)
    elif kind not in (pa.null(), pa.bool_(), pa.int64(), pa.float64(), pa.string()):
        raise DoubtError


def as_text(kind: pa.DataType) -> pa.DataType:
    """The type with text where pyarrow saw times."""
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(part.name, as_text(part.type)) for part in kind])
    return pa.list_(as_text(kind.value_type)) if pa.types.is_list(kind) else kind


def _has_moments(schema: pa.Schema) -> bool:
    return any(as_text(field.type) != field.type for field in schema)


def _explicit(schema: pa.Schema) -> pa.Schema:
    """Without what was NULL until now, whose type is still open."""
    fields = ((field.name, _settled(field.type)) for field in schema)
    return pa.schema([pa.field(name, kind) for name, kind in fields if kind is not None])


def _settled(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_null(kind):
        return None
    if pa.types.is_list(kind):
        item = _settled(kind.value_type)
        return None if item is None else pa.list_(item)
    if pa.types.is_struct(kind):
        parts = [(part.name, _settled(part.type)) for part in kind]
        settled = [pa.field(name, part) for name, part in parts if part is not None]
        return pa.struct(settled) if settled else None
    return kind
