"""PostgreSQL's types as Arrow's: exact, text where Arrow has no such type, refused where neither is possible.

What becomes of each type is in docs/connectors-sql.md. Types are numbered as in PostgreSQL's ``pg_type.dat``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import pyarrow as pa

from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import Column
from lakecat_connectors._sql_text import INTERVAL, Convert, cast, from_hex, to_interval, to_list, to_uuid

NUMERIC: Final = 1700
_MONEY: Final = 790
_INTERVAL: Final = 1186
_UUID: Final = 2950
_BYTEA: Final = 17
_BPCHAR: Final = 1042
_NO_ARRAYS: Final = frozenset({22, 30})  # int2vector and oidvector: arrays by name, but written as one text
_DIGITS: Final = 38

_PLAIN: Final[Mapping[int, pa.DataType]] = {
    16: pa.bool_(),
    20: pa.int64(),
    21: pa.int32(),
    23: pa.int32(),
    26: pa.int64(),  # oid: 32 bits without sign
    28: pa.int64(),  # xid
    29: pa.int64(),  # cid
    5069: pa.decimal128(20, 0),  # xid8: 64 bits without sign
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1083: pa.time64("us"),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", "UTC"),
}


@dataclass(frozen=True, slots=True)
class PgType:
    """A row of ``pg_type``, as far as values need it."""

    oid: int
    kind: str
    category: str
    length: int
    element: int
    base: int
    base_modifier: int
    base_dimensions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PgColumn(Column):
    """A column and how it is fetched.

    ``select`` is the expression, with ``{}`` in the place of the quoted column. ``parsed``: pyarrow reads the text
    as the column's type itself; else ``convert`` does, from strings. ``flat_oid``: the type as results announce it.
    """

    select: str = "{}"
    convert: Convert
    parsed: bool = False
    flat_oid: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    type: pa.DataType
    select: str = "{}"
    convert: Convert | None = None


def column_of(
    name: str,
    oid: int,
    modifier: int,
    types: Mapping[int, PgType],
    policy: StreamOptions,
    *,
    native: str,
    dimensions: int = 0,
    money_scale: int = 2,
    nullable: bool = True,
    comment: str | None = None,
) -> PgColumn:
    """The column of a type. ``dimensions`` is what the table declares for an array; 0 counts as one."""
    reading = _Rules(types, policy, money_scale).reading(oid, modifier, dimensions)
    oid = flat(oid, types)
    return PgColumn(
        name=name,
        type=reading.type,
        native=native,
        nullable=nullable,
        comment=comment,
        select=reading.select,
        convert=reading.convert or cast(reading.type),
        parsed=reading.convert is None,
        flat_oid=oid,
        numeric=oid == NUMERIC,
    )


def as_declared(column: PgColumn, declared: pa.DataType | None) -> PgColumn:
    """The column as it is fetched for the type that the job declares: text is what the server itself writes."""
    wide = pa.types.is_nested(column.type) or column.type == pa.uuid()
    if declared is None or not pa.types.is_string(declared) or not wide:
        return column
    return replace(column, type=pa.string(), select="{}", convert=cast(pa.string()), parsed=True)


def flat(oid: int, types: Mapping[int, PgType]) -> int:
    """What a domain is made of in the end; any other type itself."""
    while (known := types.get(oid)) is not None and known.kind == "d":
        oid = known.base
    return oid


@dataclass(frozen=True, slots=True)
class _Rules:
    types: Mapping[int, PgType]
    policy: StreamOptions
    money_scale: int

    def reading(self, oid: int, modifier: int, dimensions: int) -> _Reading:
        known = self.types.get(oid)
        if known is not None and known.kind == "d":
            own = modifier if modifier >= 0 else known.base_modifier
            return self.reading(known.base, own, known.base_dimensions or dimensions)
        if known is not None and _is_array(known):
            return self._array(known, modifier, max(dimensions, 1))
        return self._scalar(oid, modifier)

    def _scalar(self, oid: int, modifier: int) -> _Reading:
        if oid in _PLAIN:
            return _Reading(_PLAIN[oid])
        if oid == NUMERIC:
            return _Reading(numeric_type(modifier, self.policy))
        if oid == _MONEY:
            # The text of money is the locale's; as a number it is exact.
            return _Reading(pa.decimal128(19, self.money_scale), "{}::pg_catalog.numeric")
        if oid == _BYTEA:
            return _Reading(pa.binary(), "{}", from_hex)
        if oid == _UUID and self.policy.uuid == "uuid":
            return _Reading(pa.uuid(), "{}", to_uuid)
        if oid == _INTERVAL and self.policy.interval == "struct":
            return _Reading(INTERVAL, _INTERVAL_PARTS, to_interval)
        return _Reading(pa.string())

    def _array(self, array: PgType, modifier: int, dimensions: int) -> _Reading:
        inside = self.reading(array.element, modifier, 0)
        if inside.type == pa.uuid():
            # Rows are merged by DuckDB, out of which lists of UUIDs come as lists of texts.
            inside = _Reading(pa.string())
        depth, type_ = dimensions, inside.type
        for _ in range(depth):
            type_ = pa.list_(type_)
        if inside.select != "{}" or pa.types.is_list(inside.type):
            # Elements that need more than their text (money, intervals as structs, domains over arrays): the whole
            # array as the server writes it.
            return _Reading(pa.string())
        # A cast of char(n) to text would cut the padding off; its own JSON keeps it.
        as_text = "" if flat(array.element, self.types) == _BPCHAR else "::pg_catalog.text[]"
        return _Reading(
            type_, f"pg_catalog.to_json({{}}{as_text})", to_list(inside.convert or cast(inside.type), depth, type_)
        )


_INTERVAL_PARTS: Final = (
    "(CASE WHEN pg_catalog.isfinite({0}) THEN "
    "(extract(year from {0})*12+extract(month from {0}))::pg_catalog.int8||' '||"
    "extract(day from {0})::pg_catalog.int8||' '||"
    "((extract(hour from {0})::pg_catalog.int8*60+extract(minute from {0})::pg_catalog.int8)*60000000"
    "+extract(microseconds from {0})::pg_catalog.int8) ELSE {0}::pg_catalog.text END)"
)


def _is_array(type_: PgType) -> bool:
    return type_.category == "A" and type_.element != 0 and type_.length == -1 and type_.oid not in _NO_ARRAYS


def numeric_type(modifier: int, policy: StreamOptions) -> pa.DataType:
    """``numeric(p, s)`` from its type modifier; a scale may be negative or greater than the precision (since 15)."""
    if modifier < 4:
        scale = policy.numeric_scale
        return pa.string() if scale is None else pa.decimal128(_DIGITS, scale)
    packed = modifier - 4
    precision = (packed >> 16) & 0xFFFF
    scale = ((packed & 0x7FF) ^ 1024) - 1024
    if scale < 0:
        precision, scale = precision - scale, 0
    precision = max(precision, scale)
    return pa.string() if precision > _DIGITS else pa.decimal128(precision, scale)
