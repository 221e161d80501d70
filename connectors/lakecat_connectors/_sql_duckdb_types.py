"""DuckDB's types as Arrow's, nested ones by their parts; what becomes of each is in docs/connectors-sql.md.

DuckDB hands out Arrow itself; with ``arrow_lossless_conversion`` the types that Arrow lacks come as their bytes
("Arrow extension types" in its documentation), which are read here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from lakecat.connector.fit import MisfitError
from lakecat_connectors._sql_convert import Conversion, Target, from_texts, then_cast
from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import Column
from lakecat_connectors._sql_text import INTERVAL

_DIGITS: Final = 38
_FIRST_DAY: Final = -719_162  # 0001-01-01 in days since 1970
_LAST_DAY: Final = 2_932_896  # 9999-12-31
_DAY: Final = 86_400_000_000
_UTC_OFFSETS: Final = 57_599  # the greatest offset that a time with zone may have, in seconds
_OFFSET_BITS: Final = 24

Select = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuckColumn(Column):
    """A column and how it is fetched; ``refused`` says why it cannot be read."""

    select: Select
    convert: Conversion
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Reading:
    """What becomes of a type; ``select`` fetches another expression, where what Arrow gets says less."""

    type: pa.DataType
    convert: Conversion
    select: Select | None = None


class _UnknownError(Exception):
    """A type that is not known, or not where it stands."""


def column_of(name: str, type_: Any, policy: StreamOptions) -> DuckColumn:
    """The column of a ``duckdb.sqltypes.DuckDBPyType``."""
    refused = None
    try:
        reading = _outer(type_, policy)
    except _UnknownError as err:
        refused, reading = str(err), _Reading(pa.null(), lambda cells: pa.nulls(len(cells)))
    return DuckColumn(
        name=name,
        type=reading.type,
        native=str(type_),
        select=reading.select or _plain,
        convert=reading.convert,
        refused=refused,
        numeric=type_.id in ("hugeint", "uhugeint", "bignum"),
    )


def as_text(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """A value as DuckDB writes it."""
    return sa.cast(column, sa.types.VARCHAR())


def target_of(column: DuckColumn, declared: pa.DataType | None) -> Target:
    """How a column leaves: as its own type, or as the job declares it; declared text is DuckDB's own."""
    without = _without_beyond if column.select is _plain and pa.types.is_temporal(column.type) else None
    if declared is None or (declared == column.type and not is_text(declared)):
        return Target(column.name, column.type, column.native, column.convert, without)
    if is_text(declared):
        return Target(column.name, declared, column.native, lambda cells: cells.cast(declared))
    fit = from_texts(declared)
    convert = (
        (lambda cells: fit(column.convert(cells))) if is_text(column.type) else then_cast(column.convert, declared)
    )
    return Target(column.name, declared, column.native, convert, without)


def is_text(type_: pa.DataType) -> bool:
    """Whether a type is text."""
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return column


