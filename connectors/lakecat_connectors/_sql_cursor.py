"""Arithmetic on cursor values as exact texts: a distance back, and the windows of a grid."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Final

import pyarrow as pa

from lakecat.errors import ConfigError, SourceError
from lakecat_connectors._sql_source import Column, CursorKind, cursor_kind

_DAY: Final = 86_400
_EXACT: Final = Context(prec=400)
_INT64: Final = Decimal(2**63)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ENDS: Final = re.compile(r"nan|inf|infinity|\d{5,}-.*(?<! BC)", re.IGNORECASE)
"""NaN and infinity stand above all numbers and times, and tables know no year of five digits."""


class Scale:
    """The scale of one cursor column: texts to exact numbers and back.

    Numbers are as they are, dates are days, and times microseconds, since 1970.
    """

    def __init__(self, column: Column) -> None:
        kind = CursorKind.NUMBER if column.numeric else cursor_kind(column.type)
        if kind is None:
            raise ConfigError(
                f"cursor: {column.name!r} is {column.native}, whose values have no order to follow",
                hint="name a column that holds numbers, dates, times or text",
            )
        self._kind = kind
        self._column = column.name
        self._whole = pa.types.is_integer(column.type)
        self._zoned = pa.types.is_timestamp(column.type) and column.type.tz is not None

    def distance(self, width: float, what: str) -> Decimal:
        """A width in the job (seconds, or a number) on this scale. Raises ConfigError where there are no distances."""
        exact = Decimal(repr(width))
        if self._kind is CursorKind.TEXT:
            raise ConfigError(
                f"cursor: {what} means nothing for {self._column!r}, whose values are text",
                hint=f"leave {what} out, or use a cursor that is a number or a time",
            )
        if self._kind is CursorKind.DATE:
            if exact % _DAY:
                raise ConfigError(f"cursor: {what} must be whole days for {self._column!r}, which holds dates")
            return exact / _DAY
        if self._whole and exact % 1:
            raise ConfigError(f"cursor: {what} must be a whole number for {self._column!r}, which holds integers")
        return exact * 1_000_000 if self._kind is CursorKind.TIME else exact

    def back(self, text: str, distance: Decimal) -> str:
        """The value that far below ``text``; the scale's own end where there is no such value."""
        return self.text(_EXACT.subtract(self.number(text), distance))

    def window_end(self, least: str, base: str, width: Decimal) -> str:
        """The end of the window that holds ``least``, in a grid of that width from ``base``. Its end is outside."""
        distance = _EXACT.subtract(self.number(least), self.number(base))
        count = math.floor(_EXACT.divide(distance, width)) + 1
        return self.text(_EXACT.add(self.number(base), width * count))

    def refuse_end(self, text: str) -> None:
        """Raises SourceError for a greatest value that nothing can pass: rows written later would never be read."""
        if self._kind is CursorKind.TEXT or _ENDS.fullmatch(text) is None:
            return
        raise SourceError(
            f"the greatest value of the cursor {self._column!r} is {text!r}, which no later row will pass",
            hint="leave such rows out with where:, or bound the cursor with end:",
        )

    def moment(self, text: str) -> str:
        """A bound as the column's own: a time with a zone is one in UTC. What is no such time is left as it is."""
        try:
            return self.text(self.number(text)) if self._kind is CursorKind.TIME else text
        except SourceError:
            return text

    def number(self, text: str) -> Decimal:
        """A text on the scale. Raises SourceError for values outside it (``infinity``, years of five digits)."""
        try:
            if self._kind is CursorKind.NUMBER:
                value = Decimal(text)
                if not value.is_finite():
                    raise ValueError
                return value
            if self._kind is CursorKind.DATE:
                return Decimal(date.fromisoformat(text).toordinal() - _EPOCH.date().toordinal())
            moment = datetime.fromisoformat(text)
            aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
            return Decimal((aware - _EPOCH) // _MICROSECOND)
        except (ValueError, InvalidOperation) as err:
            raise SourceError(
                f"the cursor {self._column!r} holds {text!r}, which lies on no scale of numbers or times",
                hint="leave such rows out with where:, or bound the cursor with end:",
            ) from err

    def text(self, number: Decimal) -> str:
        """A number of the scale as text, as the database reads it."""
        if self._kind is CursorKind.NUMBER:
            number = min(max(number, -_INT64), _INT64 - 1) if self._whole else number
            rounded = number.to_integral_value()
            return format(rounded if rounded == number else number, "f")
        try:
            if self._kind is CursorKind.DATE:
                return date.fromordinal(int(number) + _EPOCH.date().toordinal()).isoformat()
            moment = _EPOCH + timedelta(microseconds=int(number))
        except (OverflowError, ValueError):
            moment = _FIRST if number < 0 else _LAST
            if self._kind is CursorKind.DATE:
                return moment.date().isoformat()
        return (moment if self._zoned else moment.replace(tzinfo=None)).isoformat(sep=" ", timespec="microseconds")
