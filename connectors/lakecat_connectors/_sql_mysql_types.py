"""MySQL's and MariaDB's types as Arrow's; what becomes of each is in docs/connectors-sql.md.

A column is known by its ``DATA_TYPE`` in ``information_schema``; columns of queries by what results announce
("Column Definition" in MySQL's protocol), brought to the same names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE, FLAG

from lakecat.connector.fit import MisfitError
from lakecat_connectors._sql_convert import Conversion, Target, from_texts, then_cast
from lakecat_connectors._sql_options import StreamOptions
from lakecat_connectors._sql_source import Column
from lakecat_connectors._sql_text import to_time, to_uuid

_BINARY_CHARSET: Final = 63
_DIGITS: Final = 38
_FIRST_DAY: Final = -719_162  # 0001-01-01 in days since 1970
_DAY_MICROSECONDS: Final = 86_400_000_000
_BEYOND: Final = r"^(?:0000-.*|\d{4}-00-.*|\d{4}-\d\d-00.*|-.*|\d{3,}:.*|(?:2[4-9]|[3-9]\d):.*)$"
"""The year 0, zero dates and dates with a part of zero, and times outside a day."""

_INTEGERS: Final = {
    "tinyint": (pa.int32(), pa.int32()),
    "smallint": (pa.int32(), pa.int32()),
    "mediumint": (pa.int32(), pa.int32()),
    "int": (pa.int32(), pa.int64()),
    "bigint": (pa.int64(), pa.decimal128(20, 0)),
}
"""Signed and unsigned."""

_TEXTS: Final = frozenset(
    {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json", "inet4", "inet6"}
)
_BYTES: Final = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector"})
_SHAPES: Final = frozenset(
    {"geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
     "geometrycollection", "geomcollection"}
)  # fmt: skip

_ANNOUNCED: Final = {
    FIELD_TYPE.TINY: "tinyint",
    FIELD_TYPE.SHORT: "smallint",
    FIELD_TYPE.INT24: "mediumint",
    FIELD_TYPE.LONG: "int",
    FIELD_TYPE.LONGLONG: "bigint",
    FIELD_TYPE.FLOAT: "float",
    FIELD_TYPE.DOUBLE: "double",
    FIELD_TYPE.DECIMAL: "decimal",
    FIELD_TYPE.NEWDECIMAL: "decimal",
    FIELD_TYPE.DATE: "date",
    FIELD_TYPE.NEWDATE: "date",
    FIELD_TYPE.DATETIME: "datetime",
    FIELD_TYPE.TIMESTAMP: "timestamp",
    FIELD_TYPE.TIME: "time",
    FIELD_TYPE.YEAR: "year",
    FIELD_TYPE.BIT: "bit",
    FIELD_TYPE.JSON: "json",
    FIELD_TYPE.ENUM: "enum",
    FIELD_TYPE.SET: "set",
    FIELD_TYPE.GEOMETRY: "geometry",
}
_STRINGS: Final = frozenset(
    {FIELD_TYPE.VARCHAR, FIELD_TYPE.VAR_STRING, FIELD_TYPE.STRING, FIELD_TYPE.TINY_BLOB, FIELD_TYPE.MEDIUM_BLOB,
     FIELD_TYPE.LONG_BLOB, FIELD_TYPE.BLOB}
)  # fmt: skip


Select = Callable[[sa.ColumnElement[Any]], sa.ColumnElement[Any]]


def _plain(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return column


def _as_double(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return column * sa.literal_column("1e0")


def _as_number(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return column + sa.literal_column("0")


def _as_wkb(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    return sa.func.ST_AsWKB(column)


@dataclass(frozen=True, slots=True, kw_only=True)
class MyColumn(Column):
    """A column and how it is fetched.

    ``select`` makes the expression that is fetched; ``convert`` takes its text, or bytes where ``binary``.
    ``refused`` says why it cannot be read.
    """

    select: Select
    convert: Conversion
    binary: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class _Native:
    """A type by its parts; ``width`` is the number of bits."""

    name: str
    unsigned: bool = False
    precision: int = 0
    scale: int = 0
    width: int = 0


@dataclass(frozen=True, slots=True)
class _Reading:
    type: pa.DataType
    convert: Conversion
    select: Select = _plain
    binary: bool = False


def table_column(row: Any, policy: StreamOptions) -> MyColumn:
    """The column of a row of ``information_schema.COLUMNS``."""
    name, data_type, column_type, precision, scale, nullable, comment = row
    width = re.fullmatch(r"bit\((\d+)\)", column_type, re.IGNORECASE)
    native = _Native(
        data_type.lower(),
        "unsigned" in column_type.lower(),
        int(precision or 0),
        int(scale or 0),
        int(width[1]) if width else 1,
    )
    return _column(name, native, policy, spelled=column_type, nullable=nullable == "YES", comment=comment or None)


def result_column(field: Any, policy: StreamOptions) -> MyColumn:
    """The column of a result, as the server announces it."""
    unsigned = bool(field.flags & FLAG.UNSIGNED)
    name = _announced(field)
    precision = field.length - (field.scale > 0) - (not unsigned) if name == "decimal" else 0
    native = _Native(name, unsigned, precision, field.scale, field.length)
    spelled = f"decimal({precision},{field.scale})" if name == "decimal" else name
    return _column(field.name, native, policy, spelled=f"{spelled}{' unsigned' * unsigned}", nullable=True)


def _announced(field: Any) -> str:
    if field.flags & FLAG.ENUM:
        return "enum"
    if field.flags & FLAG.SET:
        return "set"
    if field.type_code in _STRINGS:
        return "blob" if field.charsetnr == _BINARY_CHARSET else "text"
    return "text" if field.type_code == FIELD_TYPE.NULL else _ANNOUNCED.get(field.type_code, str(field.type_code))


def _column(
    name: str, native: _Native, policy: StreamOptions, *, spelled: str, nullable: bool, comment: str | None = None
) -> MyColumn:
    reading = _reading(native, policy)
    refused = None
    if reading is None:
        refused, reading = f"the type {spelled} is not known", _Reading(pa.null(), _none)
    return MyColumn(
        name=name,
        type=reading.type,
        native=spelled,
        nullable=nullable,
        comment=comment,
        select=reading.select,
        convert=reading.convert,
        binary=reading.binary,
        refused=refused,
    )


def _reading(native: _Native, policy: StreamOptions) -> _Reading | None:
    name = native.name
    if name in _INTEGERS:
        return _cast(_INTEGERS[name][native.unsigned])
    if name == "decimal":
        return _decimal(native.precision, native.scale)
    if name == "bit":
        return _bits(native.width)
    if name in _TEXTS or (name == "uuid" and policy.uuid == "string"):
        return _Reading(pa.string(), _same)
    if name in _BYTES:
        return _Reading(pa.binary(), _same, binary=True)
    if name in _SHAPES:
        return _Reading(pa.binary(), _same, _as_wkb, binary=True)
    return _OTHERS.get(name)


def _cast(type_: pa.DataType, select: Select = _plain) -> _Reading:
    return _Reading(type_, lambda texts: texts.cast(type_), select)


def _decimal(precision: int, scale: int) -> _Reading:
    if precision > _DIGITS:
        return _Reading(pa.string(), _same)
    return _cast(pa.decimal128(max(precision, 1), scale))


def _bits(width: int) -> _Reading:
    if width == 1:
        return _Reading(pa.bool_(), from_texts(pa.bool_()), _as_number)
    return _cast(pa.int64() if width < 64 else pa.decimal128(20, 0), _as_number)


def _same(cells: pa.Array) -> pa.Array:
    return cells


def _none(cells: pa.Array) -> pa.Array:
    return pa.nulls(len(cells))


def _to_date(texts: pa.Array) -> pa.Array:
    days = texts.cast(pa.date32())
    _refuse_year_zero(days.cast(pa.int32()), _FIRST_DAY)
    return days


def _to_moment(texts: pa.Array) -> pa.Array:
    moments = texts.cast(pa.timestamp("us"))
    _refuse_year_zero(moments.cast(pa.int64()), _FIRST_DAY * _DAY_MICROSECONDS)
    return moments


def _refuse_year_zero(numbers: pa.Array, first: int) -> None:
    least = pc.min(numbers).as_py()
    if least is not None and least < first:
        raise MisfitError


_OTHERS: Final = {
    "year": _cast(pa.int32()),
    # As they stand they are written with 6 or 15 digits, or as many as the type declares; the product of a double is
    # written with all that it needs.
    "float": _cast(pa.float32(), _as_double),
    "double": _cast(pa.float64(), _as_double),
    "uuid": _Reading(pa.uuid(), to_uuid),
    "date": _Reading(pa.date32(), _to_date),
    "datetime": _Reading(pa.timestamp("us"), _to_moment),
    "timestamp": _Reading(pa.timestamp("us", "UTC"), then_cast(_to_moment, pa.timestamp("us", "UTC"))),
    "time": _Reading(pa.time64("us"), to_time),
}


def _without_beyond(texts: pa.Array) -> pa.Array:
    beyond = pc.fill_null(pc.match_substring_regex(texts, _BEYOND), False)
    return pc.if_else(beyond, pa.scalar(None, pa.string()), texts)


def target_of(column: MyColumn, declared: pa.DataType | None) -> Target:
    """How a column leaves: as its own type, or as the job declares it."""
    type_, convert = declared or column.type, column.convert
    if declared not in (None, column.type):
        convert = then_cast(column.convert, declared) if column.binary else from_texts(declared)
    without = None if column.binary else _without_beyond
    return Target(column.name, type_, column.native, convert, without)