def _as_json(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.cast(sa.func.to_json(column), sa.types.VARCHAR())


def _outer(type_: Any, policy: StreamOptions) -> _Reading:
    """For a column, where another expression can be fetched."""
    if type_.id in ("union", "variant"):
        return _Reading(pa.string(), _same, _as_json)
    if type_.id == "bignum" or (type_.id in ("hugeint", "uhugeint") and policy.numeric_scale is None):
        return _wide_number(policy, as_text)
    if type_.id == "uuid" and policy.uuid == "uuid":
        return _Reading(pa.uuid(), _same)
    return _inner(type_, policy)


def _wide_number(policy: StreamOptions, select: Select) -> _Reading:
    if policy.numeric_scale is None:
        return _Reading(pa.string(), _same, select)
    wide = pa.decimal128(_DIGITS, policy.numeric_scale)
    return _Reading(wide, lambda texts: texts.cast(wide), select)


def _inner(type_: Any, policy: StreamOptions) -> _Reading:
    """For a value anywhere."""
    kind = type_.id
    if (plain := _PLAIN.get(kind)) is not None:
        return plain
    if kind == "decimal":
        parts = dict(type_.children)
        return _Reading(pa.decimal128(parts["precision"], parts["scale"]), _same)
    if kind in ("hugeint", "uhugeint"):
        return _huge(policy, signed=kind == "hugeint")
    if kind == "uuid":
        # Rows are merged by DuckDB, out of which UUIDs in lists and structs come as texts.
        return _Reading(pa.string(), _to_uuid_text)
    if kind == "interval":
        as_struct = policy.interval == "struct"
        return _Reading(INTERVAL, _to_interval) if as_struct else _Reading(pa.string(), _to_interval_text)
    if kind in ("list", "array"):
        return _list(_inner(dict(type_.children)["child"], policy))
    if kind == "struct":
        return _struct([(name, _inner(part, policy)) for name, part in type_.children])
    if kind == "map":
        parts = dict(type_.children)
        return _map(_inner(parts["key"], policy), _inner(parts["value"], policy))
    raise _UnknownError(f"the type {type_} cannot be read here")


def _same(cells: pa.Array) -> pa.Array:
    return cells


def _storage(cells: pa.Array) -> pa.Array:
    return cells.storage if isinstance(cells, pa.ExtensionArray) else cells


def _cast(type_: pa.DataType) -> _Reading:
    return _Reading(type_, lambda cells: _storage(cells).cast(type_))


def _to_date(cells: pa.Array) -> pa.Array:
    _within(cells.cast(pa.int32()), _FIRST_DAY, _LAST_DAY)
    return cells


def _moment(zone: str | None) -> _Reading:
    type_ = pa.timestamp("us", zone)

    def convert(cells: pa.Array) -> pa.Array:
        # Infinity is the greatest number of the type's own unit; elsewhere the cast refuses what microseconds lack.
        moments = cells.cast(pa.timestamp("us", cells.type.tz)).cast(type_)
        _within(moments.cast(pa.int64()), _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY - 1)
        return moments

    return _Reading(type_, convert)


def _to_time(cells: pa.Array) -> pa.Array:
    times = cells.cast(pa.time64("us"))
    _within(times.cast(pa.int64()), 0, _DAY - 1)
    return times


def _within(numbers: pa.Array, first: int, last: int) -> None:
    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and not first <= found["min"] <= found["max"] <= last:
        raise MisfitError


def _without_beyond(cells: pa.Array) -> pa.Array:
    """The same with NULL for what is outside the years 1 to 9999, or a day."""
    if pa.types.is_date(cells.type):
        numbers, first, last = cells.cast(pa.int32()).cast(pa.int64()), _FIRST_DAY, _LAST_DAY
    elif pa.types.is_time(cells.type):
        units = {"us": 1, "ns": 1_000}[cells.type.unit]
        numbers, first, last = cells.cast(pa.int64()), 0, _DAY * units - 1
    else:
        units = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[cells.type.unit] * 86_400
        numbers, first, last = cells.cast(pa.int64()), _FIRST_DAY * units, (_LAST_DAY + 1) * units - 1
        if cells.type.unit == "ns":  # they end in the year 2262, at which infinity stands
            first, last = -(2**63) + 2, 2**63 - 2
    inside = pc.and_(pc.greater_equal(numbers, first), pc.less_equal(numbers, last))
    return pc.if_else(inside, cells, pa.scalar(None, cells.type))


def _huge(policy: StreamOptions, *, signed: bool) -> _Reading:
    """128 bits: 39 digits, which no decimal holds."""
    scale = policy.numeric_scale
    type_ = pa.string() if scale is None else pa.decimal128(_DIGITS, scale)

    def convert(cells: pa.Array) -> pa.Array:
        numbers = [
            None if raw is None else int.from_bytes(raw, "little", signed=signed) for raw in _storage(cells).to_pylist()
        ]
        if scale is None:
            return pa.array([None if number is None else str(number) for number in numbers], type_)
        return pa.array([None if number is None else Decimal(number) for number in numbers], type_)

    return _Reading(type_, convert)


def _to_bits(cells: pa.Array) -> pa.Array:
    """The first byte counts the bits by which the others are filled up, at their beginning."""
    texts = [
        None if raw is None else "".join(f"{byte:08b}" for byte in raw[1:])[raw[0] :]
        for raw in _storage(cells).to_pylist()
    ]
    return pa.array(texts, pa.string())


def _to_zoned_time(cells: pa.Array) -> pa.Array:
    """Microseconds of the day, and how far the offset is below the greatest."""
    return pa.array([None if raw is None else _zoned_time(raw) for raw in _storage(cells).to_pylist()], pa.string())


def _zoned_time(raw: bytes) -> str:
    packed = int.from_bytes(raw, "little")
    microseconds, below = packed >> _OFFSET_BITS, packed & (2**_OFFSET_BITS - 1)
    seconds, fraction = divmod(microseconds, 1_000_000)
    minutes, second = divmod(seconds, 60)
    offset = _UTC_OFFSETS - below
    sign, (hours, rest) = "-" if offset < 0 else "+", divmod(abs(offset), 3_600)
    zone = f"{sign}{hours:02}" + (f":{rest // 60:02}" if rest else "") + (f":{rest % 60:02}" if rest % 60 else "")
    shown = f".{fraction:06}".rstrip("0") if fraction else ""
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{shown}{zone}"


def _to_uuid_text(cells: pa.Array) -> pa.Array:
    return pa.array([None if one is None else str(one) for one in cells.to_pylist()], pa.string())


def _parts(cells: pa.Array) -> list[tuple[int, int, int] | None]:
    """Months, days and microseconds; DuckDB has no nanoseconds there."""
    return [None if one is None else (one.months, one.days, one.nanoseconds // 1_000) for one in cells.to_pylist()]


def _to_interval(cells: pa.Array) -> pa.Array:
    names = [field.name for field in INTERVAL]
    return pa.array([None if one is None else dict(zip(names, one, strict=True)) for one in _parts(cells)], INTERVAL)


def _to_interval_text(cells: pa.Array) -> pa.Array:
    return pa.array([None if one is None else _interval_text(*one) for one in _parts(cells)], pa.string())


def _interval_text(months: int, days: int, microseconds: int) -> str:
    """ISO 8601, each part with a sign of its own, as PostgreSQL writes it."""
    sign = -1 if microseconds < 0 else 1
    whole, fraction = divmod(abs(microseconds), 1_000_000)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    years, left = int(months / 12), months - 12 * int(months / 12)
    day = "".join(f"{value}{unit}" for value, unit in ((years, "Y"), (left, "M"), (days, "D")) if value)
    clock = "".join(f"{sign * value}{unit}" for value, unit in ((hours, "H"), (minutes, "M")) if value)
    if seconds or fraction:
        shown = f".{fraction:06}".rstrip("0") if fraction else ""
        clock += f"{'-' if sign < 0 else ''}{seconds}{shown}S"
    return f"P{day}{'T' if clock else ''}{clock}" if day or clock else "PT0S"


def _list(item: _Reading) -> _Reading:
    type_ = pa.list_(item.type)

    def convert(cells: pa.Array) -> pa.Array:
        if pa.types.is_fixed_size_list(cells.type):
            cells = cells.cast(pa.list_(cells.type.value_type))
        inside = item.convert(cells.flatten())
        lengths = pc.fill_null(pc.list_value_length(cells), 0)
        ends = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths.cast(pa.int32()))])
        return pa.ListArray.from_arrays(ends, inside, type=type_, mask=cells.is_null())

    return _Reading(type_, convert)


