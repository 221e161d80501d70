"""SQLite's columns as Arrow's: the declared type says what a column should hold, each value says what it is.

SQLite stores what it is given ("Datatypes In SQLite", sections 2 and 3): a value that is not of its column's type is
a misfit here, never turned into something else. A column without a type has the one that its values have.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from lakecat.connector.fit import MisfitError, is_text_type
from lakecat_connectors._sql_convert import Conversion, Target, from_texts
from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import Column

_DIGITS: Final = 38
_EXACT: Final = re.compile(
    r"(?:DEC|DECIMAL|NUMERIC|NUMBER|MONEY)\s*(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?", re.IGNORECASE
)
_AFFINITIES: Final = (
    (("INT",), "INTEGER"),
    (("CHAR", "CLOB", "TEXT"), "TEXT"),
    (("BLOB",), "BLOB"),
    (("REAL", "FLOA", "DOUB"), "REAL"),
)
"""In this order (section 3.1); everything else is NUMERIC."""

_BY_VALUES: Final = ("", "ANY")
_BY_VALUES_IN_VIEWS: Final = (*_BY_VALUES, "NUM")


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteColumn(Column):
    """A column and how its values convert; ``numbers``: its texts that look like numbers are stored as such."""

    convert: Conversion
    numbers: bool = False


def is_by_values(declared: str, *, in_view: bool) -> bool:
    """Whether only the values say what the column holds."""
    return declared.upper() in (_BY_VALUES_IN_VIEWS if in_view else _BY_VALUES)


def declared_column(name: str, declared: str, policy: StreamOptions, *, nullable: bool) -> LiteColumn:
    """The column of a declared type."""
    type_, convert, numbers = _reading(declared.upper(), policy)
    return LiteColumn(name=name, type=type_, native=declared, nullable=nullable, convert=convert, numbers=numbers)


def column_by_values(name: str, kinds: frozenset[str], *, nullable: bool) -> LiteColumn:
    """The column whose values have these kinds, as ``typeof`` calls them."""
    held = kinds - {"null"}
    type_, convert = pa.string(), to_text
    if held == {"integer"}:
        type_, convert = pa.int64(), to_integer
    elif held and held <= {"integer", "real"}:
        type_, convert = pa.float64(), to_double
    elif held == {"blob"}:
        type_, convert = pa.binary(), to_bytes
    native = f"of no declared type, with {' and '.join(sorted(held))} in it" if held else "of no declared type"
    return LiteColumn(name=name, type=type_, native=native, nullable=nullable, convert=convert)


def _reading(declared: str, policy: StreamOptions) -> tuple[pa.DataType, Conversion, bool]:
    affinity = next((name for parts, name in _AFFINITIES if any(part in declared for part in parts)), "NUMERIC")
    if affinity == "INTEGER":
        return pa.int64(), to_integer, False
    if affinity == "TEXT":
        return pa.string(), to_text, False
    if affinity == "BLOB":
        return pa.binary(), to_bytes, False
    if affinity == "REAL":
        return pa.float64(), to_double, False
    if "BOOL" in declared:
        return pa.bool_(), to_boolean, False
    if (match := _EXACT.fullmatch(declared.strip())) is not None:
        scale = policy.numeric_scale
        if match[1] is not None and 0 < int(match[1]) <= _DIGITS and int(match[2] or 0) <= int(match[1]):
            type_ = pa.decimal128(int(match[1]), int(match[2] or 0))
            return type_, to_decimal(type_), False
        if scale is not None:
            type_ = pa.decimal128(_DIGITS, scale)
            return type_, to_decimal(type_), False
    return pa.string(), to_any_text, True


def to_integer(cells: Sequence[Any]) -> pa.Array:
    """Integers; nothing else."""
    _only(cells, int)
    return pa.array(cells, pa.int64())


def to_double(cells: Sequence[Any]) -> pa.Array:
    """Doubles, and integers that a double holds exactly."""
    _only(cells, float, int)
    return pa.array(cells, pa.float64())


def to_text(cells: Sequence[Any]) -> pa.Array:
    """Texts; nothing else."""
    _only(cells, str)
    return pa.array(cells, pa.string())


def to_any_text(cells: Sequence[Any]) -> pa.Array:
    """Texts, and numbers as their shortest exact text."""
    kinds = _only(cells, str, int, float)
    return pa.array(cells if kinds <= {str} else _texts(cells), pa.string())


def to_bytes(cells: Sequence[Any]) -> pa.Array:
    """Bytes; nothing else."""
    _only(cells, bytes)
    return pa.array(cells, pa.binary())


def to_boolean(cells: Sequence[Any]) -> pa.Array:
    """0 and 1; nothing else."""
    _only(cells, int)
    if not set(cells) <= {0, 1, None}:
        raise MisfitError
    return pa.array([None if cell is None else cell == 1 for cell in cells], pa.bool_())


def to_decimal(type_: pa.DataType) -> Conversion:
    """Integers, and doubles by their shortest text, if that has no more digits than the type."""

    def convert(cells: Sequence[Any]) -> pa.Array:
        _only(cells, int, float)
        values = [Decimal(repr(cell)) if isinstance(cell, float) else cell for cell in cells]
        return pa.array([Decimal(value) if isinstance(value, int) else value for value in values], type_)

    return convert


def target_of(column: LiteColumn, declared: pa.DataType | None) -> Target:
    """How a column leaves: as its own type, or as the job declares it."""
    if declared is None or (declared == column.type and not pa.types.is_string(declared)):
        return Target(column.name, column.type, column.native, column.convert)
    if pa.types.is_binary(declared) or pa.types.is_large_binary(declared):
        return Target(column.name, declared, column.native, lambda cells: to_bytes(cells).cast(declared))
    if is_text_type(declared):
        fit = from_texts(declared)
        return Target(column.name, declared, column.native, lambda cells: fit(to_any_text(cells)))
    return Target(column.name, declared, column.native, lambda cells: column.convert(cells).cast(declared))


def _only(cells: Sequence[Any], *kinds: type) -> set[type]:
    found = set(map(type, cells)) - {type(None)}
    if not found <= set(kinds):
        raise MisfitError
    return found


def _texts(cells: Sequence[Any]) -> list[str | None]:
    return [cell if cell is None or isinstance(cell, str) else repr(cell) for cell in cells]
