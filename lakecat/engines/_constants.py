"""Constant expressions of a query as the Python values that Iceberg compares, or not at all.

A constant may only be used to skip files when DuckDB's comparison with the column and Iceberg's surely agree: same
kind of type, nothing rounded, nothing beyond the type. Everything else answers None.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import duckdb
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
)
from sqlglot import exp

from lakecat.tables.relation import DIALECT, duckdb_type

# What a constant may be made of; sqlglot's text of these is the text that was read.
_PLAIN: Final = (
    exp.Literal,
    exp.Boolean,
    exp.Neg,
    exp.Paren,
    exp.Cast,
    exp.DataType,
    exp.DataTypeParam,
    exp.Add,
    exp.Sub,
    exp.Interval,
    exp.Var,
)
_DATES: Final = (DateType, TimestampType, TimestamptzType)
# DuckDB's infinite dates come out as Python's first and last ones.
_YEARS: Final = range(2, 9999)


class Constants:
    """Evaluates constants in a DuckDB; what they are made of is listed above, and touches no data, file or setting."""

    def __init__(self, con: Any, parameters: Mapping[str, object]) -> None:
        self._con = con
        self._parameters = parameters

    def value(self, expression: exp.Expr, kind: IcebergType) -> object | None:
        """The constant as a value of the column's type ``kind``; None when it is not surely one."""
        if isinstance(expression, exp.Placeholder):
            return _fit(self._parameters.get(expression.name), kind)
        if not all(isinstance(node, _PLAIN) for node in expression.walk()):
            return None
        literal = expression.unnest()
        if isinstance(literal, exp.Literal) and literal.is_string:
            return self._string(literal, kind)
        if isinstance(literal, exp.Literal) and literal.name.isascii() and literal.name.isdigit():
            return _fit(int(literal.name), kind)  # without asking: lists of them may be long
        return _fit(self._evaluate(expression.sql(dialect=DIALECT)), kind)

    def _string(self, literal: exp.Literal, kind: IcebergType) -> object | None:
        """A bare string literal takes the type of what it is compared with."""
        if isinstance(kind, StringType):
            return str(literal.this)
        if isinstance(kind, _DATES):
            return _fit(self._evaluate(f"CAST({literal.sql(dialect=DIALECT)} AS {duckdb_type(kind)})"), kind)
        return None

    def _evaluate(self, sql: str) -> object | None:
        try:
            rows = self._con.execute(f"SELECT {sql}").fetchall()
        except (duckdb.Error, OverflowError, ValueError):
            return None  # the query itself will say what is wrong
        return rows[0][0] if rows else None


def _fit(value: object, kind: IcebergType) -> object | None:
    fit = _FITS.get(type(kind))
    if fit is None or value is None or (isinstance(value, dt.date) and value.year not in _YEARS):
        return None
    return fit(value, kind)


def _whole(value: object, kind: IcebergType) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value != int(value):
        return None
    whole = int(value)
    return whole if abs(whole) < (2**31 if isinstance(kind, IntegerType) else 2**63) else None


def _decimal(value: object, kind: IcebergType) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not isinstance(kind, DecimalType):
        return None
    exact = Decimal(value)
    if not exact.is_finite() or abs(exact) >= Decimal(10) ** (kind.precision - kind.scale):
        return None
    scaled = exact.scaleb(kind.scale)
    return Decimal(int(scaled)).scaleb(-kind.scale) if scaled == int(scaled) else None


def _double(value: object, _: IcebergType) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    if isinstance(value, int) and abs(value) > 2**53:
        return None
    # Longer decimals are not rounded alike everywhere.
    if isinstance(value, Decimal) and len(value.as_tuple().digits) > 15:
        return None
    number = float(value)
    return None if number != number else number  # noqa: PLR0124 - NaN orders differently in SQL and in Iceberg


def _text(value: object, _: IcebergType) -> str | None:
    return value if isinstance(value, str) else None


def _boolean(value: object, _: IcebergType) -> bool | None:
    return value if isinstance(value, bool) else None


def _date(value: object, _: IcebergType) -> dt.date | None:
    if isinstance(value, dt.datetime):
        midnight = value.tzinfo is None and value.time() == dt.time()
        return value.date() if midnight else None
    return value if isinstance(value, dt.date) else None


def _timestamp(value: object, _: IcebergType) -> dt.datetime | None:
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is None else None
    return dt.datetime.combine(value, dt.time()) if isinstance(value, dt.date) else None


def _timestamptz(value: object, _: IcebergType) -> dt.datetime | None:
    """Zoneless constants are in the session's time zone, which is UTC."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)
    return dt.datetime.combine(value, dt.time(), dt.UTC) if isinstance(value, dt.date) else None


_FITS: Final[Mapping[type[IcebergType], Callable[[object, IcebergType], object | None]]] = {
    IntegerType: _whole,
    LongType: _whole,
    DecimalType: _decimal,
    DoubleType: _double,
    StringType: _text,
    BooleanType: _boolean,
    DateType: _date,
    TimestampType: _timestamp,
    TimestamptzType: _timestamptz,
}
