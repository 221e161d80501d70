"""Spreadsheet cells: what their values can be, what a number format says of a number, and serial dates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final

_BRACKETED: Final = re.compile(r"\[(?!h+\]|m+\]|s+\])[^\]]*\]", re.IGNORECASE)
_LITERAL: Final = re.compile(r'"[^"]*"|\\.|_.|\*.')
_BUILT_IN: Final[Mapping[int, str]] = {
    **dict.fromkeys((14, 15, 16, 17, *range(27, 32), 36, *range(50, 55), 57, 58), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 45, 47, 55, 56), "time"),
    22: "datetime",
    46: "duration",
}
_MILLIS: Final = 86_400_000
# Day 0. Excel counts a 29 February 1900 that never was: before it, days are one more.
_EPOCH: Final = datetime(1899, 12, 30)  # noqa: DTZ001 - cells have no zone
_EPOCH_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001


@dataclass(frozen=True, slots=True)
class CellError:
    """A cell without a value: an error such as ``#DIV/0!``."""

    shown: str


Cell = int | float | Decimal | str | bool | date | datetime | time | timedelta | CellError | None


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a sheet: its number, and its cells by column, both counted from 1."""

    number: int
    cells: Mapping[int, Cell]


def number_kind(style: int, code: str | None) -> str:
    """What numbers of this format are: number, date, time, datetime or duration (ECMA-376 part 1, 18.8.30, 18.8.31)."""
    if code is None:
        return _BUILT_IN.get(style, "number")
    section = _BRACKETED.sub("", _LITERAL.sub("", code)).split(";")[0].lower()
    if re.search(r"\[(h+|m+|s+)\]", section):
        return "duration"
    if "general" in section:
        return "number"
    section = section.replace("am/pm", "h").replace("a/p", "h")
    clock = "h" in section or "s" in section
    day = "y" in section or "d" in section or ("m" in section and not clock)
    return "datetime" if clock and day else "time" if clock else "date" if day else "number"


def serial(text: str, kind: str, *, since_1904: bool) -> Cell:
    """The date, time or duration that a number of days stands for, to the millisecond. Raises ValueError."""
    days = Decimal(text)
    millis = int((days * _MILLIS).to_integral_value())
    if kind == "duration":
        return timedelta(milliseconds=millis)
    if millis < 0:
        raise ValueError(text)
    if kind == "time" and millis < _MILLIS:
        return (_EPOCH + timedelta(milliseconds=millis)).time()
    whole, rest = divmod(millis, _MILLIS)
    if since_1904:
        start = _EPOCH_1904
    else:
        if whole in (0, 60):
            raise ValueError(text)
        start = _EPOCH + timedelta(days=1) if whole < 60 else _EPOCH
    try:
        moment = start + timedelta(days=whole, milliseconds=rest)
    except OverflowError as err:
        raise ValueError(text) from err
    return moment.date() if kind == "date" and not rest else moment


def iso_moment(text: str) -> Cell:
    """The date or time of a cell that holds one as ISO 8601 text (Office Open XML, strict)."""
    for kind in (date, datetime, time):
        try:
            moment = kind.fromisoformat(text)
        except ValueError:
            continue
        return CellError(f"{text[:40]!r}, a time with an offset") if getattr(moment, "tzinfo", None) else moment
    return CellError(f"{text[:40]!r}, which is no date")


def is_whole(value: Any) -> bool:
    """Whether a number has no fraction and no digits that a double would not keep."""
    return isinstance(value, float) and value.is_integer() and abs(value) <= 2**53


def cell_text(value: Cell) -> str:
    """A value as text: numbers in their shortest form, dates and times as ISO 8601, durations as h:mm:ss."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration_text(value)
    return value.shown if isinstance(value, CellError) else str(value)


def _duration_text(value: timedelta) -> str:
    millis = round(abs(value) / timedelta(milliseconds=1))
    hours, rest = divmod(millis, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    seconds, part = divmod(rest, 1000)
    sign = "-" if value < timedelta() else ""
    return f"{sign}{hours}:{minutes:02}:{seconds:02}" + (f".{part:03}" if part else "")