def _struct(parts: list[tuple[str, _Reading]]) -> _Reading:
    type_ = pa.struct([(name, reading.type) for name, reading in parts])

    def convert(cells: pa.Array) -> pa.Array:
        inside = [reading.convert(cells.field(n)) for n, (_, reading) in enumerate(parts)]
        return pa.StructArray.from_arrays(inside, fields=list(type_), mask=cells.is_null())

    return _Reading(type_, convert)


def _map(key: _Reading, value: _Reading) -> _Reading:
    type_ = pa.map_(key.type, value.type)
    entries = _list(_struct([("key", key), ("value", value)]))

    def convert(cells: pa.Array) -> pa.Array:
        pairs = entries.convert(
            cells.cast(pa.list_(pa.struct([("key", cells.type.key_type), ("value", cells.type.item_type)])))
        )
        keys, values = pairs.values.field(0), pairs.values.field(1)
        return pa.MapArray.from_arrays(pairs.offsets, keys, values, type=type_, mask=pairs.is_null())

    return _Reading(type_, convert)


_PLAIN: Final = {
    "boolean": _cast(pa.bool_()),
    "tinyint": _cast(pa.int32()),
    "smallint": _cast(pa.int32()),
    "integer": _cast(pa.int32()),
    "bigint": _cast(pa.int64()),
    "utinyint": _cast(pa.int32()),
    "usmallint": _cast(pa.int32()),
    "uinteger": _cast(pa.int64()),
    "ubigint": _cast(pa.decimal128(20, 0)),
    "float": _cast(pa.float32()),
    "double": _cast(pa.float64()),
    "varchar": _cast(pa.string()),
    "blob": _cast(pa.binary()),
    "geometry": _cast(pa.binary()),
    "enum": _cast(pa.string()),
    "null": _cast(pa.string()),
    '"null"': _cast(pa.string()),
    "date": _Reading(pa.date32(), _to_date),
    "time": _Reading(pa.time64("us"), _to_time),
    "time_ns": _Reading(pa.time64("us"), _to_time),
    "timestamp": _moment(None),
    "timestamp_s": _moment(None),
    "timestamp_ms": _moment(None),
    "timestamp_ns": _moment(None),
    "timestamp with time zone": _moment("UTC"),
    "timestamptz_ns": _moment("UTC"),
    "timestamp with time zone_ns": _moment("UTC"),
    "time with time zone": _Reading(pa.string(), _to_zoned_time),
    "bit": _Reading(pa.string(), _to_bits),
}
